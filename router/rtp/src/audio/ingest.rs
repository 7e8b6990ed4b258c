//! The jitter buffer of one sound track: what is in order goes on at once, and no period goes without an output.
//!
//! It does not smooth the arrival: whoever plays the sound has a buffer for that. It only decides how long to wait
//! for what is missing. A hole before a packet that came waits for as long as packets were seen to overtake each
//! other; when no packet comes at all, the next period is declared lost (or silent, after a DTX packet) once it is
//! later than packets were seen to be.

use crate::{
    Packet,
    admit::{Admission, Admitted},
    audio::{Output, Settings, Stats, opus},
    clock::Line,
    queue::{Inserted, Queue, Slot},
};
use remotemedia_shm_schema::contract::MAX_AUDIO_PACKET;

/// Timestamps that differ by less, in ticks, are one behind the other: 2.5 ms, the shortest frame that there is.
const SEAM: u32 = 120;
/// Packets in a row that come too late, until the timeline is taken to have moved.
const LATE_IN_A_ROW: u32 = 5;
/// What was seen of lateness fades by this share with each packet: by half in 44 packets, about a second.
const FADE: u64 = 64;

/// The timeline of an active track.
#[derive(Debug, Clone, Copy)]
struct Active {
    /// RTP time at which the next output begins.
    next: u32,
    /// Ticks of the last packet: how the time without packets is divided.
    period: u32,
    /// The last packet said that the sender falls silent.
    silent: bool,
    /// Packets that are known to be missing before the next one.
    holes: u32,
    /// Time that was filled since the last packet, in ns.
    filled_ns: u64,
    /// When the last packet arrived.
    last_arrival_ns: u64,
}

/// The ingest of one track. Push each packet, then poll until `None`.
///
/// Memory: at most [`Settings::max_packets`] packets of 8 KiB; nothing is allocated in steady state.
#[derive(Debug)]
pub struct Ingest {
    settings: Settings,
    admission: Admission,
    queue: Queue,
    line: Line,
    active: Option<Active>,
    began: bool,
    discontinuity: bool,
    late_in_a_row: u32,
    /// How late packets were seen to be, fading.
    lateness_ns: u64,
    /// By how much packets were seen to overtake each other, fading.
    overtaking_ns: u64,
    stats: Stats,
}

