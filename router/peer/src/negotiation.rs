//! Offers, answers and candidates, one at a time, in either direction, any number of times on one connection.

use crate::PeerError;
use crate::connection::Connection;
use crate::event::{Candidate, Kind};
use crate::handler::First;
use crate::sdp::{Description, MAX_CANDIDATES, Section, Usable, What, reject_unusable, usable};
use crate::sender::{Place, Sender, stack_kind};
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection as StackDirection, RTCRtpTransceiverInit};
use std::sync::{Arc, PoisonError};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::peer_connection::{RTCIceCandidateInit, RTCSessionDescription};
use webrtc::rtp_transceiver::RtpTransceiver;

/// What was negotiated, and what is to be.
#[derive(Default)]
pub(crate) struct Negotiation {
    pub(crate) senders: Vec<Sender>,
    /// Tracks to ask for by the next offer.
    pub(crate) wanted: Vec<Kind>,
    /// Our offer that is not answered yet: its sections' ids.
    offered: Option<Vec<(String, What)>>,
    /// The peer's newest description.
    remote: Option<Description>,
    /// Candidates that came before it.
    early: Vec<RTCIceCandidateInit>,
    candidates: usize,
}

impl Connection {
    /// Answers an offer, the first or a later one. An offer of ours that is not answered yet is taken back first (the side
    /// that yields in a glare). On an error everything is as it was before.
    pub async fn answer(&self, offer_sdp: &str) -> Result<String, PeerError> {
        self.open()?;
        let mut offer = Description::parse(offer_sdp, &self.inner.settings.codecs)?;
        offer.keep_first(self.inner.settings.tracks);
        let mut negotiation = self.inner.negotiation.lock().await;
        negotiation.same_identity(&offer)?;
        negotiation.same_sections(&offer)?;
        self.take_back(&mut negotiation).await?;

        let description = RTCSessionDescription::offer(offer.render())?;
        self.place_for(&negotiation, &offer).await?;
        let answered = match self.inner.stack.set_remote_description(description).await {
            Ok(()) => self.answered(&negotiation, &offer).await,
            Err(error) => Err(error.into()),
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                // It may have taken half of it before it refused.
                let back = RTCSessionDescription::rollback(None)?;
                let _ = self.inner.stack.set_remote_description(back).await;
                return Err(error);
            }
        };
        self.described(&mut negotiation, offer);
        self.add_early(&mut negotiation).await;
        Ok(answer)
    }

    /// Gives senders without a section one of the offer's that are new and would receive.
    async fn place_for(
        &self,
        negotiation: &Negotiation,
        offer: &Description,
    ) -> Result<(), PeerError> {
        let known =
            |mid: &str| negotiation.remote.as_ref().is_some_and(|r| r.section(mid).is_some());
        let mut waiting: Vec<&Sender> = Vec::new();
        for sender in &negotiation.senders {
            if sender.section().await.is_none() {
                waiting.push(sender);
            }
        }
        for section in &offer.sections {
            if section.rejected
                || section.accepted.is_empty()
                || !section.direction.receives()
                || known(&section.mid)
            {
                continue;
            }
            let Some(at) = waiting.iter().position(|s| Some(s.kind()) == section.what.kind())
            else {
                continue;
            };
            let direction = if section.direction.sends() {
                StackDirection::Sendrecv
            } else {
                StackDirection::Sendonly
            };
            self.place(waiting.remove(at), direction).await?;
        }
        Ok(())
    }

    async fn place(&self, sender: &Sender, direction: StackDirection) -> Result<(), PeerError> {
        let mut place = sender.0.place.lock().await;
        if let Some(place) = place.as_ref() {
            place.transceiver.set_direction(direction).await?; // left over by a negotiation that was taken back
            return Ok(());
        }
        let init = RTCRtpTransceiverInit {
            direction,
            streams: vec![sender.0.spec.stream.clone()],
            send_encodings: Vec::new(),
        };
        let track: Arc<dyn TrackLocal> = Arc::clone(&sender.0.track) as Arc<dyn TrackLocal>;
        let transceiver = self.inner.stack.add_transceiver_from_track(track, Some(init)).await?;
        let made = transceiver.sender().await?;
        let made = made.ok_or_else(|| PeerError::Stack("a transceiver without a sender".into()))?;
        *place = Some(Place { transceiver, sender: made });
        Ok(())
    }

    /// The answer to an offer that the stack has taken.
    async fn answered(
        &self,
        negotiation: &Negotiation,
        offer: &Description,
    ) -> Result<String, PeerError> {
        let mut sending = Vec::new();
        for sender in &negotiation.senders {
            let Some(section) = sender.section().await.and_then(|mid| offer.section(&mid)) else {
                continue;
            };
            if let Some(first) = section.accepted.first() {
                sender.settle(first).await?;
                sending.push(section.mid.as_str());
            }
        }
        // The stack would answer sendrecv to sendonly, and receive what is surplus.
        for transceiver in self.inner.stack.get_transceivers().await {
            let Some(mid) = transceiver.mid().await? else { continue };
            let Some(section) = offer.section(&mid) else { continue };
            direct(&transceiver, section, sending.contains(&mid.as_str())).await?;
        }
        let answer = self.inner.stack.create_answer(None).await?;
        let text = reject_unusable(&answer.sdp, offer);
        self.remember_first(&text);
        self.inner.stack.set_local_description(answer).await?; // it takes its own words only
        Ok(text)
    }

    /// Makes an offer, the first or a later one, with a section for each sender and wanted receiver that has none.
    pub async fn offer(&self, ice_restart: bool) -> Result<String, PeerError> {
        self.open()?;
        let mut negotiation = self.inner.negotiation.lock().await;
        if negotiation.offered.is_some() {
            return Err(PeerError::State("an offer of ours waits for its answer".into()));
        }
        let mut wanted = std::mem::take(&mut negotiation.wanted);
        for sender in &negotiation.senders {
            if sender.section().await.is_some() {
                continue;
            }
            let both = wanted
                .iter()
                .position(|kind| *kind == sender.kind())
                .map(|at| wanted.swap_remove(at));
            let direction =
                if both.is_some() { StackDirection::Sendrecv } else { StackDirection::Sendonly };
            self.place(sender, direction).await?;
        }
        for kind in wanted {
            let init = RTCRtpTransceiverInit {
                direction: StackDirection::Recvonly,
                streams: Vec::new(),
                send_encodings: Vec::new(),
            };
            self.inner.stack.add_transceiver_from_kind(stack_kind(kind), Some(init)).await?;
        }
        let options = ice_restart.then_some(RTCOfferOptions { ice_restart });
        let offer = self.inner.stack.create_offer(options).await?;
        // What we wrote ourselves passes our own checks, or there is nothing in it.
        let sections = Description::parse(&offer.sdp, &self.inner.settings.codecs)
            .map_err(|fault| PeerError::State(format!("nothing to offer: {fault}")))?
            .sections;
        let text = offer.sdp.clone();
        self.remember_first(&text);
        self.inner.stack.set_local_description(offer).await?;
        negotiation.offered = Some(sections.into_iter().map(|s| (s.mid, s.what)).collect());
        Ok(text)
    }

    /// Takes the answer to our offer.
    pub async fn accept(&self, answer_sdp: &str) -> Result<(), PeerError> {
        self.open()?;
        let mut answer = Description::parse(answer_sdp, &self.inner.settings.codecs)?;
        answer.settle_role()?;
        let mut negotiation = self.inner.negotiation.lock().await;
        let Some(offered) = &negotiation.offered else {
            return Err(PeerError::State("there is no offer of ours to answer".into()));
        };
        let told = answer.sections.iter().map(|s| (&s.mid, s.what));
        if !told.eq(offered.iter().map(|(mid, what)| (mid, *what))) {
            return Err(PeerError::sdp("the answer's media sections are not the offer's", None));
        }
        negotiation.same_identity(&answer)?;
        for sender in &negotiation.senders {
            let section = sender.section().await;
            if let Some(section) = section.and_then(|mid| answer.section(&mid))
                && let (false, Some(first)) = (section.rejected, section.accepted.first())
            {
                sender.settle(first).await?;
            }
        }
        let description = RTCSessionDescription::answer(answer.render())?;
        self.inner.stack.set_remote_description(description).await?;
        negotiation.offered = None;
        self.described(&mut negotiation, answer);
        self.add_early(&mut negotiation).await;
        Ok(())
    }

    /// Takes our offer back, if there is one that waits for its answer.
    pub async fn rollback(&self) -> Result<(), PeerError> {
        self.open()?;
        let mut negotiation = self.inner.negotiation.lock().await;
        self.take_back(&mut negotiation).await
    }

    async fn take_back(&self, negotiation: &mut Negotiation) -> Result<(), PeerError> {
        if negotiation.offered.is_some() {
            self.inner.stack.set_local_description(RTCSessionDescription::rollback(None)?).await?;
            negotiation.offered = None;
        }
        Ok(())
    }

    /// Takes a candidate of the peer's; an empty one says that no more come. One of no use to us (TCP, a host name) is
    /// passed over.
    pub async fn add_candidate(&self, candidate: Candidate) -> Result<(), PeerError> {
        self.open()?;
        let mut negotiation = self.inner.negotiation.lock().await;
        if candidate.candidate.trim().is_empty()
            || usable(&candidate.candidate, self.inner.settings.mdns)? == Usable::No
        {
            return Ok(());
        }
        if negotiation.candidates >= MAX_CANDIDATES {
            return Err(PeerError::Limit {
                what: "candidates of one ICE generation",
                limit: MAX_CANDIDATES,
            });
        }
        negotiation.candidates += 1;
        if let (Some(fragment), Some(remote)) = (&candidate.user_fragment, &negotiation.remote)
            && !fragment.is_empty()
            && *fragment != remote.ufrag
        {
            return Ok(()); // of a generation before an ICE restart
        }
        let text = candidate.candidate.trim().trim_start_matches("a=").to_owned();
        let init = RTCIceCandidateInit {
            candidate: text,
            sdp_mid: candidate.sdp_mid,
            sdp_mline_index: candidate.sdp_m_line_index,
            username_fragment: candidate.user_fragment,
            url: None,
        };
        if negotiation.remote.is_none() {
            negotiation.early.push(init);
            return Ok(());
        }
        let added = self.inner.stack.add_ice_candidate(init).await;
        self.inner.watch.nudge(); // or it is first tried at the next tick
        added.map_err(|e| PeerError::Candidate(e.to_string()))
    }

    /// A negotiation is complete with this description of the peer's.
    fn described(&self, negotiation: &mut Negotiation, description: Description) {
        let sections = &description.sections;
        self.inner.watch.told(sections.iter().flat_map(|s| [s.ssrc, s.rtx_ssrc]).flatten());
        self.inner.shared.inbound.negotiated(&description);
        negotiation.described(description);
    }

    async fn add_early(&self, negotiation: &mut Negotiation) {
        for candidate in negotiation.early.drain(..) {
            // One that the stack does not like is not worth a call that may do without.
            if let Err(fault) = self.inner.stack.add_ice_candidate(candidate).await {
                tracing::debug!(%fault, "candidate passed over");
            }
        }
        self.inner.watch.nudge();
    }

    /// Candidates belong to the first section that is not refused: all others are bundled to it.
    fn remember_first(&self, local: &str) {
        let mut first = First::default();
        let mut sections = 0;
        let mut refused = true;
        for line in local.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                if !refused {
                    break;
                }
                refused = media.split(' ').nth(1) == Some("0");
                first.index = sections;
                sections += 1;
            } else if let Some(mid) = line.strip_prefix("a=mid:") {
                first.mid = mid.to_owned();
            } else if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
                first.ufrag = ufrag.to_owned();
            }
        }
        *self.inner.link.first.lock().unwrap_or_else(PoisonError::into_inner) = first;
    }
}

