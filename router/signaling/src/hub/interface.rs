//! What goes into the hub and what comes out of it.

use super::room::{Candidate, Room};
use crate::message::{Control, DeviceId, Error, Reason, RequestId, StateChanged, SubscriptionSet};
use remotemedia_shm_schema::{NodeId, PeerId, SessionId};
use serde::Serialize;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// A socket, for as long as it is open; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A question to the router, for its [`FromRouter::Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A socket opened.
    Connected {
        /// Its id.
        conn: ConnId,
        /// A fresh unguessable text: the `session_key` if it registers.
        key: String,
        /// From where, for the limit on session starts; none where there is no address.
        address: Option<IpAddr>,
    },
    /// A text frame came.
    Text {
        /// From where.
        conn: ConnId,
        /// As it came.
        text: String,
    },
    /// Another frame came: a pong, a ping.
    Heard {
        /// From where.
        conn: ConnId,
    },
    /// A binary frame came.
    Binary {
        /// From where.
        conn: ConnId,
    },
    /// A message over the limit came.
    TooLarge {
        /// From where.
        conn: ConnId,
    },
    /// The queue towards this socket is full.
    Overrun {
        /// Which.
        conn: ConnId,
    },
    /// The socket is gone.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// The router speaks.
    Router(FromRouter),
    /// It is the time that [`super::Hub::wake_at`] asked for.
    Tick,
    /// The router is stopping: every socket is closed with 1001.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send a text frame.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        text: String,
    },
    /// Send a ping.
    Ping {
        /// Where.
        conn: ConnId,
    },
    /// Send what is queued, then close the socket; the hub has forgotten it.
    Close {
        /// Which.
        conn: ConnId,
        /// WebSocket close code.
        code: u16,
        /// For a person.
        reason: &'static str,
    },
    /// Tell the router.
    Router(ToRouter),
}

/// Close codes that the hub uses (RFC 6455 section 7.4, and IANA for 1013).
pub mod close {
    /// Another socket showed the session key.
    pub const NORMAL: u16 = 1000;
    /// The router is stopping.
    pub const GOING_AWAY: u16 = 1001;
    /// Binary frames are not spoken here.
    pub const UNSUPPORTED: u16 = 1003;
    /// Not announced in time, or idle.
    pub const POLICY: u16 = 1008;
    /// Over the message limit.
    pub const TOO_BIG: u16 = 1009;
    /// Reads too slowly.
    pub const TRY_AGAIN: u16 = 1013;
}

/// What the hub tells the router's media endpoint. A peer is named by its room and id together: ids are unique within a
/// room only.
#[derive(Debug, Clone, PartialEq)]
pub enum ToRouter {
    /// A peer offers; it wants [`FromRouter::Answer`] or [`FromRouter::Refused`]. It overrides an offer of the router's
    /// own that the peer has not answered: the router yields.
    Offer {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// From which device.
        device: Option<DeviceId>,
        /// Names the exchange.
        request_id: RequestId,
        /// Checked to be encrypted, nothing else.
        sdp: String,
        /// Whether candidates follow.
        trickle: bool,
    },
    /// A peer answers the router's offer.
    Answer {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// The offer's.
        request_id: RequestId,
        /// Checked to be encrypted, nothing else.
        sdp: String,
        /// Whether candidates follow.
        trickle: bool,
    },
    /// A peer's candidate; never before the router took the offer, or got the answer, that it belongs to.
    Candidate {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// The offer's.
        request_id: RequestId,
        /// The candidate.
        candidate: Candidate,
    },
    /// The router's offer was not answered in time, or nobody is there to answer.
    Unanswered {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// The offer's.
        request_id: RequestId,
    },
    /// A peer hung up, or its offer was given up (`Timeout`, with the offer's id).
    Disconnect {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// Why.
        reason: Reason,
        /// Which exchange; none is all of them.
        request_id: Option<RequestId>,
    },
    /// A peer's connection states, for statistics.
    State {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// What it said.
        state: Box<StateChanged>,
    },
    /// The last socket of a peer dropped; its registration is kept.
    SocketGone {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
    },
    /// A session key took the registration back.
    SocketBack {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
    },
    /// The registration ended.
    Left {
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// Why.
        reason: Reason,
    },
    /// A peer wants a session; answer `{session_id}`.
    Create {
        /// For the reply.
        token: Token,
        /// Who.
        peer: PeerId,
        /// Where; a named room's peers can only ask for its own session.
        room: Room,
        /// A configured pipeline; none is the default one.
        pipeline: Option<String>,
        /// A manifest in place of one.
        manifest: Option<Value>,
        /// Its name; none makes one for the caller alone.
        session_id: Option<SessionId>,
        /// Peers that it takes; within the config's.
        max_peers: Option<usize>,
        /// Who may act on it.
        control: Control,
    },
    /// A peer asks for the sessions that it may see.
    List {
        /// For the reply.
        token: Token,
        /// These.
        sessions: Vec<SessionId>,
    },
    /// A peer asks for a session that it may see.
    Describe {
        /// For the reply.
        token: Token,
        /// Which.
        session: SessionId,
    },
    /// A peer that has the right wants a session closed; answer with the receipt.
    Close {
        /// For the reply.
        token: Token,
        /// Which.
        session: SessionId,
    },
    /// A peer that has the right wants a session to run another graph; answer `{epoch}` once it does.
    Update {
        /// For the reply.
        token: Token,
        /// Which.
        session: SessionId,
        /// As it came.
        manifest: Value,
    },
    /// A peer that has the right wants something of a session's node.
    Act {
        /// For the reply.
        token: Token,
        /// Which session.
        session: SessionId,
        /// Which node.
        node: NodeId,
        /// What.
        act: Act,
    },
    /// What a peer wants to receive of an output of its session; answer `{tier}`.
    Subscribe {
        /// For the reply.
        token: Token,
        /// Who.
        peer: PeerId,
        /// Where.
        room: Room,
        /// What.
        wish: SubscriptionSet,
    },
}

