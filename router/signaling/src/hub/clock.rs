//! What time ends: late announces, idle sockets, unanswered offers and questions, registrations of dropped sockets.

use super::calls::forwarded;
use super::room::{Kind, Offerer, Party, Presence, Seat, State};
use super::{Action, Hub, ToRouter, close};
use crate::message::{self, Error, ROUTER, Reason, method};
use remotemedia_shm_schema::PeerId;
use std::time::Instant;

impl Hub {
    /// When the next [`super::Input::Tick`] is due; none while nobody is there.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let limits = &self.config.limits;
        let sockets = self.conns.values().flat_map(|open| {
            let announce = open.seat.is_none().then(|| open.since + limits.announce_within);
            [Some(open.pinged + limits.ping_every), Some(open.heard + limits.idle), announce]
        });
        let members = self.rooms.values().flat_map(|members| members.values());
        let kept = members.clone().flat_map(|member| member.devices.values()).map(|device| {
            match device.presence {
                Presence::Away { since, .. } => Some(since + limits.retention),
                Presence::Online(_) => None,
            }
        });
        let offers = members.clone().flat_map(|member| &member.exchanges).map(|e| match e.state {
            State::Open { deadline, .. } => Some(deadline),
            State::Answered => None,
        });
        let early = members
            .flat_map(|member| member.early.front())
            .map(|early| Some(early.since + limits.answer_within));
        let questions = self.questions.values().map(|question| Some(question.deadline));
        sockets.chain(kept).chain(offers).chain(early).chain(questions).flatten().min()
    }

    /// Ends what is overdue.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.wake_at().is_none_or(|due| now < due) {
            return;
        }
        self.expire_sockets(now);
        self.expire_offers(now);
        self.expire_questions(now);
        self.expire_registrations(now);
    }

    fn expire_sockets(&mut self, now: Instant) {
        let limits = self.config.limits.clone();
        let mut over = Vec::new();
        for (id, open) in &mut self.conns {
            if open.seat.is_none() && now >= open.since + limits.announce_within {
                over.push((*id, "peer.announce did not come within 10 s"));
            } else if now >= open.heard + limits.idle {
                over.push((*id, "no frame came for 60 s"));
            } else if now >= open.pinged + limits.ping_every {
                open.pinged = now;
                self.actions.push_back(Action::Ping { conn: *id });
            }
        }
        for (conn, reason) in over {
            self.close(now, conn, close::POLICY, reason);
        }
    }

    fn expire_offers(&mut self, now: Instant) {
        let limits = self.config.limits.clone();
        let mut over = Vec::new();
        for (room, members) in &mut self.rooms {
            for (peer, member) in members {
                member.early.retain(|early| now < early.since + limits.answer_within);
                let late = |state: &State| match state {
                    State::Open { deadline, .. } => now >= *deadline,
                    State::Answered => false,
                };
                while let Some(at) = member.exchanges.iter().position(|e| late(&e.state)) {
                    if let Some(exchange) = member.exchanges.remove(at) {
                        let device = exchange.device.clone();
                        let seat = Seat { room: room.clone(), peer: peer.clone(), device };
                        over.push((seat, exchange));
                    }
                }
                if !member.exchanges.iter().any(|e| e.with == Party::Router) {
                    member.caller = None;
                }
            }
        }
        for (seat, exchange) in over {
            let request_id = exchange.request_id;
            let (peer, room) = (seat.peer.clone(), seat.room.clone());
            match exchange.offerer {
                Offerer::Member => {
                    if let State::Open { reply, .. } = exchange.state {
                        self.settle(reply, &Ok(forwarded(request_id.clone())));
                    }
                    if let Ok(to) = PeerId::new(ROUTER) {
                        let notice = message::Timeout { to, request_id: request_id.clone() };
                        let text = message::call(method::TIMEOUT, &notice);
                        self.tell_device(&seat, Kind::Other, text);
                    }
                    let reason = Reason::Timeout;
                    let request_id = Some(request_id);
                    self.router(ToRouter::Disconnect { peer, room, reason, request_id });
                }
                Offerer::Other => self.router(ToRouter::Unanswered { peer, room, request_id }),
            }
        }
    }

    fn expire_questions(&mut self, now: Instant) {
        let over = self.questions.extract_if(.., |_, question| now >= question.deadline);
        for (_, question) in over.collect::<Vec<_>>() {
            self.settle(question.slot, &Err(Error::internal("the router did not answer in time")));
        }
    }

    fn expire_registrations(&mut self, now: Instant) {
        let retention = self.config.limits.retention;
        let mut over = Vec::new();
        for (room, members) in &self.rooms {
            for (peer, member) in members {
                for (device, registration) in &member.devices {
                    if let Presence::Away { since, .. } = registration.presence
                        && now >= since + retention
                    {
                        let (room, peer, device) = (room.clone(), peer.clone(), device.clone());
                        over.push(Seat { room, peer, device });
                    }
                }
            }
        }
        for seat in over {
            self.unregister(&seat, Reason::Timeout);
        }
    }
}
