//! Registration: a connection becomes a peer of a room, or takes its place back.

use super::room::{Device, Member, Presence, Seat};
use super::{Action, ConnId, Hub, Room, ToRouter, close};
use crate::message::{
    self, Announce, AnnounceResult, Announced, DEFAULT_ROOM, Error, MAX_USER_DATA, PeerInfo,
    PeerList, ROUTER, method,
};
use remotemedia_shm_schema::SessionId;
use serde_json::{Value, json};
use std::time::Instant;

impl Hub {
    pub(super) fn announce(
        &mut self,
        now: Instant,
        conn: ConnId,
        params: Value,
    ) -> Result<Value, Error> {
        let announce: Announce = message::params(params)?;
        check(&announce)?;
        let room = match &announce.session_id {
            None => Room::Default,
            Some(name) if name.as_str() == DEFAULT_ROOM => Room::Default,
            Some(name) => Room::Session(name.clone()),
        };
        let seat =
            Seat { room, peer: announce.peer_id.clone(), device: announce.device_id.clone() };
        let session_id = match &seat.room {
            Room::Session(session) => session.clone(),
            Room::Default => SessionId::new(DEFAULT_ROOM)
                .map_err(|_| Error::internal("the default room has no name"))?,
        };
        let known = self.member(&seat.room, &seat.peer).map(|member| {
            let device = member.devices.get(&seat.device).map(|d| (d.key.clone(), d.registered_at));
            // Without ids the devices of a peer cannot be told apart, so such a peer has one only.
            let apart = seat.device.is_some() && member.devices.keys().all(Option::is_some);
            let oldest = member.devices.values().map(|d| d.registered_at).min().unwrap_or(0);
            (device, apart, member.devices.len(), oldest)
        });
        let taken = |at| Err(Error::already_registered(seat.peer.as_str(), at));
        let session_key = match known {
            Some((Some((key, registered_at)), ..)) => {
                if announce.session_key.as_deref() != Some(key.as_str()) {
                    return taken(registered_at);
                }
                self.take_back(now, conn, &seat, &announce);
                key
            }
            Some((None, false, _, registered_at)) => return taken(registered_at),
            Some((None, true, devices, _)) if devices >= self.config.limits.max_devices => {
                let (limit, in_use) = (self.config.limits.max_devices as u64, devices as u64);
                return Err(Error::no_capacity("devices of this peer", limit, in_use));
            }
            Some((None, true, ..)) => self.register(now, conn, &seat, &announce),
            None => {
                self.room_for(&seat.room)?;
                self.register(now, conn, &seat, &announce)
            }
        };
        let result = AnnounceResult {
            status: "registered".into(),
            server_time: self.wall(now),
            peer_id: seat.peer.clone(),
            session_id,
            session_key,
            ice_servers: self.config.ice_servers.clone(),
            peers: self.others(&seat),
        };
        Ok(json!(result))
    }

    pub(super) fn list(&mut self, seat: &Seat) -> Result<Value, Error> {
        Ok(json!(PeerList { peers: self.others(seat) }))
    }

    fn others(&self, seat: &Seat) -> Vec<PeerInfo> {
        let members = self.rooms.get(&seat.room).into_iter().flatten();
        members.filter(|(id, _)| **id != seat.peer).flat_map(|(id, m)| m.infos(id)).collect()
    }

    fn room_for(&self, room: &Room) -> Result<(), Error> {
        let limits = &self.config.limits;
        let total = self.peers();
        if total >= limits.max_peers_total {
            return Err(Error::no_capacity("peers", limits.max_peers_total as u64, total as u64));
        }
        // Peers of the default room have a session each: `max_peers` is about sessions.
        let Room::Session(session) = room else { return Ok(()) };
        let max = self.sessions.get(session).and_then(|s| s.max_peers).unwrap_or(limits.max_peers);
        if self.rooms.get(room).map_or(0, |members| members.len()) >= max {
            return Err(Error::session_full(max));
        }
        Ok(())
    }

