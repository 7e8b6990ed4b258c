//! Calls: what a peer says to the router's media endpoint. Peers cannot yet call each other; the refusal says so.

use super::room::{Candidate, Early, Exchange, Offerer, Party, Seat, State};
use super::{Hub, Outcome, Slot, ToRouter};
use crate::message::{
    self, Answer, CandidateMessage, Disconnect, Error, ForwardStatus, Forwarded, Offer, ROUTER,
    Reason, RequestId, StateChanged, method,
};
use crate::sdp;
use remotemedia_shm_schema::PeerId;
use serde_json::{Value, json};
use std::time::Instant;

/// Bytes of one candidate string (chosen: the longest that browsers make have about 250).
const MAX_CANDIDATE: usize = 1024;
/// Bytes of a section's identifier and of a user fragment (RFC 8839 allows a fragment 256).
const MAX_FIELD: usize = 256;
/// Bytes of `peer.state_changed` (chosen): it is kept.
const MAX_STATE: usize = 2048;

impl Hub {
    pub(super) fn offer(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        match self.try_offer(now, slot, seat, params) {
            Ok(()) => Outcome::Later,
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn try_offer(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Result<(), Error> {
        let offer: Offer = message::params(params)?;
        own(seat, offer.from.as_ref())?;
        self.recipient(seat, offer.to.as_ref(), method::OFFER)?;
        sdp::check(&offer.sdp).map_err(|f| Error::offer_invalid(&f.reason, f.line))?;
        let limits = self.config.limits.clone();
        let Some(member) = self.member(&seat.room, &seat.peer) else {
            return Err(Error::internal("the caller has no registration"));
        };
        if member.caller.as_ref().is_some_and(|caller| *caller != seat.device) {
            let reason = "another device of this peer has its call; hang up there first";
            return Err(Error::offer_invalid(reason, None));
        }
        let known = member.exchange(&Party::Router, &offer.request_id);
        if known.is_some_and(|exchange| matches!(exchange.state, State::Open { .. })) {
            let reason = "an offer with this request_id waits for its answer";
            return Err(Error::offer_invalid(reason, None));
        }
        let open = member.open();
        if open >= limits.max_offers {
            let (limit, in_use) = (limits.max_offers as u64, open as u64);
            return Err(Error::no_capacity("unanswered offers of this peer", limit, in_use));
        }
        let calls = member.exchanges.iter().any(|e| e.with == Party::Router);
        let begun = seat.room.session().is_some_and(|id| self.sessions.contains_key(id));
        let conn = self.socket(seat);
        if !calls && !begun {
            self.start(now, conn)?;
        }
        self.defer(slot.as_ref())?;
        let Some(member) = self.member(&seat.room, &seat.peer) else {
            return Err(Error::internal("the caller has no registration"));
        };
        // Glare: the router always yields, so its own unanswered offer is over. A request_id may be used again once its
        // exchange was answered.
        member.exchanges.retain(|e| {
            e.with != Party::Router
                || (e.request_id != offer.request_id
                    && (e.offerer == Offerer::Member || matches!(e.state, State::Answered)))
        });
        let early = std::mem::take(&mut member.early);
        let (mine, rest): (Vec<_>, Vec<_>) =
            early.into_iter().partition(|e| e.request_id == offer.request_id);
        member.early = rest.into();
        member.caller = Some(seat.device.clone());
        let exchange = Exchange {
            request_id: offer.request_id.clone(),
            with: Party::Router,
            offerer: Offerer::Member,
            device: seat.device.clone(),
            state: State::Open {
                deadline: now + limits.answer_within,
                reply: slot,
                taken: false,
                outward: mine.into_iter().map(|early| early.candidate).collect(),
                inward: Vec::new(),
            },
        };
        member.begin(exchange, limits.max_offers * 2);
        self.router(ToRouter::Offer {
            peer: seat.peer.clone(),
            room: seat.room.clone(),
            device: seat.device.clone(),
            request_id: offer.request_id,
            sdp: offer.sdp,
            trickle: offer.can_trickle_ice_candidates,
        });
        Ok(())
    }

    pub(super) fn answer(&mut self, seat: &Seat, params: Value) -> Result<Value, Error> {
        let answer: Answer = message::params(params)?;
        own(seat, answer.from.as_ref())?;
        self.recipient(seat, answer.to.as_ref(), method::ANSWER)?;
        sdp::check(&answer.sdp).map_err(|f| Error::answer_invalid(&f.reason, f.line))?;
        let exchange = self
            .member(&seat.room, &seat.peer)
            .and_then(|member| member.exchange(&Party::Router, &answer.request_id));
        let waits = exchange.filter(|e| {
            e.offerer == Offerer::Other
                && matches!(e.state, State::Open { .. })
                && e.device == seat.device
        });
        let Some(exchange) = waits else {
            let reason = "no offer with this request_id waits for an answer: it was answered, overridden, or is too old";
            return Err(Error::answer_invalid(reason, None));
        };
        let before = std::mem::replace(&mut exchange.state, State::Answered);
        let (room, peer) = (seat.room.clone(), seat.peer.clone());
        let request_id = answer.request_id;
        self.router(ToRouter::Answer {
            peer: peer.clone(),
            room: room.clone(),
            request_id: request_id.clone(),
            sdp: answer.sdp,
            trickle: answer.can_trickle_ice_candidates,
        });
        if let State::Open { outward, .. } = before {
            for candidate in outward {
                let (room, peer) = (room.clone(), peer.clone());
                let request_id = request_id.clone();
                self.router(ToRouter::Candidate { peer, room, request_id, candidate });
            }
        }
        Ok(forwarded(request_id))
    }

    pub(super) fn candidate(
        &mut self,
        now: Instant,
        seat: &Seat,
        params: Value,
    ) -> Result<Value, Error> {
        let message: CandidateMessage = message::params(params)?;
        own(seat, message.from.as_ref())?;
        self.recipient(seat, message.to.as_ref(), method::CANDIDATE)?;
        check_candidate(&message)?;
        let request_id = message.request_id;
        let candidate = Candidate {
            candidate: message.candidate,
            sdp_mid: message.sdp_mid,
            sdp_m_line_index: message.sdp_m_line_index,
            user_fragment: message.user_fragment,
        };
        let limit = self.config.limits.max_candidates;
        let Some(member) = self.member(&seat.room, &seat.peer) else {
            return Err(Error::internal("the caller has no registration"));
        };
        let full = || Error::candidate_invalid("64 candidates wait already");
        match member.exchange(&Party::Router, &request_id) {
            Some(exchange) if exchange.device != seat.device => {
                Err(Error::candidate_invalid("another device of this peer has this call"))
            }
            Some(Exchange { state: State::Open { taken: false, outward, .. }, .. }) => {
                if outward.len() >= limit {
                    return Err(full());
                }
                outward.push(candidate);
                Ok(json!({}))
            }
            Some(Exchange { state: State::Open { taken: true, .. } | State::Answered, .. }) => {
                let (room, peer) = (seat.room.clone(), seat.peer.clone());
                self.router(ToRouter::Candidate { peer, room, request_id, candidate });
                Ok(json!({}))
            }
            None => {
                if member.early.len() >= limit {
                    return Err(full());
                }
                member.early.push_back(Early { request_id, candidate, since: now });
                Ok(json!({}))
            }
        }
    }

    pub(super) fn disconnect(&mut self, seat: &Seat, params: Value) -> Result<Value, Error> {
        let message: Disconnect = message::params(params)?;
        own(seat, message.from.as_ref())?;
        self.recipient(seat, Some(&message.to), method::DISCONNECT)?;
        if message.reason == Reason::AnsweredElsewhere {
            return Err(Error::invalid_params(
                "/reason",
                "`answered_elsewhere` is the hub's to say",
            ));
        }
        let Some(member) = self.member(&seat.room, &seat.peer) else { return Ok(json!({})) };
        if member.caller.as_ref().is_some_and(|caller| *caller != seat.device) {
            return Err(Error::not_authorized("another device of this peer has its call"));
        }
        self.end_exchanges(seat, message.request_id.as_ref());
        self.router(ToRouter::Disconnect {
            peer: seat.peer.clone(),
            room: seat.room.clone(),
            reason: message.reason,
            request_id: message.request_id,
        });
        Ok(json!({}))
    }

    pub(super) fn state_changed(&mut self, seat: &Seat, params: Value) -> Result<Value, Error> {
        let size = params.to_string().len();
        if size > MAX_STATE {
            let what = format!("{size} bytes; {MAX_STATE} are allowed");
            return Err(Error::invalid_params("", &what));
        }
        let state: StateChanged = message::params(params)?;
        self.router(ToRouter::State {
            peer: seat.peer.clone(),
            room: seat.room.clone(),
            state: Box::new(state),
        });
        Ok(json!({}))
    }

    /// Ends one exchange with the router, or all of them. Whoever waits for a response was heard at least.
    pub(super) fn end_exchanges(&mut self, seat: &Seat, only: Option<&RequestId>) {
        let Some(member) = self.member(&seat.room, &seat.peer) else { return };
        let all = std::mem::take(&mut member.exchanges);
        let (over, rest): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|e| e.with == Party::Router && only.is_none_or(|id| e.request_id == *id));
        member.exchanges = rest.into();
        if !member.exchanges.iter().any(|e| e.with == Party::Router) {
            member.caller = None;
            member.early.clear();
        }
        for exchange in over {
            if let State::Open { reply, .. } = exchange.state {
                self.settle(reply, &Ok(forwarded(exchange.request_id)));
            }
        }
    }

    /// The recipient must be in the caller's room, and for now the router.
    fn recipient(&self, seat: &Seat, to: Option<&PeerId>, method: &str) -> Result<(), Error> {
        let to = to.ok_or_else(|| Error::invalid_params("/to", "the recipient is missing"))?;
        if to.as_str() == ROUTER {
            return Ok(());
        }
        let here = self.rooms.get(&seat.room).is_some_and(|members| members.contains_key(to));
        if !here {
            return Err(Error::peer_not_found(to.as_str()));
        }
        let what = "relay between peers is not supported yet; the recipient can only be `router`";
        Err(Error::not_supported(method, what))
    }
}

/// The response to an offer or answer that reached the router.
pub(super) fn forwarded(request_id: RequestId) -> Value {
    json!(Forwarded { status: ForwardStatus::Forwarded, request_id })
}

/// A `from` may be left out, and may not name another peer.
fn own(seat: &Seat, from: Option<&PeerId>) -> Result<(), Error> {
    match from {
        Some(from) if *from != seat.peer => {
            let what = format!("this connection speaks for {:?} only", seat.peer.as_str());
            Err(Error::invalid_params("/from", &what))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_candidate(message: &CandidateMessage) -> Result<(), Error> {
    let text = &message.candidate;
    let size = text.len();
    if size > MAX_CANDIDATE {
        let what = format!("it has {size} bytes; {MAX_CANDIDATE} are allowed");
        return Err(Error::candidate_invalid(&what));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::candidate_invalid("it has control characters"));
    }
    if !text.is_empty() && !text.starts_with("candidate:") {
        return Err(Error::candidate_invalid("it must begin with `candidate:` or be empty"));
    }
    let fields = [&message.sdp_mid, &message.user_fragment];
    if fields.into_iter().flatten().any(|f| f.len() > MAX_FIELD || f.chars().any(char::is_control))
    {
        let what = "sdp_mid and user_fragment have 256 bytes at most and no control characters";
        return Err(Error::candidate_invalid(what));
    }
    if !text.is_empty() && message.sdp_mid.is_none() && message.sdp_m_line_index.is_none() {
        return Err(Error::candidate_invalid("it needs sdp_mid or sdp_m_line_index"));
    }
    Ok(())
}
