//! What the router's media endpoint says: on to the peer that it concerns, or nowhere when that is gone.

use super::calls::forwarded;
use super::room::{Candidate, Exchange, Kind, Offerer, Party, Seat, State};
use super::{FromRouter, Hub, Room, Session, Slot, ToRouter};
use crate::message::{
    self, Answer, CandidateMessage, Disconnected, Error, Offer, ROUTER, Rejected, RequestId, method,
};
use remotemedia_shm_schema::{PeerId, SessionId};
use serde_json::Value;
use std::time::Instant;

impl Hub {
    pub(super) fn router_says(&mut self, now: Instant, message: FromRouter) {
        match message {
            FromRouter::Taken { peer, room, request_id } => {
                self.take(&room, &peer, &request_id);
            }
            FromRouter::Answer { peer, room, request_id, sdp } => {
                self.router_answers(&room, &peer, request_id, sdp);
            }
            FromRouter::Refused { peer, room, request_id, error } => {
                self.router_refuses(&room, &peer, request_id, &error);
            }
            FromRouter::Offer { peer, room, request_id, sdp } => {
                self.router_offers(now, room, peer, request_id, sdp);
            }
            FromRouter::Candidate { peer, room, request_id, candidate } => {
                self.router_candidate(&room, &peer, request_id, candidate);
            }
            FromRouter::Disconnected { peer, room, reason, details, request_id } => {
                let Some(device) = self.caller(&room, &peer) else { return };
                let seat = Seat { room, peer, device };
                self.end_exchanges(&seat, request_id.as_ref());
                if let Some(from) = router_id() {
                    let notice = Disconnected { from, reason, details, request_id };
                    let text = message::call(method::DISCONNECTED, &notice);
                    self.tell_device(&seat, Kind::Other, text);
                }
            }
            FromRouter::Reply { token, result } => {
                let Some(question) = self.questions.remove(&token) else { return };
                if let (Some(session), Ok(reply)) = (question.creates, &result) {
                    self.made(session, reply);
                }
                self.settle(question.slot, &result);
            }
            FromRouter::Notify { peer, room, method, params } => {
                let Some(member) = self.member(&room, &peer) else { return };
                let text = message::call(&method, &params);
                let conns: Vec<_> = member.online().collect();
                for conn in conns {
                    self.actions.push_back(super::Action::Send { conn, text: text.clone() });
                }
            }
            FromRouter::SessionStarted { session, room, creator, control } => {
                // A creator that left meanwhile has no rights any more, nor has whoever bears its name next.
                let creator = creator.filter(|peer| self.member(&room, peer).is_some());
                let creator = creator.map(|peer| (room.clone(), peer));
                let fresh = Session { room, creator, control, max_peers: None };
                self.sessions.entry(session).or_insert(fresh);
            }
            FromRouter::SessionEnded { session } => {
                self.sessions.remove(&session);
            }
        }
    }

    /// The router has the offer: its sender learns so, and the candidates that waited go on.
    fn take(&mut self, room: &Room, peer: &PeerId, id: &RequestId) -> bool {
        let exchange =
            self.member(room, peer).and_then(|member| member.exchange(&Party::Router, id));
        let Some(Exchange {
            offerer: Offerer::Member,
            state: State::Open { reply, taken, outward, .. },
            ..
        }) = exchange
        else {
            return false;
        };
        let first = !std::mem::replace(taken, true);
        let (reply, waiting): (Option<Slot>, Vec<Candidate>) =
            (reply.take(), std::mem::take(outward));
        if first {
            self.settle(reply, &Ok(forwarded(id.clone())));
        }
        for candidate in waiting {
            let (peer, room, request_id) = (peer.clone(), room.clone(), id.clone());
            self.router(ToRouter::Candidate { peer, room, request_id, candidate });
        }
        true
    }

    fn router_answers(&mut self, room: &Room, peer: &PeerId, request_id: RequestId, sdp: String) {
        if !self.take(room, peer, &request_id) {
            return;
        }
        let Some(exchange) =
            self.member(room, peer).and_then(|m| m.exchange(&Party::Router, &request_id))
        else {
            return;
        };
        let device = exchange.device.clone();
        let before = std::mem::replace(&mut exchange.state, State::Answered);
        let seat = Seat { room: room.clone(), peer: peer.clone(), device };
        let answer = Answer {
            from: router_id(),
            to: None,
            sdp,
            can_trickle_ice_candidates: true,
            request_id: request_id.clone(),
        };
        self.tell_device(&seat, Kind::Other, message::call(method::ANSWER, &answer));
        if let State::Open { inward, .. } = before {
            for candidate in inward {
                self.pass_candidate(&seat, &request_id, candidate);
            }
        }
    }

