//! `session.*`: who may see, make and end which session. What a session is, the router knows.

use super::room::Seat;
use super::{Act, Hub, Outcome, Question, Room, Session, Slot, ToRouter, Token};
use crate::message::{
    self, Control, DEFAULT_ROOM, Error, SessionCreate, SessionReconfigure, SessionRef,
    SessionRestart, SessionUpdate,
};
use remotemedia_shm_schema::{NodeId, SessionId};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Bytes of a pipeline's name (chosen): it is looked up, and quoted in the error.
const MAX_NAME: usize = 64;
/// Bytes of a node's parameters as JSON: as in manifests.
const MAX_PARAMS: usize = 4 * 1024;

impl Hub {
    pub(super) fn session_create(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        let conn = self.socket(seat);
        let checked = self.check_create(seat, params);
        let request = match checked.and_then(|r| self.start(now, conn).map(|()| r)) {
            Ok(request) => request,
            Err(error) => return Outcome::Now(Err(error)),
        };
        let control = request.control.unwrap_or_default();
        let room = request.session_id.clone().map_or(Room::Default, Room::Session);
        let session = Session {
            room,
            creator: Some((seat.room.clone(), seat.peer.clone())),
            control,
            max_peers: request.max_peers,
        };
        let (peer, room) = (seat.peer.clone(), seat.room.clone());
        self.ask(now, slot, Some(session), |token| ToRouter::Create {
            token,
            peer,
            room,
            pipeline: request.pipeline,
            manifest: request.manifest,
            session_id: request.session_id,
            max_peers: request.max_peers,
            control,
        })
    }

    pub(super) fn session_list(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
    ) -> Outcome {
        let sessions = self.sessions.iter().filter(|(id, s)| visible(seat, id, s));
        let sessions = sessions.map(|(id, _)| id.clone()).collect();
        self.ask(now, slot, None, |token| ToRouter::List { token, sessions })
    }

