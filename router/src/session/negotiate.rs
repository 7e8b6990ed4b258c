//! One peer's negotiation: a task that carries out offers, answers and candidates one after the other.
//!
//! `webrtc` wants these calls in order and each takes its time; the media must not wait for them. When both sides offer at
//! once the router yields (perfect negotiation, W3C WebRTC section 10.7): it takes its own offer back, answers, and offers
//! again afterwards.

use super::sdp;
use super::wiring::{MAIN, Source, Stream};
use remotemedia_peer::{self as rtc, Candidate, Connection, PeerError, Sender, SenderSpec};
use remotemedia_shm_schema::{Codec, Media, OutputId, PeerId};
use remotemedia_signaling::message::RequestId;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;

/// Steps that may wait (chosen: the hub lets 64 candidates wait).
pub(super) const STEPS: usize = 128;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step {
    /// The peer offers.
    Offer {
        /// The offer's.
        request_id: RequestId,
        /// Its description.
        sdp: String,
    },
    /// The peer answers our offer.
    Answer {
        /// Our offer's.
        request_id: RequestId,
        /// Its description.
        sdp: String,
    },
    /// Our offer was not answered in time.
    Unanswered {
        /// Our offer's.
        request_id: RequestId,
    },
    /// A candidate of the peer's.
    Candidate(Candidate),
    /// Of its own media only these come back in the sections that it offered: another graph may send it none.
    Mirror(BTreeSet<Media>),
    /// What the peer shall receive from now on.
    Want(Vec<Stream>),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The offer was taken.
    Answered {
        /// The offer's.
        request_id: RequestId,
        /// For the peer.
        sdp: String,
        /// What the peer sends.
        sections: Vec<sdp::Section>,
        /// What it receives, with the codec of each.
        views: BTreeMap<Stream, (Sender, Codec)>,
    },
    /// The offer was not taken.
    Refused {
        /// The offer's.
        request_id: RequestId,
        /// Why.
        error: PeerError,
    },
    /// We offer.
    Offering {
        /// Ours.
        request_id: RequestId,
        /// For the peer.
        sdp: String,
    },
    /// Our offer was answered.
    Settled {
        /// What the peer receives now, with the codec of each.
        views: BTreeMap<Stream, (Sender, Codec)>,
    },
    /// A candidate or an answer could not be taken.
    Rejected(PeerError),
}

/// Runs until the steps end.
pub(super) async fn run(
    peer: PeerId,
    connection: Connection,
    mirrored: BTreeSet<Media>,
    mut steps: mpsc::Receiver<Step>,
    outcomes: mpsc::Sender<(PeerId, Outcome)>,
) {
    let mut negotiation = Negotiation {
        peer,
        connection,
        mirrored,
        outcomes,
        senders: BTreeMap::new(),
        wanted: Vec::new(),
        offering: None,
        owed: false,
        answered_once: false,
        count: 0,
    };
    while let Some(step) = steps.recv().await {
        negotiation.step(step).await;
    }
}

struct Negotiation {
    peer: PeerId,
    connection: Connection,
    /// Of these kinds its own media, processed, come back in the sections that it offered; all else in sections of their own that
    /// the router offers.
    mirrored: BTreeSet<Media>,
    outcomes: mpsc::Sender<(PeerId, Outcome)>,
    senders: BTreeMap<Stream, Sender>,
    wanted: Vec<Stream>,
    /// Our offer that waits for its answer.
    offering: Option<RequestId>,
    /// An offer of ours was taken back, and what it was for is still to be offered.
    owed: bool,
    answered_once: bool,
    count: u32,
}

