//! The hub: rooms, registrations, who may say what to whom, and when it is too much or too late.
//!
//! A state machine. [`Hub::handle`] takes what happened and when, [`Hub::poll`] gives what is to be done, in order, and
//! [`Hub::wake_at`] when it wants a [`Input::Tick`]. Files: `announce` registers and takes back, `calls` carries
//! `peer.*` towards the router, `sessions` carries `session.*`, `router` carries what the router says back, `clock` ends
//! what is overdue. What the hub does not know: media, pipelines, workers.

mod announce;
mod calls;
mod clock;
mod interface;
mod limits;
mod room;
mod router;
mod sessions;

pub use interface::{Act, Action, ConnId, Counts, FromRouter, Input, ToRouter, Token, close};
pub use limits::{Config, Limits};
pub use room::{Candidate, Room};

use crate::message::{self, Control, Error, Id, Message, Parsed, method};
use limits::Bucket;
use remotemedia_shm_schema::{PeerId, SessionId};
use room::{Kind, Member, Presence, Seat};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

/// Where a response goes: alone, or into the batch that its request came in.
#[derive(Debug, Clone, PartialEq)]
struct Slot {
    conn: ConnId,
    id: Id,
    batch: Option<u64>,
}

#[derive(Debug)]
struct Batch {
    missing: usize,
    replies: Vec<Value>,
}

#[derive(Debug)]
struct Conn {
    key: String,
    address: Option<IpAddr>,
    seat: Option<Seat>,
    since: Instant,
    heard: Instant,
    pinged: Instant,
    bucket: Bucket,
    outstanding: usize,
    batches: BTreeMap<u64, Batch>,
}

/// A session as far as rights go.
#[derive(Debug)]
struct Session {
    /// Whose peers see it; those of `default` see their own only.
    room: Room,
    creator: Option<(Room, PeerId)>,
    control: Control,
    max_peers: Option<usize>,
}

/// A question that the router has not answered.
#[derive(Debug)]
struct Question {
    slot: Option<Slot>,
    deadline: Instant,
    creates: Option<Session>,
}

/// What a call came to.
enum Outcome {
    /// The response.
    Now(Result<Value, Error>),
    /// It comes later, through the slot that was handed over.
    Later,
}

/// The state machine.
#[derive(Debug)]
pub struct Hub {
    config: Config,
    conns: BTreeMap<ConnId, Conn>,
    rooms: BTreeMap<Room, BTreeMap<PeerId, Member>>,
    sessions: BTreeMap<SessionId, Session>,
    questions: BTreeMap<Token, Question>,
    /// Session starts that an address has left.
    starts: BTreeMap<IpAddr, Bucket>,
    actions: VecDeque<Action>,
    /// What follows the response to the call under way: a peer that comes back learns that it is registered first.
    after: Vec<Action>,
    next: u64,
    counts: Counts,
}