    pub(super) fn session_describe(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        let named = message::params(params).map(|named: SessionRef| named.session_id);
        match named.and_then(|named| self.named(seat, named)) {
            Ok(session) => self.ask(now, slot, None, |token| ToRouter::Describe { token, session }),
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    pub(super) fn session_close(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        let named = message::params(params).map(|named: SessionRef| named.session_id);
        match named.and_then(|named| self.controlled(seat, named)) {
            Ok(session) => self.ask(now, slot, None, |token| ToRouter::Close { token, session }),
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    pub(super) fn session_update(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        let asked = message::params(params).and_then(|asked: SessionUpdate| {
            Ok((self.controlled(seat, asked.session_id)?, asked.manifest))
        });
        match asked {
            Ok((session, manifest)) => {
                let within = self.config.limits.update_within;
                self.ask_for(now, within, slot, None, |token| ToRouter::Update {
                    token,
                    session,
                    manifest,
                })
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    pub(super) fn session_reconfigure(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        let asked = message::params(params).and_then(|asked: SessionReconfigure| {
            let bytes = Value::Object(asked.params.clone()).to_string().len();
            if bytes > MAX_PARAMS {
                let what = format!("{bytes} bytes as JSON; {MAX_PARAMS} are allowed");
                return Err(Error::invalid_params("/params", &what));
            }
            let session = self.controlled(seat, asked.session_id)?;
            Ok((session, asked.node, Act::Reconfigure(asked.params)))
        });
        self.act(now, slot, asked)
    }

    pub(super) fn session_restart(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        let asked = message::params(params).and_then(|asked: SessionRestart| {
            let session = self.controlled(seat, asked.session_id)?;
            Ok((session, asked.node, Act::Restart))
        });
        self.act(now, slot, asked)
    }

    fn act(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        asked: Result<(SessionId, NodeId, Act), Error>,
    ) -> Outcome {
        match asked {
            Ok((session, node, act)) => {
                self.ask(now, slot, None, |token| ToRouter::Act { token, session, node, act })
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        seat: &Seat,
        params: Value,
    ) -> Outcome {
        let wish = match message::params(params) {
            Ok(wish) => wish,
            Err(error) => return Outcome::Now(Err(error)),
        };
        let (peer, room) = (seat.peer.clone(), seat.room.clone());
        self.ask(now, slot, None, |token| ToRouter::Subscribe { token, peer, room, wish })
    }

    /// The session that a call names, where the caller may act on it.
    fn controlled(&self, seat: &Seat, named: Option<SessionId>) -> Result<SessionId, Error> {
        let session = self.named(seat, named)?;
        let right = self.sessions.get(&session).is_some_and(|s| match s.control {
            Control::Any => true,
            Control::Creator => made(seat, s),
        });
        let what = "only the peer that made the session may do this";
        if right { Ok(session) } else { Err(Error::not_authorized(what)) }
    }

    /// The session that a call names; one that the caller may not see does not exist for it.
    fn named(&self, seat: &Seat, named: Option<SessionId>) -> Result<SessionId, Error> {
        let session = match named.or_else(|| seat.room.session().cloned()) {
            Some(session) => session,
            None => {
                let own = self.sessions.iter().find(|(id, s)| visible(seat, id, s));
                let missing = || Error::invalid_params("/session_id", "which session is missing");
                own.map(|(id, _)| id.clone()).ok_or_else(missing)?
            }
        };
        match self.sessions.get(&session) {
            Some(known) if visible(seat, &session, known) => Ok(session),
            Some(_) | None => Err(Error::session_not_found(session.as_str())),
        }
    }

    fn check_create(&self, seat: &Seat, params: Value) -> Result<SessionCreate, Error> {
        let mut request: SessionCreate = message::params(params)?;
        if request.manifest.is_some() && request.pipeline.is_some() {
            let what = "either a manifest or the name of a pipeline, not both";
            return Err(Error::invalid_params("/manifest", what));
        }
        if request.pipeline.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
            return Err(Error::invalid_params("/pipeline", "a name has 64 bytes at most"));
        }
        let max = self.config.limits.max_peers;
        if request.max_peers.is_some_and(|asked| !(1..=max).contains(&asked)) {
            return Err(Error::invalid_params("/max_peers", &format!("1 to {max} are allowed")));
        }
        let own = seat.room.session().cloned();
        match (&request.session_id, own) {
            (None, own) => request.session_id = own,
            (Some(named), Some(own)) if *named != own => {
                let what = format!("peers of the room {own} can only make the session {own}");
                return Err(Error::invalid_params("/session_id", &what));
            }
            (Some(named), _) if named.as_str() == DEFAULT_ROOM => {
                let what = "`default` is the room of peers that name none; it has no session";
                return Err(Error::invalid_params("/session_id", what));
            }
            // From outside a room nobody may decide for those who are in it.
            (Some(named), None) if self.rooms.contains_key(&Room::Session(named.clone())) => {
                return Err(Error::invalid_params("/session_id", "this name is taken"));
            }
            (Some(_), _) => {}
        }
        let begun = |id: &SessionId| self.sessions.contains_key(id);
        if request.session_id.as_ref().is_some_and(begun) {
            return Err(Error::invalid_params("/session_id", "this session exists already"));
        }
        Ok(request)
    }

    fn ask(
        &mut self,
        now: Instant,
        slot: Option<Slot>,
        creates: Option<Session>,
        question: impl FnOnce(Token) -> ToRouter,
    ) -> Outcome {
        let within = self.config.limits.answer_within;
        self.ask_for(now, within, slot, creates, question)
    }

    /// Asks the router, which is given so long for its answer.
    fn ask_for(
        &mut self,
        now: Instant,
        within: Duration,
        slot: Option<Slot>,
        creates: Option<Session>,
        question: impl FnOnce(Token) -> ToRouter,
    ) -> Outcome {
        if let Err(error) = self.defer(slot.as_ref()) {
            return Outcome::Now(Err(error));
        }
        let token = Token(self.fresh());
        self.questions.insert(token, Question { slot, deadline: now + within, creates });
        self.router(question(token));
        Outcome::Later
    }
}

fn made(seat: &Seat, session: &Session) -> bool {
    session.creator.as_ref().is_some_and(|(room, peer)| *room == seat.room && *peer == seat.peer)
}

fn visible(seat: &Seat, id: &SessionId, session: &Session) -> bool {
    made(seat, session)
        || session.room == seat.room && session.room.session().is_some_and(|own| own == id)
}