    fn router_refuses(&mut self, room: &Room, peer: &PeerId, id: RequestId, error: &Error) {
        let Some(member) = self.member(room, peer) else { return };
        let open = member
            .exchange(&Party::Router, &id)
            .is_some_and(|e| e.offerer == Offerer::Member && matches!(e.state, State::Open { .. }));
        if !open {
            return;
        }
        let Some(exchange) = member.forget(&Party::Router, &id) else { return };
        if !member.exchanges.iter().any(|e| e.with == Party::Router) {
            member.caller = None;
        }
        match exchange.state {
            State::Open { reply: Some(slot), taken: false, .. } => {
                self.settle(Some(slot), &Err(error.clone()));
            }
            // The request has its response: the refusal is news.
            State::Open { .. } | State::Answered => {
                let Some(from) = router_id() else { return };
                let seat = Seat { room: room.clone(), peer: peer.clone(), device: exchange.device };
                let reason = Some(error.message.clone());
                let notice = Rejected { from, request_id: id, reason };
                self.tell_device(&seat, Kind::Other, message::call(method::REJECTED, &notice));
            }
        }
    }

    fn router_offers(
        &mut self,
        now: Instant,
        room: Room,
        peer: PeerId,
        request_id: RequestId,
        sdp: String,
    ) {
        let limits = self.config.limits.clone();
        let device = self.caller(&room, &peer);
        let Some((device, member)) = device.zip(self.member(&room, &peer)) else {
            self.router(ToRouter::Unanswered { peer, room, request_id });
            return;
        };
        // One unanswered offer at a time, and none while the peer's own waits: the router yields.
        let waits = member
            .exchanges
            .iter()
            .any(|e| e.with == Party::Router && matches!(e.state, State::Open { .. }));
        if waits {
            self.router(ToRouter::Unanswered { peer, room, request_id });
            return;
        }
        let exchange = Exchange {
            request_id: request_id.clone(),
            with: Party::Router,
            offerer: Offerer::Other,
            device: device.clone(),
            state: State::Open {
                deadline: now + limits.answer_within,
                reply: None,
                taken: false,
                outward: Vec::new(),
                inward: Vec::new(),
            },
        };
        member.exchanges.retain(|e| e.with != Party::Router || e.request_id != request_id);
        member.begin(exchange, limits.max_offers * 2);
        let offer = Offer {
            from: router_id(),
            from_device: None,
            to: None,
            to_device: None,
            sdp,
            can_trickle_ice_candidates: true,
            request_id,
        };
        let seat = Seat { room, peer, device };
        self.tell_device(&seat, Kind::Offer, message::call(method::OFFER, &offer));
    }

    fn router_candidate(
        &mut self,
        room: &Room,
        peer: &PeerId,
        request_id: RequestId,
        candidate: Candidate,
    ) {
        let limit = self.config.limits.max_candidates;
        let exchange =
            self.member(room, peer).and_then(|m| m.exchange(&Party::Router, &request_id));
        match exchange {
            // Its answer is not out yet.
            Some(Exchange {
                offerer: Offerer::Member, state: State::Open { inward, .. }, ..
            }) => {
                if inward.len() < limit {
                    inward.push(candidate);
                } else {
                    self.counts.dropped += 1;
                }
            }
            Some(exchange) => {
                let device = exchange.device.clone();
                let seat = Seat { room: room.clone(), peer: peer.clone(), device };
                self.pass_candidate(&seat, &request_id, candidate);
            }
            None => self.counts.dropped += 1,
        }
    }

    fn pass_candidate(&mut self, seat: &Seat, request_id: &RequestId, candidate: Candidate) {
        let notice = CandidateMessage {
            from: router_id(),
            to: None,
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_m_line_index: candidate.sdp_m_line_index,
            user_fragment: candidate.user_fragment,
            request_id: request_id.clone(),
        };
        let kind = Kind::Candidate(request_id.clone());
        self.tell_device(seat, kind, message::call(method::CANDIDATE, &notice));
    }

    /// The device of a peer that the router speaks to: the one with the call, else the only or first one.
    fn caller(&mut self, room: &Room, peer: &PeerId) -> Option<Option<crate::message::DeviceId>> {
        let member = self.member(room, peer)?;
        member.caller.clone().or_else(|| member.devices.keys().next().cloned())
    }

    /// A session that `session.create` made; the router may have told of it first, without the caller's `max_peers`.
    fn made(&mut self, session: Session, reply: &Value) {
        let id = reply.get("session_id").and_then(Value::as_str);
        let Some(id) = id.and_then(|id| SessionId::new(id).ok()) else { return };
        let creator =
            session.creator.clone().filter(|(room, peer)| self.member(room, peer).is_some());
        self.sessions.insert(id, Session { creator, ..session });
    }
}

/// The router's reserved id as a sender.
fn router_id() -> Option<PeerId> {
    PeerId::new(ROUTER).ok()
}
