//! The jitter buffer of one video track: whole pictures in order at once; a hole waits, then is given up.

use super::{
    AccessUnit, Fault, Hint, NotVideo, Output, PictureId, Settings, Stats, assemble::Assembler,
};
use crate::{
    MS, Packet,
    admit::{Admission, Admitted},
    queue::{Inserted, Queue, Slot},
};
use bytes::Bytes;
use remotemedia_shm_schema::Codec;

/// Least time that a hole is waited for, in ns: reordering on the way.
const MIN_WAIT_NS: u64 = 10 * MS;
/// Wait for a hole while the round trip is not known, in ns.
const BLIND_WAIT_NS: u64 = 100 * MS;
/// Besides one and a half round trips, in ns: until the hole is reported, and jitter.
const WAIT_MARGIN_NS: u64 = 20 * MS;
/// The first packet to arrive may not be the first that was sent: others are waited for this long, in ns.
const SETTLE_NS: u64 = 20 * MS;
/// Places before the first packet that the beginning may reach back to.
const SETTLE_PACKETS: i64 = 64;

/// How far the picture at the head was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    /// The next place to look at.
    next: i64,
    /// Bytes of the picture before it.
    bytes: usize,
}

/// What a look at the head brought.
enum Step {
    Unit(AccessUnit),
    Again,
    Idle,
}

/// The ingest of one track. Push each packet, then poll until `None`.
///
/// Memory: at most [`Settings::max_bytes`] of payload in [`Settings::max_packets`] packets. Each access unit is one
/// `Vec` of slices of them; [`Self::recycle`] takes it back, and then nothing is allocated in steady state.
#[derive(Debug)]
pub struct Ingest {
    settings: Settings,
    assembler: Assembler,
    admission: Admission,
    queue: Queue,
    began: bool,
    wait_ns: u64,
    scan: Scan,
    /// Until then packets from before the first one are waited for.
    settling_until_ns: Option<u64>,
    /// The packet before the head is lost, or unknown.
    gap: bool,
    /// The rest of the picture with this timestamp is dropped.
    discarding: Option<u32>,
    /// Only a keyframe can be decoded.
    need_key: bool,
    /// A keyframe is to be asked for as soon as the interval allows.
    ask: bool,
    asked_ns: Option<u64>,
    discontinuity: bool,
    last_id: Option<PictureId>,
    picture: Vec<Packet>,
    spare: Vec<Bytes>,
    stats: Stats,
}

impl Ingest {
    /// An ingest for a video codec.
    ///
    /// # Errors
    /// The codec is one of sound.
    pub fn new(codec: Codec, settings: Settings) -> Result<Self, NotVideo> {
        Ok(Self {
            assembler: Assembler::new(codec).ok_or(NotVideo(codec))?,
            admission: Admission::default(),
            queue: Queue::new(settings.max_packets),
            began: false,
            wait_ns: BLIND_WAIT_NS.min(settings.max_wait_ns),
            scan: Scan::default(),
            settling_until_ns: None,
            gap: true,
            discarding: None,
            need_key: true,
            ask: false,
            asked_ns: None,
            discontinuity: false,
            last_id: None,
            picture: Vec::new(),
            spare: Vec::new(),
            stats: Stats::default(),
            settings,
        })
    }

    /// Tells the path's round trip: a hole is waited for one and a half of them and a margin, between 10 ms and
    /// [`Settings::max_wait_ns`].
    pub fn set_round_trip(&mut self, round_trip_ns: u64) {
        let wait = round_trip_ns.saturating_add(round_trip_ns / 2).saturating_add(WAIT_MARGIN_NS);
        self.wait_ns = wait.max(MIN_WAIT_NS).min(self.settings.max_wait_ns);
    }

    /// Asks for a keyframe with the same coalescing as after a loss: for a decoder that lost its state.
    pub fn want_keyframe(&mut self) {
        self.ask = true;
    }

    /// Takes a packet.
    pub fn push(&mut self, now_ns: u64, packet: Packet) {
        self.stats.packets += 1;
        self.stats.bytes += packet.payload.len() as u64;
        match self.admission.admit(now_ns, packet) {
            Admitted::Take(at, packet) => self.take(now_ns, at, packet),
            Admitted::Restart { at, packet, held } => {
                self.restart(now_ns, at - i64::from(held.is_some()));
                if let Some(held) = held {
                    self.take(now_ns, at - 1, held);
                }
                self.take(now_ns, at, packet);
            }
            Admitted::Held => {}
            Admitted::Straggler => self.stats.late += 1,
        }
    }

