//! Who is where: rooms, their members, the members' devices, and the offers that are under way with each.

use super::{ConnId, Slot};
use crate::message::{Capability, DeviceId, PeerInfo, RequestId};
use remotemedia_shm_schema::{PeerId, SessionId};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Instant;

/// A scope of signaling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    /// Of those that name none; each gets a session of its own.
    Default,
    /// Of one session.
    Session(SessionId),
}

impl Room {
    /// Its session's name; none for the default room, whose peers have one each.
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Default => None,
            Self::Session(session) => Some(session),
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(crate::message::DEFAULT_ROOM),
            Self::Session(session) => session.fmt(f),
        }
    }
}

/// An ICE candidate on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The raw string; empty is the end of candidates.
    pub candidate: String,
    /// Which section, by its identifier.
    pub sdp_mid: Option<String>,
    /// Which section, by its number.
    pub sdp_m_line_index: Option<u16>,
    /// Of which ICE generation.
    pub user_fragment: Option<String>,
}

/// Where a device sits: what a connection speaks for once it announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) room: Room,
    pub(super) peer: PeerId,
    pub(super) device: Option<DeviceId>,
}

/// A registered peer.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) devices: BTreeMap<Option<DeviceId>, Device>,
    /// The device whose call with the router is up or being made: the others cannot disturb it.
    pub(super) caller: Option<Option<DeviceId>>,
    /// Offers between this peer and another party, oldest first. One between two peers is kept with its offerer.
    pub(super) exchanges: VecDeque<Exchange>,
    /// Candidates that came before the offer that they belong to.
    pub(super) early: VecDeque<Early>,
}

/// A candidate without an offer yet.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) request_id: RequestId,
    pub(super) candidate: Candidate,
    pub(super) since: Instant,
}

/// One of a peer's registrations.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) capabilities: Vec<Capability>,
    pub(super) user_data: Option<Value>,
    pub(super) key: String,
    pub(super) registered_at: u64,
    pub(super) presence: Presence,
}

/// Whether a device can be spoken to.
#[derive(Debug)]
pub(super) enum Presence {
    /// Through this socket.
    Online(ConnId),
    /// Its socket dropped; what was meant for it waits.
    Away { since: Instant, mail: Mail },
}

/// Messages for a device that is away, in order. Offers and candidates are bounded as the contract says, the rest by the
/// exchanges that they belong to.
#[derive(Debug, Default)]
pub(super) struct Mail {
    letters: VecDeque<Letter>,
}

#[derive(Debug)]
struct Letter {
    kind: Kind,
    text: String,
}

/// What a message for an absent device is, for its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of an offer.
    Offer,
    /// Of this offer.
    Candidate(RequestId),
    /// Of anything else that belongs to an exchange.
    Other,
}

impl Mail {
    /// Keeps a message, unless there are `limit` of its kind already.
    pub(super) fn put(&mut self, kind: Kind, limit: usize, text: String) -> bool {
        let room = self.letters.iter().filter(|letter| letter.kind == kind).count() < limit;
        if room {
            self.letters.push_back(Letter { kind, text });
        }
        room
    }

    pub(super) fn into_texts(self) -> impl Iterator<Item = String> {
        self.letters.into_iter().map(|letter| letter.text)
    }
}

/// The other end of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Party {
    /// The router's media endpoint.
    Router,
    /// A peer of the same room: kept for the relay, which no method reaches yet.
    #[allow(
        dead_code,
        reason = "the relay between peers is a later issue; the shape is meant to hold it"
    )]
    Peer(PeerId),
}

/// Who offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offerer {
    /// The member that keeps the exchange.
    Member,
    /// The other party.
    Other,
}

/// An offer and what became of it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request_id: RequestId,
    pub(super) with: Party,
    pub(super) offerer: Offerer,
    /// The member's device that takes part; the first that answers, where all were rung.
    pub(super) device: Option<DeviceId>,
    pub(super) state: State,
}

/// How far an exchange is.
#[derive(Debug)]
pub(super) enum State {
    /// Offered, not answered.
    Open {
        deadline: Instant,
        /// The offerer's request, while it has no response.
        reply: Option<Slot>,
        /// Whether the other party has the offer, so that candidates may go there.
        taken: bool,
        /// Candidates that wait for the other party.
        outward: Vec<Candidate>,
        /// Candidates that wait for the member.
        inward: Vec<Candidate>,
    },
    /// Candidates pass through.
    Answered,
}

impl Member {
    pub(super) fn online(&self) -> impl Iterator<Item = ConnId> {
        self.devices.values().filter_map(|device| match device.presence {
            Presence::Online(conn) => Some(conn),
            Presence::Away { .. } => None,
        })
    }

    pub(super) fn is_online(&self) -> bool {
        self.online().next().is_some()
    }

    pub(super) fn infos(&self, peer: &PeerId) -> impl Iterator<Item = PeerInfo> {
        self.devices.iter().map(move |(id, device)| PeerInfo {
            peer_id: peer.clone(),
            capabilities: device.capabilities.clone(),
            user_data: device.user_data.clone(),
            device_id: id.clone(),
        })
    }

    pub(super) fn exchange(&mut self, with: &Party, id: &RequestId) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().find(|e| e.with == *with && e.request_id == *id)
    }

    pub(super) fn forget(&mut self, with: &Party, id: &RequestId) -> Option<Exchange> {
        let at = self.exchanges.iter().position(|e| e.with == *with && e.request_id == *id)?;
        self.exchanges.remove(at)
    }

    pub(super) fn open(&self) -> usize {
        self.exchanges.iter().filter(|e| matches!(e.state, State::Open { .. })).count()
    }

    /// Adds an exchange; answered ones are forgotten to stay within `limit`, oldest first.
    pub(super) fn begin(&mut self, exchange: Exchange, limit: usize) {
        while self.exchanges.len() >= limit {
            let answered = self.exchanges.iter().position(|e| matches!(e.state, State::Answered));
            // All open: the caller checks [`Self::open`] first, so this is the router's own doing; the oldest goes.
            self.exchanges.remove(answered.unwrap_or(0));
        }
        self.exchanges.push_back(exchange);
    }
}