/// What can be done with a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Give it these parameters; answer `{applied: true}`.
    Reconfigure(Map<String, Value>),
    /// Begin it anew; answer `{generation}`.
    Restart,
}

/// What the router's media endpoint tells the hub.
#[derive(Debug, Clone, PartialEq)]
pub enum FromRouter {
    /// The offer is being worked on: its sender is told so, and candidates flow. May be left out before `Answer`.
    Taken {
        /// Who offered.
        peer: PeerId,
        /// Where.
        room: Room,
        /// The offer's.
        request_id: RequestId,
    },
    /// The answer to a peer's offer.
    Answer {
        /// Who offered.
        peer: PeerId,
        /// Where.
        room: Room,
        /// The offer's.
        request_id: RequestId,
        /// The description.
        sdp: String,
    },
    /// A peer's offer is refused.
    Refused {
        /// Who offered.
        peer: PeerId,
        /// Where.
        room: Room,
        /// The offer's.
        request_id: RequestId,
        /// As the contract has it.
        error: Error,
    },
    /// The router offers; it gets [`ToRouter::Answer`] or [`ToRouter::Unanswered`], or a [`ToRouter::Offer`] that
    /// overrides it.
    Offer {
        /// Whom.
        peer: PeerId,
        /// Where.
        room: Room,
        /// Names the exchange.
        request_id: RequestId,
        /// The description.
        sdp: String,
    },
    /// A candidate of the router's.
    Candidate {
        /// Whom.
        peer: PeerId,
        /// Where.
        room: Room,
        /// The offer's.
        request_id: RequestId,
        /// The candidate.
        candidate: Candidate,
    },
    /// The router hung up.
    Disconnected {
        /// On whom.
        peer: PeerId,
        /// Where.
        room: Room,
        /// Why.
        reason: Reason,
        /// More, for a person.
        details: Option<String>,
        /// Which exchange; none is all of them.
        request_id: Option<RequestId>,
    },
    /// The answer to a question.
    Reply {
        /// The question's.
        token: Token,
        /// What its asker gets.
        result: Result<Value, Error>,
    },
    /// A notification for a peer that is there.
    Notify {
        /// Whom.
        peer: PeerId,
        /// Where.
        room: Room,
        /// Its method.
        method: String,
        /// Its parameters.
        params: Value,
    },
    /// A session began: by an offer, by `session.create`, or by the API.
    SessionStarted {
        /// Which.
        session: SessionId,
        /// Whose room it is.
        room: Room,
        /// The peer of that room that made it, and so may control it; none if it was not a peer.
        creator: Option<PeerId>,
        /// Who else may.
        control: Control,
    },
    /// A session is gone.
    SessionEnded {
        /// Which.
        session: SessionId,
    },
}

/// How much there is, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Open sockets.
    pub connections: usize,
    /// Registered peers, those away included.
    pub peers: usize,
    /// Rooms with somebody in them.
    pub rooms: usize,
    /// Calls taken.
    pub calls: u64,
    /// Errors sent.
    pub errors: u64,
    /// Calls over the rate limit.
    pub limited: u64,
    /// Candidates and messages for absent devices that found their queue full, and notifications that nobody can take.
    pub dropped: u64,
    /// Sockets closed because their reader was too slow.
    pub overruns: u64,
}