    /// What is ready; to be called until `None`.
    pub fn poll(&mut self, now_ns: u64) -> Option<Output> {
        loop {
            match self.step(now_ns) {
                Step::Unit(unit) => return Some(Output::Unit(unit)),
                Step::Again => {}
                Step::Idle => break,
            }
        }
        let due = self
            .asked_ns
            .is_none_or(|asked| now_ns.saturating_sub(asked) >= self.settings.keyframe_interval_ns);
        if self.ask && due {
            self.ask = false;
            self.asked_ns = Some(now_ns);
            self.stats.keyframe_requests += 1;
            return Some(Output::KeyframeNeeded);
        }
        None
    }

    /// When to poll again, if no packet comes before; valid after a poll that gave `None`.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        let hole = match self.queue.get(self.scan.next.max(self.queue.base())) {
            Some(Slot::Missing { since_ns }) => Some(since_ns.saturating_add(self.wait_ns)),
            Some(Slot::Filled(_)) => self.settling_until_ns,
            None => None,
        };
        let ask = (self.ask, self.asked_ns);
        let ask = match ask {
            (true, Some(asked)) => Some(asked.saturating_add(self.settings.keyframe_interval_ns)),
            (true, None) => Some(0),
            (false, _) => None,
        };
        [hole, ask].into_iter().flatten().min()
    }

    /// Takes a unit back that was written out, to use its memory for the next.
    pub fn recycle(&mut self, unit: AccessUnit) {
        let mut segments = unit.segments;
        segments.clear();
        if segments.capacity() > self.spare.capacity() {
            self.spare = segments;
        }
    }

    /// Places taken, holes included, and bytes of payload that wait.
    #[must_use]
    pub fn buffered(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes())
    }

    /// Counts since the beginning.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn restart(&mut self, now_ns: u64, at: i64) {
        if std::mem::replace(&mut self.began, true) {
            self.stats.restarts += 1;
            self.discontinuity = true;
        }
        self.queue.restart(at);
        self.assembler.restart();
        self.scan = Scan { next: at, bytes: 0 };
        self.settling_until_ns = Some(now_ns.saturating_add(SETTLE_NS));
        self.gap = true;
        self.discarding = None;
        self.need_key = true;
        self.last_id = None;
    }

    fn take(&mut self, now_ns: u64, at: i64, packet: Packet) {
        let bytes = packet.payload.len();
        if bytes > self.settings.max_bytes {
            self.stats.overflow += 1;
            return;
        }
        if at < self.queue.base()
            && self.settling_until_ns.is_some()
            && self.queue.base() - at <= SETTLE_PACKETS
        {
            self.queue.reach_back(at, now_ns);
            self.rescan();
        }
        while at >= self.queue.base() && self.no_room(at, bytes) && self.queue.len() > 0 {
            self.drop_first();
        }
        if self.queue.len() == 0 && at > self.queue.base() && self.no_room(at, bytes) {
            self.queue.restart(at);
            self.rescan();
        }
        let begins_key = self.need_key && self.assembler.hint(&packet.payload) == Hint::Key;
        match self.queue.insert(at, packet, now_ns) {
            Inserted::Newest => {}
            Inserted::Filled { .. } => self.stats.recovered += 1,
            Inserted::Duplicate => {
                self.stats.duplicates += 1;
                return;
            }
            Inserted::Late => {
                self.stats.late += 1;
                return;
            }
            Inserted::Ahead => {
                self.stats.overflow += 1;
                return;
            }
        }
        if begins_key {
            self.skip_to(at);
        }
    }

    fn no_room(&self, at: i64, bytes: usize) -> bool {
        at - self.queue.base() >= self.settings.max_packets.max(1) as i64
            || self.queue.bytes().saturating_add(bytes) > self.settings.max_bytes
    }

    /// Only a keyframe helps and here one begins: what lies before it is of no use, and not waited for.
    fn skip_to(&mut self, at: i64) {
        let timestamp = |slot: Option<&Slot>| match slot {
            Some(Slot::Filled(packet)) => Some(packet.timestamp),
            Some(Slot::Missing { .. }) | None => None,
        };
        let before = timestamp(self.queue.get(at - 1));
        if before.is_some() && before == timestamp(self.queue.get(at)) {
            // In the middle of a picture: H.264 may repeat its parameter sets there.
            return;
        }
        if at == self.queue.base() {
            return;
        }
        while self.queue.base() < at {
            match self.queue.pop() {
                Some(Slot::Missing { .. }) => self.stats.lost += 1,
                Some(Slot::Filled(packet)) => self.count_dropped(&packet),
                None => break,
            }
        }
        self.gap = true;
        self.discarding = None;
        self.settling_until_ns = None;
        self.rescan();
    }

    /// Makes room at the cost of the picture at the head.
    fn drop_first(&mut self) {
        match self.queue.pop() {
            Some(Slot::Filled(_)) => self.stats.overflow += 1,
            Some(Slot::Missing { .. }) => self.stats.lost += 1,
            None => {}
        }
        self.settling_until_ns = None;
        self.gap = true;
        self.rescan();
        self.lose(true);
    }

    fn rescan(&mut self) {
        self.scan = Scan { next: self.queue.base(), bytes: 0 };
    }

    fn lose(&mut self, ask: bool) {
        self.need_key = true;
        self.discontinuity = true;
        self.ask |= ask;
    }

    fn count_dropped(&mut self, packet: &Packet) {
        if packet.payload.is_empty() {
            self.stats.padding += 1;
        } else {
            self.stats.undecodable += 1;
        }
    }

    fn step(&mut self, now_ns: u64) -> Step {
        match self.queue.front() {
            None => Step::Idle,
            Some(Slot::Missing { since_ns }) => {
                if now_ns < since_ns.saturating_add(self.wait_ns) {
                    return Step::Idle;
                }
                self.give_up();
                Step::Again
            }
            Some(Slot::Filled(first)) => {
                let (timestamp, marker) = (first.timestamp, first.marker);
                if first.payload.is_empty() {
                    self.stats.padding += 1;
                    self.queue.pop();
                    self.rescan();
                    return Step::Again;
                }
                if self.discarding == Some(timestamp) {
                    if marker {
                        self.discarding = None;
                        self.gap = false;
                    }
                    self.drop_head();
                    return Step::Again;
                }
                self.discarding = None;
                let hint = self.assembler.hint(&first.payload);
                self.head(now_ns, hint, timestamp, marker)
            }
        }
    }

    /// A packet that may begin a picture is at the head.
    fn head(&mut self, now_ns: u64, hint: Hint, timestamp: u32, marker: bool) -> Step {
        if let Some(until) = self.settling_until_ns {
            if hint != Hint::Key && now_ns < until {
                return Step::Idle;
            }
            self.settling_until_ns = None;
        }
        let useless = match hint {
            Hint::Malformed => {
                self.stats.malformed += 1;
                self.lose(true);
                true
            }
            Hint::Inner if self.gap => {
                self.lose(true);
                true
            }
            Hint::Delta if self.need_key => {
                self.ask = true;
                true
            }
            Hint::Key | Hint::Delta | Hint::Unclear | Hint::Inner => false,
        };
        if useless {
            self.discarding = (!marker).then_some(timestamp);
            self.drop_head();
            // What follows the dropped picture follows no hole.
            self.gap = self.gap && !marker;
            return Step::Again;
        }
        self.look(now_ns, timestamp)
    }

    fn drop_head(&mut self) {
        if let Some(Slot::Filled(packet)) = self.queue.pop() {
            self.count_dropped(&packet);
        }
        self.rescan();
    }

    /// Looks for the end of the picture at the head.
    fn look(&mut self, now_ns: u64, timestamp: u32) -> Step {
        let end = loop {
            match self.queue.get(self.scan.next) {
                None => {
                    if self.queue.len() >= self.settings.max_packets {
                        return self.too_large(timestamp);
                    }
                    return Step::Idle;
                }
                Some(Slot::Missing { since_ns }) => {
                    if now_ns < since_ns.saturating_add(self.wait_ns) {
                        return Step::Idle;
                    }
                    self.abandon();
                    return Step::Again;
                }
                Some(Slot::Filled(packet)) if packet.payload.is_empty() => self.scan.next += 1,
                Some(Slot::Filled(packet)) if packet.timestamp != timestamp => {
                    break self.scan.next;
                }
                Some(Slot::Filled(packet)) => {
                    self.scan.bytes += packet.payload.len();
                    self.scan.next += 1;
                    let marker = packet.marker;
                    if self.scan.bytes > self.settings.max_access_unit {
                        return self.too_large(timestamp);
                    }
                    if marker {
                        break self.scan.next;
                    }
                }
            }
        };
        self.finish(end)
    }

    /// The hole at the head is given up.
    fn give_up(&mut self) {
        while matches!(self.queue.front(), Some(Slot::Missing { .. })) {
            self.queue.pop();
            self.stats.lost += 1;
        }
        self.settling_until_ns = None;
        self.rescan();
        self.gap = true;
        let Some(first) = self.queue.first_filled() else { return };
        // Consecutive numbers: what was lost was no picture, but padding.
        let follows = match (self.assembler.picture_id(&first.payload), self.last_id) {
            (Some(id), Some(before)) => !self.need_key && id.follows(before),
            _ => false,
        };
        let key = self.assembler.hint(&first.payload) == Hint::Key;
        if follows {
            self.gap = false;
        } else {
            self.lose(!key);
        }
    }

    /// The picture at the head has a hole that is given up.
    fn abandon(&mut self) {
        // If nothing needs the picture, the next number after its own still follows.
        self.last_id = match (self.queue.front(), self.last_id) {
            (Some(Slot::Filled(first)), Some(before))
                if self.assembler.disposable(&first.payload) =>
            {
                self.assembler.picture_id(&first.payload).filter(|id| id.follows(before))
            }
            _ => None,
        };
        while self.queue.base() < self.scan.next {
            if let Some(Slot::Filled(packet)) = self.queue.pop() {
                self.count_dropped(&packet);
            }
        }
        self.discontinuity = true;
        self.give_up();
    }

    fn too_large(&mut self, timestamp: u32) -> Step {
        self.stats.too_large += 1;
        while self.queue.base() < self.scan.next {
            self.queue.pop();
        }
        self.discarding = Some(timestamp);
        self.last_id = None;
        self.rescan();
        self.lose(true);
        Step::Again
    }

    /// The picture at the head is whole.
    fn finish(&mut self, end: i64) -> Step {
        let mut picture = std::mem::take(&mut self.picture);
        picture.clear();
        while self.queue.base() < end {
            match self.queue.pop() {
                Some(Slot::Filled(packet)) if packet.payload.is_empty() => self.stats.padding += 1,
                Some(Slot::Filled(packet)) => picture.push(packet),
                Some(Slot::Missing { .. }) | None => {}
            }
        }
        self.rescan();
        let mut segments = std::mem::take(&mut self.spare);
        let made = self.assembler.assemble(&picture, self.gap, &mut segments);
        let unit = self.judge(made, &picture, segments);
        picture.clear();
        self.picture = picture;
        self.gap = false;
        unit.map_or(Step::Again, Step::Unit)
    }

    fn judge(
        &mut self,
        made: Result<Option<super::Picture>, Fault>,
        packets: &[Packet],
        mut segments: Vec<Bytes>,
    ) -> Option<AccessUnit> {
        let first = packets.first()?;
        let len = segments.iter().map(Bytes::len).sum();
        let refused = match made {
            Ok(Some(picture)) if picture.keyframe || !self.need_key => {
                if len <= self.settings.max_access_unit {
                    self.last_id = picture.id;
                    self.stats.units += 1;
                    if picture.keyframe {
                        self.stats.keyframes += 1;
                        self.need_key = false;
                        self.ask = false;
                    }
                    let arrivals = packets.iter().map(|packet| packet.arrival_ns);
                    return Some(AccessUnit {
                        rtp_time: first.timestamp,
                        keyframe: picture.keyframe,
                        discontinuity: std::mem::take(&mut self.discontinuity),
                        first_arrival_ns: arrivals.min().unwrap_or(first.arrival_ns),
                        size: picture.size,
                        segments,
                        len,
                    });
                }
                self.stats.too_large += 1;
                true
            }
            Ok(Some(_)) | Err(Fault::NoParameters) => {
                self.stats.undecodable += packets.len() as u64;
                true
            }
            Ok(None) => false,
            Err(Fault::Malformed) => {
                self.stats.malformed += 1;
                true
            }
            Err(Fault::TooLarge) => {
                self.stats.too_large += 1;
                true
            }
        };
        if refused {
            self.last_id = None;
            self.lose(true);
        }
        segments.clear();
        self.spare = segments;
        None
    }
}