    fn register(&mut self, now: Instant, conn: ConnId, seat: &Seat, announce: &Announce) -> String {
        let registered_at = self.wall(now);
        let Some(open) = self.conns.get_mut(&conn) else { return String::new() };
        open.seat = Some(seat.clone());
        let key = open.key.clone();
        let device = Device {
            capabilities: announce.capabilities.clone(),
            user_data: announce.user_data.clone(),
            key: key.clone(),
            registered_at,
            presence: Presence::Online(conn),
        };
        let members = self.rooms.entry(seat.room.clone()).or_default();
        let member = members.entry(seat.peer.clone()).or_default();
        let was_away = !member.devices.is_empty() && !member.is_online();
        member.devices.insert(seat.device.clone(), device);
        if was_away {
            self.router(ToRouter::SocketBack { peer: seat.peer.clone(), room: seat.room.clone() });
        }
        self.tell_announced(now, seat, announce);
        key
    }

    fn take_back(&mut self, now: Instant, conn: ConnId, seat: &Seat, announce: &Announce) {
        let Some(open) = self.conns.get_mut(&conn) else { return };
        open.seat = Some(seat.clone());
        let Some(member) = self.member(&seat.room, &seat.peer) else { return };
        let was_away = !member.is_online();
        let Some(device) = member.devices.get_mut(&seat.device) else { return };
        let changed =
            device.capabilities != announce.capabilities || device.user_data != announce.user_data;
        device.capabilities.clone_from(&announce.capabilities);
        device.user_data.clone_from(&announce.user_data);
        match std::mem::replace(&mut device.presence, Presence::Online(conn)) {
            Presence::Online(old) => {
                // The seat is the new socket's already: closing the old one ends no registration.
                self.close(now, old, close::NORMAL, "another connection took this registration");
            }
            Presence::Away { mail, .. } => {
                for text in mail.into_texts() {
                    self.after.push(Action::Send { conn, text });
                }
            }
        }
        if was_away {
            self.router(ToRouter::SocketBack { peer: seat.peer.clone(), room: seat.room.clone() });
        }
        if changed {
            self.tell_announced(now, seat, announce);
        }
    }

    fn tell_announced(&mut self, now: Instant, seat: &Seat, announce: &Announce) {
        let announced = Announced {
            peer: PeerInfo {
                peer_id: seat.peer.clone(),
                capabilities: announce.capabilities.clone(),
                user_data: announce.user_data.clone(),
                device_id: seat.device.clone(),
            },
            announced_at: self.wall(now),
        };
        self.tell_room(&seat.room, &seat.peer, &message::call(method::ANNOUNCED, &announced));
    }

    /// Ends one device's registration, and with the last one the peer's.
    pub(super) fn unregister(&mut self, seat: &Seat, reason: message::Reason) {
        let Some(members) = self.rooms.get_mut(&seat.room) else { return };
        let Some(member) = members.get_mut(&seat.peer) else { return };
        member.devices.remove(&seat.device);
        if !member.devices.is_empty() {
            if member.caller.as_ref() == Some(&seat.device) {
                member.caller = None;
            }
            return;
        }
        let Member { exchanges, .. } = members.remove(&seat.peer).unwrap_or_default();
        drop(exchanges);
        if members.is_empty() {
            self.rooms.remove(&seat.room);
        }
        // Whoever takes the name next is somebody else.
        let left = (seat.room.clone(), seat.peer.clone());
        for session in self.sessions.values_mut() {
            session.creator.take_if(|creator| *creator == left);
        }
        let notice = message::Left { peer_id: seat.peer.clone(), reason };
        self.tell_room(&seat.room, &seat.peer, &message::call(method::LEFT, &notice));
        let (room, peer) = left;
        self.router(ToRouter::Left { peer, room, reason });
    }
}

fn check(announce: &Announce) -> Result<(), Error> {
    if announce.peer_id.as_str() == ROUTER {
        return Err(Error::invalid_params("/peer_id", "the id `router` is reserved"));
    }
    let capabilities = &announce.capabilities;
    let mut distinct = capabilities.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if !(1..=3).contains(&capabilities.len()) || distinct.len() != capabilities.len() {
        let what = "one to three different ones of `audio`, `video`, `data`";
        return Err(Error::invalid_params("/capabilities", what));
    }
    let size = announce.user_data.as_ref().map_or(0, |data| data.to_string().len());
    if size > MAX_USER_DATA {
        let what = format!("{size} bytes of JSON; {MAX_USER_DATA} are allowed");
        return Err(Error::invalid_params("/user_data", &what));
    }
    if announce.role.is_some() {
        return Err(Error::not_authorized(
            "no role may be asked for: neither a token nor the config gives one",
        ));
    }
    Ok(())
}