impl Hub {
    /// Nobody is there.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            conns: BTreeMap::new(),
            rooms: BTreeMap::new(),
            sessions: BTreeMap::new(),
            questions: BTreeMap::new(),
            starts: BTreeMap::new(),
            actions: VecDeque::new(),
            after: Vec::new(),
            next: 1,
            counts: Counts::default(),
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.conns.len(),
            peers: self.peers(),
            rooms: self.rooms.len(),
            ..self.counts
        }
    }

    /// Takes what happened. Time that passed is looked at first, so that what is late is late.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.expire(now);
        match input {
            Input::Connected { conn, key, address } => {
                let Limits { rate, burst, .. } = self.config.limits;
                let bucket = Bucket::full(now, rate, burst);
                let fresh = Conn {
                    key,
                    address,
                    seat: None,
                    since: now,
                    heard: now,
                    pinged: now,
                    bucket,
                    outstanding: 0,
                    batches: BTreeMap::new(),
                };
                self.conns.insert(conn, fresh);
            }
            Input::Text { conn, text } => {
                if self.heard(now, conn) {
                    self.text(now, conn, &text);
                }
            }
            Input::Heard { conn } => {
                self.heard(now, conn);
            }
            Input::Binary { conn } => {
                self.close(now, conn, close::UNSUPPORTED, "text frames only");
            }
            Input::TooLarge { conn } => {
                self.close(now, conn, close::TOO_BIG, "a message may have 1 MiB");
            }
            Input::Overrun { conn } => {
                if self.conns.contains_key(&conn) {
                    self.counts.overruns += 1;
                    self.close(now, conn, close::TRY_AGAIN, "messages are not read fast enough");
                }
            }
            Input::Closed { conn } => self.gone(now, conn),
            Input::Router(message) => self.router_says(now, message),
            Input::Tick => {}
            Input::Stop => {
                let all: Vec<ConnId> = self.conns.keys().copied().collect();
                for conn in all {
                    self.close(now, conn, close::GOING_AWAY, "the router is stopping");
                }
            }
        }
    }

    fn heard(&mut self, now: Instant, conn: ConnId) -> bool {
        match self.conns.get_mut(&conn) {
            Some(open) => {
                open.heard = now;
                true
            }
            None => false,
        }
    }

    fn text(&mut self, now: Instant, conn: ConnId, text: &str) {
        match message::parse(text) {
            Parsed::One(item) => self.item(now, conn, item, None),
            Parsed::Batch(items) => {
                let batch = self.fresh();
                let wanted = |item: &Result<Message, message::Fault>| match item {
                    Ok(Message::Call { id, .. }) => id.is_some(),
                    Ok(Message::Reply { .. }) => false,
                    Err(_) => true,
                };
                let missing = items.iter().filter(|item| wanted(item)).count();
                if let Some(open) = self.conns.get_mut(&conn).filter(|_| missing > 0) {
                    open.batches.insert(batch, Batch { missing, replies: Vec::new() });
                }
                for item in items {
                    self.item(now, conn, item, Some(batch));
                }
            }
        }
    }

    fn item(
        &mut self,
        now: Instant,
        conn: ConnId,
        item: Result<Message, message::Fault>,
        batch: Option<u64>,
    ) {
        let Some(open) = self.conns.get_mut(&conn) else { return };
        // Malformed messages cost as much as good ones.
        let limited = open.bucket.take(now);
        let (id, method, params) = match item {
            Ok(Message::Call { id, method, params }) => (id, method, params),
            // The hub asks nobody anything: a response to nothing gets none.
            Ok(Message::Reply { .. }) => return,
            Err(message::Fault { id, error }) => {
                let error = match limited {
                    Ok(()) => error,
                    Err(retry_after_ms) => self.limited(retry_after_ms),
                };
                self.reply(Slot { conn, id, batch }, &Err(error));
                return;
            }
        };
        let slot = id.map(|id| Slot { conn, id, batch });
        let outcome = match limited {
            Ok(()) => self.call(now, conn, slot.clone(), &method, params),
            Err(retry_after_ms) => Outcome::Now(Err(self.limited(retry_after_ms))),
        };
        match (outcome, slot) {
            (Outcome::Now(result), Some(slot)) => self.reply(slot, &result),
            (Outcome::Now(Err(_)), None) => self.counts.dropped += 1,
            (Outcome::Now(Ok(_)), None) | (Outcome::Later, _) => {}
        }
        self.actions.extend(self.after.drain(..));
    }

    fn call(
        &mut self,
        now: Instant,
        conn: ConnId,
        slot: Option<Slot>,
        name: &str,
        params: Value,
    ) -> Outcome {
        let seat = self.conns.get(&conn).and_then(|open| open.seat.clone());
        self.counts.calls += 1;
        match (name, seat) {
            (method::ANNOUNCE, None) => Outcome::Now(self.announce(now, conn, params)),
            (method::ANNOUNCE, Some(_)) => {
                let what = "this connection has announced already; open another for another peer";
                Outcome::Now(Err(Error::invalid_request(what)))
            }
            (_, None) => {
                let what = "peer.announce must be the first request of a connection";
                Outcome::Now(Err(Error::invalid_request(what)))
            }
            (method::LIST, Some(seat)) => Outcome::Now(self.list(&seat)),
            (method::OFFER, Some(seat)) => self.offer(now, slot, &seat, params),
            (method::ANSWER, Some(seat)) => Outcome::Now(self.answer(&seat, params)),
            (method::CANDIDATE, Some(seat)) => Outcome::Now(self.candidate(now, &seat, params)),
            (method::STATE_CHANGED, Some(seat)) => Outcome::Now(self.state_changed(&seat, params)),
            (method::DISCONNECT, Some(seat)) => Outcome::Now(self.disconnect(&seat, params)),
            (method::SESSION_CREATE, Some(seat)) => self.session_create(now, slot, &seat, params),
            (method::SESSION_LIST, Some(seat)) => self.session_list(now, slot, &seat),
            (method::SESSION_DESCRIBE, Some(seat)) => {
                self.session_describe(now, slot, &seat, params)
            }
            (method::SESSION_CLOSE, Some(seat)) => self.session_close(now, slot, &seat, params),
            (method::SESSION_UPDATE, Some(seat)) => self.session_update(now, slot, &seat, params),
            (method::SESSION_RECONFIGURE, Some(seat)) => {
                self.session_reconfigure(now, slot, &seat, params)
            }
            (method::SESSION_RESTART, Some(seat)) => self.session_restart(now, slot, &seat, params),
            (method::SUBSCRIPTION_SET, Some(seat)) => self.subscribe(now, slot, &seat, params),
            (name, Some(_)) if method::NOT_YET.contains(&name) => {
                let what = format!("{name} is not supported yet");
                Outcome::Now(Err(Error::not_supported(name, &what)))
            }
            (name, Some(_)) => Outcome::Now(Err(Error::unknown_method(name))),
        }
    }

    fn limited(&mut self, retry_after_ms: u64) -> Error {
        self.counts.limited += 1;
        Error::too_many("requests", retry_after_ms)
    }

    /// Sends a response, or keeps it until its batch is complete.
    fn reply(&mut self, slot: Slot, result: &Result<Value, Error>) {
        let Some(open) = self.conns.get_mut(&slot.conn) else { return };
        if result.is_err() {
            self.counts.errors += 1;
        }
        let reply = message::reply(&slot.id, result);
        let text = match slot.batch {
            None => reply.to_string(),
            Some(number) => {
                let Some(batch) = open.batches.get_mut(&number) else { return };
                batch.replies.push(reply);
                batch.missing = batch.missing.saturating_sub(1);
                if batch.missing > 0 {
                    return;
                }
                let replies = open.batches.remove(&number).map(|b| b.replies).unwrap_or_default();
                Value::Array(replies).to_string()
            }
        };
        self.actions.push_back(Action::Send { conn: slot.conn, text });
    }

    /// Keeps a slot for later; refused when the connection has too many of them.
    fn defer(&mut self, slot: Option<&Slot>) -> Result<(), Error> {
        let Some(open) = slot.and_then(|slot| self.conns.get_mut(&slot.conn)) else {
            return Ok(());
        };
        if open.outstanding >= self.config.limits.max_outstanding {
            return Err(Error::too_many("requests under way", 100));
        }
        open.outstanding += 1;
        Ok(())
    }

    /// Gives the response to a slot that was kept.
    fn settle(&mut self, slot: Option<Slot>, result: &Result<Value, Error>) {
        let Some(slot) = slot else { return };
        if let Some(open) = self.conns.get_mut(&slot.conn) {
            open.outstanding = open.outstanding.saturating_sub(1);
        }
        self.reply(slot, result);
    }

    fn member(&mut self, room: &Room, peer: &PeerId) -> Option<&mut Member> {
        self.rooms.get_mut(room)?.get_mut(peer)
    }

    /// The socket of a device that is there.
    fn socket(&mut self, seat: &Seat) -> Option<ConnId> {
        let device = self.member(&seat.room, &seat.peer)?.devices.get(&seat.device)?;
        match device.presence {
            Presence::Online(conn) => Some(conn),
            Presence::Away { .. } => None,
        }
    }

    /// Sends to everyone of a room who is there, except one.
    fn tell_room(&mut self, room: &Room, except: &PeerId, text: &str) {
        let Some(members) = self.rooms.get(room) else { return };
        let others = members.iter().filter(|(id, _)| *id != except);
        for conn in others.flat_map(|(_, member)| member.online()) {
            self.actions.push_back(Action::Send { conn, text: text.to_owned() });
        }
    }

    /// Sends to one device, or keeps it for when it is back.
    fn tell_device(&mut self, seat: &Seat, kind: Kind, text: String) {
        let limits = &self.config.limits;
        let limit = match kind {
            Kind::Offer | Kind::Other => limits.max_offers,
            Kind::Candidate(_) => limits.max_candidates,
        };
        let device = self
            .rooms
            .get_mut(&seat.room)
            .and_then(|members| members.get_mut(&seat.peer))
            .and_then(|member| member.devices.get_mut(&seat.device));
        match device.map(|device| &mut device.presence) {
            Some(Presence::Online(conn)) => {
                let conn = *conn;
                self.actions.push_back(Action::Send { conn, text });
            }
            Some(Presence::Away { mail, .. }) => {
                if !mail.put(kind, limit, text) {
                    self.counts.dropped += 1;
                }
            }
            None => self.counts.dropped += 1,
        }
    }

    fn router(&mut self, message: ToRouter) {
        self.actions.push_back(Action::Router(message));
    }

    /// Closes a socket from our side; to the rooms it is as if it had dropped.
    fn close(&mut self, now: Instant, conn: ConnId, code: u16, reason: &'static str) {
        if self.conns.contains_key(&conn) {
            self.actions.push_back(Action::Close { conn, code, reason });
            self.gone(now, conn);
        }
    }

    fn gone(&mut self, now: Instant, conn: ConnId) {
        let Some(seat) = self.conns.remove(&conn).and_then(|open| open.seat) else { return };
        let Some(member) = self.member(&seat.room, &seat.peer) else { return };
        let Some(device) = member.devices.get_mut(&seat.device) else { return };
        // Another socket may have taken the seat.
        if !matches!(device.presence, Presence::Online(taken) if taken == conn) {
            return;
        }
        device.presence = Presence::Away { since: now, mail: room::Mail::default() };
        if !member.is_online() {
            self.router(ToRouter::SocketGone { peer: seat.peer, room: seat.room });
        }
    }

    /// Counts the start of a session against the address that it comes from.
    fn start(&mut self, now: Instant, conn: Option<ConnId>) -> Result<(), Error> {
        let Some(address) = conn.and_then(|c| self.conns.get(&c)).and_then(|open| open.address)
        else {
            return Ok(());
        };
        // A bucket that is full again says nothing; without this a stranger's addresses would pile up.
        self.starts.retain(|_, bucket| !bucket.is_full(now));
        let rate = self.config.limits.session_starts;
        let bucket = self.starts.entry(address).or_insert_with(|| Bucket::full(now, rate, rate));
        bucket.take(now).map_err(|_| {
            let rate = u64::from(rate);
            Error::no_capacity("session starts a second from this address", rate, rate)
        })
    }

    fn peers(&self) -> usize {
        self.rooms.values().map(BTreeMap::len).sum()
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Milliseconds since 1970.
    fn wall(&self, now: Instant) -> u64 {
        let (at, wall) = self.config.epoch;
        let since = u64::try_from(now.saturating_duration_since(at).as_millis());
        wall.saturating_add(since.unwrap_or(u64::MAX))
    }
}