async fn direct(
    transceiver: &Arc<dyn RtpTransceiver>,
    section: &Section,
    sending: bool,
) -> Result<(), PeerError> {
    let usable = !section.rejected && !section.accepted.is_empty();
    let send = sending && usable && section.direction.receives();
    let receive = usable && section.direction.sends();
    let direction = match (send, receive) {
        (true, true) => StackDirection::Sendrecv,
        (true, false) => StackDirection::Sendonly,
        (false, true) => StackDirection::Recvonly,
        (false, false) => StackDirection::Inactive,
    };
    if transceiver.direction().await? != direction {
        transceiver.set_direction(direction).await?;
    }
    Ok(())
}

impl Sender {
    /// The media section that it has, by id.
    async fn section(&self) -> Option<String> {
        let place = self.0.place.lock().await;
        place.as_ref()?.transceiver.mid().await.ok()?
    }
}

impl Negotiation {
    /// The stack verifies the first description's fingerprint only: a later one with another would not be noticed.
    fn same_identity(&self, new: &Description) -> Result<(), PeerError> {
        match &self.remote {
            Some(old) if !old.same_certificate(new) => Err(PeerError::sdp(
                "another fingerprint than before: that takes a new connection",
                None,
            )),
            _ => Ok(()),
        }
    }

    /// RFC 3264: sections stay in their place, of their kind.
    fn same_sections(&self, new: &Description) -> Result<(), PeerError> {
        let Some(old) = &self.remote else { return Ok(()) };
        if new.sections.len() < old.sections.len() {
            return Err(PeerError::sdp("media sections of before are missing", None));
        }
        for (old, new) in old.sections.iter().zip(&new.sections) {
            if old.mid != new.mid || old.what != new.what {
                return Err(PeerError::sdp("a media section has taken another's place", new.line));
            }
        }
        Ok(())
    }

    fn described(&mut self, new: Description) {
        if self.remote.as_ref().is_none_or(|old| old.ufrag != new.ufrag) {
            self.candidates = self.early.len();
        }
        self.remote = Some(new);
    }
}