impl Ingest {
    /// An ingest for Opus.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            admission: Admission::default(),
            queue: Queue::new(settings.max_packets),
            line: Line::new(opus::RATE),
            active: None,
            began: false,
            discontinuity: false,
            late_in_a_row: 0,
            lateness_ns: 0,
            overtaking_ns: 0,
            stats: Stats::default(),
            settings,
        }
    }

    /// Takes a packet.
    pub fn push(&mut self, now_ns: u64, packet: Packet) {
        self.stats.packets += 1;
        self.stats.bytes += packet.payload.len() as u64;
        match self.admission.admit(now_ns, packet) {
            Admitted::Take(at, packet) => self.take(now_ns, at, packet),
            Admitted::Restart { at, packet, held } => {
                self.restart(at - i64::from(held.is_some()));
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
            match self.queue.front() {
                None => return self.overdue(now_ns),
                Some(Slot::Missing { since_ns }) => {
                    let until = since_ns.saturating_add(self.gap_wait_ns());
                    if now_ns < until && !self.hole_is_over() {
                        return None;
                    }
                    self.queue.pop();
                    self.stats.lost += 1;
                    if let Some(active) = &mut self.active {
                        active.holes = active.holes.saturating_add(1);
                    }
                }
                Some(Slot::Filled(_)) => {
                    if let Some(output) = self.head() {
                        return Some(output);
                    }
                }
            }
        }
    }

    /// When to poll again, if no packet comes before; valid after a poll that gave `None`.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        match self.queue.front() {
            Some(Slot::Missing { since_ns }) => Some(since_ns.saturating_add(self.gap_wait_ns())),
            Some(Slot::Filled(_)) => Some(0),
            None => self.due_ns(&self.active?),
        }
    }

    /// Whether periods are being given.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.is_some()
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

    fn restart(&mut self, at: i64) {
        if std::mem::replace(&mut self.began, true) {
            self.discontinuity = true;
            self.stats.restarts += 1;
        }
        self.queue.restart(at);
        self.line.restart();
        self.active = None;
    }

    fn take(&mut self, now_ns: u64, at: i64, packet: Packet) {
        if packet.payload.len() > MAX_AUDIO_PACKET as usize {
            self.stats.malformed += 1;
            return;
        }
        while self.queue.len() > 0 && at - self.queue.base() >= self.settings.max_packets as i64 {
            match self.queue.pop() {
                Some(Slot::Filled(_)) => self.stats.overflow += 1,
                Some(Slot::Missing { .. }) | None => self.stats.lost += 1,
            }
        }
        if self.queue.len() == 0 && at - self.queue.base() >= self.settings.max_packets as i64 {
            self.queue.restart(at);
        }
        match self.queue.insert(at, packet, now_ns) {
            Inserted::Newest => self.overtaking_ns -= self.overtaking_ns / FADE,
            Inserted::Filled { since_ns } => {
                self.stats.recovered += 1;
                self.overtook(now_ns.saturating_sub(since_ns));
            }
            Inserted::Duplicate => self.stats.duplicates += 1,
            Inserted::Late => {
                self.stats.late += 1;
                // It is not known since when it was missed: wait for half as long again the next time.
                self.overtook(self.gap_wait_ns().saturating_mul(3) / 2);
            }
            Inserted::Ahead => self.stats.overflow += 1,
        }
    }

    /// Learns from a packet that lies on the timeline.
    fn learn(&mut self, timestamp: u32, arrival_ns: u64) {
        let (_, offset) = self.line.observe(timestamp, arrival_ns);
        let least = self.line.offset().unwrap_or(offset);
        let late = u64::try_from(offset.saturating_sub(least)).unwrap_or(0);
        let late = late.min(self.settings.max_lateness_ns);
        self.lateness_ns = late.max(self.lateness_ns - self.lateness_ns / FADE);
    }

    fn overtook(&mut self, by_ns: u64) {
        self.overtaking_ns = self.overtaking_ns.max(by_ns.min(self.settings.max_gap_wait_ns));
    }

    fn gap_wait_ns(&self) -> u64 {
        let wanted = self.overtaking_ns + self.overtaking_ns / 4;
        wanted.max(self.settings.min_gap_wait_ns).min(self.settings.max_gap_wait_ns)
    }

    fn tolerance_ns(&self) -> u64 {
        let wanted = self.lateness_ns + self.lateness_ns / 4 + self.settings.min_lateness_ns / 2;
        wanted.max(self.settings.min_lateness_ns).min(self.settings.max_lateness_ns)
    }

    /// When the next period is lost if no packet comes.
    fn due_ns(&self, active: &Active) -> Option<u64> {
        Some(self.line.expected_ns(active.next)?.saturating_add(self.tolerance_ns()))
    }

    /// Whether the time of the hole at the head was filled already.
    fn hole_is_over(&self) -> bool {
        match (&self.active, self.queue.first_filled()) {
            (Some(active), Some(packet)) => signed(packet.timestamp, active.next) <= 0,
            (None, _) => true,
            _ => false,
        }
    }

    /// No packet is there: the next period, if it is too late for one.
    fn overdue(&mut self, now_ns: u64) -> Option<Output> {
        let active = self.active?;
        if now_ns < self.due_ns(&active)? {
            return None;
        }
        if now_ns.saturating_sub(active.last_arrival_ns) >= self.settings.idle_after_ns {
            self.active = None;
            self.discontinuity = true;
            return None;
        }
        let lost = !active.silent && active.filled_ns < self.settings.max_lost_ns;
        self.fill(active.period, lost)
    }

    /// Gives a period without a packet.
    fn fill(&mut self, ticks: u32, lost: bool) -> Option<Output> {
        let active = self.active.as_mut()?;
        let (rtp_time, duration_ns) = (active.next, opus::ns(ticks));
        active.next = active.next.wrapping_add(ticks);
        active.filled_ns = active.filled_ns.saturating_add(duration_ns);
        Some(if lost {
            self.stats.lost_periods += 1;
            Output::Lost { rtp_time, duration_ns }
        } else {
            self.stats.silent_periods += 1;
            Output::Silence { rtp_time, duration_ns }
        })
    }

    /// A packet is at the head.
    fn head(&mut self) -> Option<Output> {
        let Some(Slot::Filled(packet)) = self.queue.front() else { return None };
        let Some(ticks) = opus::ticks(&packet.payload) else {
            if !packet.payload.is_empty() {
                self.stats.malformed += 1;
                if let Some(active) = &mut self.active {
                    active.holes = active.holes.saturating_add(1);
                }
            }
            self.queue.pop();
            return None;
        };
        let Some(active) = self.active else {
            return self.give(ticks, true);
        };
        let ahead = signed(packet.timestamp, active.next);
        let ahead_ns = opus::ns(ahead.unsigned_abs());
        if ahead.unsigned_abs() < SEAM {
            return self.give(ticks, false);
        }
        // RTP time that went ahead while the clock did not is no pause.
        let elapsed_ns = packet.arrival_ns.saturating_sub(active.last_arrival_ns);
        let credible_ns = elapsed_ns.saturating_add(self.settings.max_lateness_ns);
        let jump = ahead > 0 && ahead_ns > credible_ns;
        if jump || ahead_ns > self.settings.idle_after_ns {
            return self.begin_anew(ticks);
        }
        if ahead < 0 {
            self.late_in_a_row += 1;
            if self.late_in_a_row >= LATE_IN_A_ROW {
                return self.begin_anew(ticks);
            }
            self.stats.late += 1;
            if let Some(Slot::Filled(late)) = self.queue.pop() {
                self.learn(late.timestamp, late.arrival_ns);
                if let Some(active) = &mut self.active {
                    active.holes = 0;
                    active.last_arrival_ns = active.last_arrival_ns.max(late.arrival_ns);
                }
            }
            return None;
        }
        self.fill_before(ahead.unsigned_abs())
    }

    /// The packet at the head begins `ahead` ticks after the last period's end.
    fn fill_before(&mut self, ahead: u32) -> Option<Output> {
        let active = self.active.as_mut()?;
        let ticks = ahead.min(active.period) / SEAM * SEAM;
        let missing = active.holes.saturating_mul(active.period);
        // Silence first where the sender announced it; else the lost packets came first and the pause after them.
        let lost = active.holes > 0 && (!active.silent || ahead <= missing);
        if lost {
            active.holes -= 1;
        }
        self.fill(ticks, lost)
    }

    /// The timeline moved: the packet at the head is where it goes on.
    fn begin_anew(&mut self, ticks: u32) -> Option<Output> {
        self.stats.restarts += 1;
        self.discontinuity = true;
        self.give(ticks, true)
    }

    /// Gives the packet at the head.
    fn give(&mut self, ticks: u32, begins: bool) -> Option<Output> {
        let Some(Slot::Filled(packet)) = self.queue.pop() else { return None };
        if begins {
            // Another timeline: what was known of arrivals does not hold for it.
            self.line.restart();
        }
        self.learn(packet.timestamp, packet.arrival_ns);
        self.late_in_a_row = 0;
        self.stats.given += 1;
        self.active = Some(Active {
            next: packet.timestamp.wrapping_add(ticks),
            period: ticks,
            silent: packet.payload.len() <= opus::DTX_BYTES,
            holes: 0,
            filled_ns: 0,
            last_arrival_ns: packet.arrival_ns,
        });
        Some(Output::Packet {
            rtp_time: packet.timestamp,
            duration_ns: opus::ns(ticks),
            first_arrival_ns: packet.arrival_ns,
            discontinuity: std::mem::take(&mut self.discontinuity),
            payload: packet.payload,
        })
    }
}

/// The shorter way from `b` to `a`.
fn signed(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}