impl Negotiation {
    async fn tell(&self, outcome: Outcome) {
        let _ = self.outcomes.send((self.peer.clone(), outcome)).await;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Offer { request_id, sdp } => {
                if self.offering.take().is_some() {
                    self.owed = true;
                    if let Err(error) = self.connection.rollback().await {
                        self.tell(Outcome::Refused { request_id, error }).await;
                        return;
                    }
                }
                match self.answer(&sdp).await {
                    Ok(answer) => {
                        self.answered_once = true;
                        let sections = sdp::sections(&answer);
                        let views = self.views();
                        self.tell(Outcome::Answered { request_id, sdp: answer, sections, views })
                            .await;
                        self.offer_if_needed().await;
                    }
                    Err(error) => self.tell(Outcome::Refused { request_id, error }).await,
                }
            }
            Step::Answer { request_id, sdp } => {
                if self.offering.as_ref() != Some(&request_id) {
                    let why = "it answers no offer of the router's that waits for an answer";
                    self.tell(Outcome::Rejected(PeerError::State(why.into()))).await;
                    return;
                }
                self.offering = None;
                match self.connection.accept(&sdp).await {
                    Ok(()) => {
                        let views = self.views();
                        self.tell(Outcome::Settled { views }).await;
                        self.offer_if_needed().await;
                    }
                    Err(error) => {
                        self.take_back().await;
                        self.tell(Outcome::Rejected(error)).await;
                    }
                }
            }
            Step::Unanswered { request_id } => {
                if self.offering.as_ref() == Some(&request_id) {
                    self.offering = None;
                    self.take_back().await;
                }
            }
            Step::Candidate(candidate) => {
                if let Err(error) = self.connection.add_candidate(candidate).await {
                    self.tell(Outcome::Rejected(error)).await;
                }
            }
            // What comes back again after that gets a section of its own: no new offer of the peer's is awaited for it.
            Step::Mirror(kinds) => self.mirrored.retain(|kind| kinds.contains(kind)),
            Step::Want(wanted) => {
                self.wanted = wanted;
                self.offer_if_needed().await;
            }
        }
    }

    /// Takes our offer back. It is made again with the next one, not at once: the peer may be away, or wrong each time.
    async fn take_back(&mut self) {
        self.owed = true;
        if let Err(error) = self.connection.rollback().await {
            self.tell(Outcome::Rejected(error)).await;
        }
    }

    async fn answer(&mut self, offer: &str) -> Result<String, PeerError> {
        rtc::check_sdp(offer)?;
        for kind in sdp::kinds(offer).into_iter().filter(|kind| self.mirrored.contains(kind)) {
            let Some(own) = self.own(kind) else { continue };
            if !self.senders.contains_key(&own) {
                let sender = self.connection.add_sender(spec(&own)).await?;
                self.senders.insert(own, sender);
            }
        }
        self.connection.answer(offer).await
    }

    /// Offers what is wanted and not there yet, and takes back what is not wanted any more.
    async fn offer_if_needed(&mut self) {
        if self.offering.is_some() || !self.answered_once {
            return;
        }
        let mut changed = std::mem::take(&mut self.owed);
        // What comes back in the sections that the peer offered goes with these.
        let own: Vec<Stream> = self.mirrored.iter().filter_map(|kind| self.own(*kind)).collect();
        let lacks = |stream: &&Stream| !self.wanted.contains(stream) && !own.contains(stream);
        let gone: Vec<Stream> = self.senders.keys().filter(lacks).cloned().collect();
        for stream in gone {
            if let Some(sender) = self.senders.remove(&stream) {
                let _ = self.connection.remove_sender(&sender).await;
                changed = true;
            }
        }
        for stream in self.wanted.clone() {
            if self.senders.contains_key(&stream) || own.contains(&stream) {
                continue;
            }
            match self.connection.add_sender(spec(&stream)).await {
                Ok(sender) => {
                    self.senders.insert(stream, sender);
                    changed = true;
                }
                Err(error) => self.tell(Outcome::Rejected(error)).await,
            }
        }
        if !changed {
            return;
        }
        match self.connection.offer(false).await {
            Ok(sdp) => {
                self.count += 1;
                let request_id = RequestId::new(format!("router-{}-{}", self.peer, self.count))
                    .expect("a peer id has 64 bytes at most, of the grammar");
                self.offering = Some(request_id.clone());
                self.tell(Outcome::Offering { request_id, sdp }).await;
            }
            Err(error) => self.tell(Outcome::Rejected(error)).await,
        }
    }

    /// Its own media as they come back in a section that it offered.
    fn own(&self, kind: Media) -> Option<Stream> {
        let source = Source { peer: self.peer.clone(), kind };
        Some(Stream { source, output: OutputId::new(MAIN).ok()? })
    }

    fn views(&self) -> BTreeMap<Stream, (Sender, Codec)> {
        let mut views = BTreeMap::new();
        for (stream, sender) in &self.senders {
            if let Some(negotiated) = sender.codec() {
                views.insert(stream.clone(), (sender.clone(), negotiated.codec));
            }
        }
        views
    }
}

fn spec(stream: &Stream) -> SenderSpec {
    let kind = match stream.source.kind {
        Media::Audio => rtc::Kind::Audio,
        Media::Video => rtc::Kind::Video,
    };
    // The stream's id tells the page whose media it is, and as which result.
    SenderSpec {
        kind,
        stream: stream.to_string(),
        track: format!("{stream}-{}", stream.source.kind.name()),
    }
}
