//! A reading end of a channel: takes frames in order, and counts why others were not used.

use crate::frame::Taken;
use crate::header::Header;
use crate::namespace::config::check_channel;
use crate::{Attachment, Fault, Frame, Service, monotonic_ns};
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::sample::Sample;
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::ChannelSpec;
use remotemedia_shm_schema::{Flags, Meta, WhenFull};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Frames that one call looks at: a producer that writes nothing but rubbish must not keep its reader for ever.
const MAX_LOOKED_AT: usize = 64;

/// What a reader did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InletCounters {
    /// Frames given to the caller.
    pub received: u64,
    /// Of these, keyframes.
    pub keyframes: u64,
    /// Frames not given, by [`DropReason::index`].
    pub dropped: [u64; DropReason::ALL.len()],
}

/// A channel's reading end.
#[derive(Debug)]
pub struct Inlet {
    subscriber: Subscriber<Service, [u8], Header>,
    spec: ChannelSpec,
    order: Order,
    counters: InletCounters,
    damaged: bool,
}

impl Inlet {
    pub(crate) fn open(attachment: &Attachment, spec: &ChannelSpec) -> Result<Self, Fault> {
        let service = attachment
            .named(&spec.service)?
            .publish_subscribe::<[u8]>()
            .user_header::<Header>()
            .open()
            .map_err(|e| Fault::port("open the channel", &spec.service, e))?;
        let subscriber = service
            .subscriber_builder()
            .buffer_size(spec.contract.capacity as usize)
            .create()
            .map_err(|e| Fault::port("read from", &spec.service, e))?;
        Ok(Self {
            subscriber,
            order: Order::new(spec.contract.when_full),
            spec: spec.clone(),
            counters: InletCounters::default(),
            damaged: false,
        })
    }

    /// Takes a new description of the same service: another epoch or generation. What is missing in between is not
    /// known; where the contract is `until_keyframe`, a keyframe comes first.
    ///
    /// # Errors
    /// When it is another service; the old description stays then.
    pub fn respec(&mut self, spec: &ChannelSpec) -> Result<(), Fault> {
        check_channel(spec)?;
        if spec.service != self.spec.service {
            let rule = format!("this port is open for {}", self.spec.service);
            return Err(Fault::invalid("service name", &spec.service, rule));
        }
        if (spec.epoch, spec.generation) != (self.spec.epoch, self.spec.generation) {
            self.order = Order::new(spec.contract.when_full);
        }
        self.spec = spec.clone();
        Ok(())
    }

    /// The channel.
    #[must_use]
    pub fn spec(&self) -> &ChannelSpec {
        &self.spec
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> InletCounters {
        self.counters
    }

    /// Whether frames are dropped until a keyframe comes, and one is to be asked for. Stays so until it comes.
    #[must_use]
    pub fn keyframe_wanted(&self) -> bool {
        self.order.wanted
    }

    /// Why the port cannot be read any more, when it cannot.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.damaged.then(|| Fault::Damaged(self.spec.name.to_string()))
    }

    /// The next frame that can be used; skips and counts those that are stale, malformed, too old, or wait for a
    /// keyframe. `None` when there is none now; the next wake-up tells of more.
    pub fn receive(&mut self) -> Option<Frame> {
        for _ in 0..MAX_LOOKED_AT {
            let sample = self.take()?;
            let Some(taken) = Taken::new(sample, self.spec.max_payload as usize) else {
                self.drop_frame(DropReason::Malformed);
                self.order.lost_something();
                continue;
            };
            if let Some(frame) = self.judge(taken) {
                return Some(frame);
            }
        }
        None
    }

    fn judge(&mut self, taken: Taken) -> Option<Frame> {
        let meta = match taken.header.check(taken.has()) {
            Ok(meta) => meta,
            Err(fault) => {
                tracing::trace!(%fault, channel = %self.spec.name, "a malformed frame");
                self.order.malformed(taken.header.sequence);
                self.drop_frame(DropReason::Malformed);
                return None;
            }
        };
        if (meta.epoch, meta.generation) != (self.spec.epoch, self.spec.generation) {
            self.drop_frame(DropReason::Stale);
            return None;
        }
        let Some(overflowed) = self.order.seen(&meta) else {
            self.drop_frame(DropReason::Malformed);
            return None;
        };
        self.count(DropReason::Overflow, overflowed);
        if self.too_old(&meta) {
            self.order.lost_something();
            self.drop_frame(DropReason::TooOld);
            return None;
        }
        match self.order.give(&meta) {
            Some(missed) => {
                self.counters.received += 1;
                self.counters.keyframes += u64::from(meta.flags.contains(Flags::KEYFRAME));
                Some(taken.into_frame(meta, missed))
            }
            None => {
                self.drop_frame(DropReason::AwaitingKeyframe);
                None
            }
        }
    }

    fn too_old(&self, meta: &Meta) -> bool {
        let limit = u64::from(self.spec.contract.max_age_ms) * 1_000_000;
        limit != 0 && monotonic_ns().saturating_sub(meta.media_time_ns) > limit
    }

    /// Calls iceoryx2 so that a panic over damaged shared memory ends this port, not the process.
    fn take(&mut self) -> Option<Sample<Service, [u8], Header>> {
        if self.damaged {
            return None;
        }
        // Unwind safety: after a panic the subscriber is never called again.
        match catch_unwind(AssertUnwindSafe(|| self.subscriber.receive())) {
            Ok(Ok(sample)) => sample,
            Ok(Err(error)) => {
                // The caller holds as many frames as it may, or a producer is half gone; the next call tries again.
                tracing::trace!(?error, channel = %self.spec.name, "nothing could be received");
                None
            }
            Err(_) => {
                self.damaged = true;
                self.drop_frame(DropReason::Malformed);
                None
            }
        }
    }

    fn drop_frame(&mut self, reason: DropReason) {
        self.count(reason, 1);
    }

    fn count(&mut self, reason: DropReason, frames: u64) {
        if let Some(counter) = self.counters.dropped.get_mut(reason.index()) {
            *counter = counter.saturating_add(frames);
        }
    }
}

/// The order of one producer's frames, as one reader sees it; pure.
#[derive(Debug)]
struct Order {
    until_keyframe: bool,
    /// Highest sequence that came, used or not.
    seen: Option<u64>,
    /// Sequence of the frame that was given last.
    given: Option<u64>,
    /// A gap before this, or nothing given yet: only a keyframe can follow.
    broken: bool,
    /// A frame was dropped for that.
    wanted: bool,
}

impl Order {
    fn new(when_full: WhenFull) -> Self {
        let until_keyframe = when_full == WhenFull::UntilKeyframe;
        Self { until_keyframe, seen: None, given: None, broken: until_keyframe, wanted: false }
    }

    /// A frame came; gives how many before it never did, or `None` when it stands behind one that came later.
    fn seen(&mut self, meta: &Meta) -> Option<u64> {
        let overflowed = match self.seen {
            // What was published before this reader came was not for it.
            None => 0,
            Some(seen) if meta.sequence > seen => meta.sequence - seen - 1,
            Some(_) => return None,
        };
        self.seen = Some(meta.sequence);
        if overflowed > 0 {
            self.lost_something();
        }
        Some(overflowed)
    }

    /// A frame came whose header is not to be believed, except that it is not missing when it says the expected.
    fn malformed(&mut self, sequence: u64) {
        if let Some(seen) = &mut self.seen
            && seen.checked_add(1) == Some(sequence)
        {
            *seen = sequence;
        }
        self.lost_something();
    }

    fn lost_something(&mut self) {
        self.broken |= self.until_keyframe;
    }

    /// Whether the frame can be given, and how many are missing before it.
    fn give(&mut self, meta: &Meta) -> Option<u64> {
        if self.broken {
            if !meta.flags.contains(Flags::KEYFRAME) {
                self.wanted = true;
                return None;
            }
            self.broken = false;
            self.wanted = false;
        }
        let after = |given| meta.sequence.saturating_sub(given).saturating_sub(1);
        let missed = self.given.map_or(0, after);
        self.given = Some(meta.sequence);
        Some(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remotemedia_shm_schema::{Codec, Content};

    fn unit(sequence: u64, keyframe: bool) -> Meta {
        let mut meta = Meta::new(Content::Coded(Codec::Vp8));
        meta.sequence = sequence;
        if keyframe {
            meta.flags = Flags::KEYFRAME;
        }
        meta
    }

    fn took(order: &mut Order, meta: &Meta) -> Option<u64> {
        order.seen(meta).and_then(|_| order.give(meta))
    }

    #[test]
    fn what_was_published_before_the_reader_came_is_not_missing() {
        let mut order = Order::new(WhenFull::NewestWins);
        assert_eq!(took(&mut order, &unit(1000, false)), Some(0));
        assert_eq!(took(&mut order, &unit(1003, false)), Some(2));
    }

    #[test]
    fn a_frame_from_behind_is_not_given_twice() {
        let mut order = Order::new(WhenFull::OldestConcealed);
        assert_eq!(took(&mut order, &unit(5, false)), Some(0));
        assert_eq!(order.seen(&unit(5, false)), None);
        assert_eq!(order.seen(&unit(4, false)), None);
    }

    #[test]
    fn a_reader_of_coded_video_begins_with_a_keyframe() {
        let mut order = Order::new(WhenFull::UntilKeyframe);
        assert!(!order.wanted, "nothing came yet, nothing is asked for");
        assert_eq!(took(&mut order, &unit(0, false)), None);
        assert!(order.wanted);
        assert_eq!(took(&mut order, &unit(1, true)), Some(0));
        assert!(!order.wanted);
        assert_eq!(took(&mut order, &unit(2, false)), Some(0));
    }

    #[test]
    fn a_malformed_frame_is_missing_but_did_not_overflow() {
        let mut order = Order::new(WhenFull::OldestConcealed);
        assert_eq!(took(&mut order, &unit(0, false)), Some(0));
        order.malformed(1);
        assert_eq!(order.seen(&unit(2, false)), Some(0), "nothing overflowed");
        assert_eq!(order.give(&unit(2, false)), Some(1), "one is missing");
    }

    #[test]
    fn the_greatest_sequence_numbers_are_numbers_like_others() {
        let mut order = Order::new(WhenFull::NewestWins);
        assert_eq!(took(&mut order, &unit(0, false)), Some(0));
        assert_eq!(took(&mut order, &unit(u64::MAX, false)), Some(u64::MAX - 1));
        order.malformed(u64::MAX);
        order.malformed(0);
        assert_eq!(order.seen(&unit(u64::MAX, false)), None);
    }

    proptest! {
        /// Whatever is lost on the way: frames given and frames missing add up to frames sent, and behind a gap in coded
        /// video the first one given is a keyframe.
        #[test]
        fn nothing_is_given_out_of_turn_or_goes_uncounted(
            sent in prop::collection::vec((any::<bool>(), 0u8..4), 1..200),
            until_keyframe in any::<bool>(),
        ) {
            let when = if until_keyframe { WhenFull::UntilKeyframe } else { WhenFull::NewestWins };
            let mut order = Order::new(when);
            let (mut accounted, mut first, mut overflowed, mut never_came) = (0, None, 0, 0);
            let mut last_seen = None;
            for (sequence, (keyframe, fate)) in sent.iter().enumerate() {
                let meta = unit(sequence as u64, *keyframe);
                if *fate == 0 {
                    never_came += u64::from(last_seen.is_some());
                    continue;
                }
                overflowed += order.seen(&meta).expect("they come in order");
                if overflowed == never_came { last_seen = Some(sequence); }
                prop_assert_eq!(overflowed, never_came);
                if let Some(missed) = order.give(&meta) {
                    if first.is_none() {
                        first = Some(sequence);
                        prop_assert_eq!(missed, 0);
                    }
                    prop_assert!(!until_keyframe || *keyframe || missed == 0, "a gap without a keyframe");
                    accounted += missed + 1;
                    let begin = first.expect("just set");
                    prop_assert_eq!(accounted as usize, sequence + 1 - begin);
                } else {
                    prop_assert!(until_keyframe && !keyframe && order.wanted);
                }
            }
        }
    }
}
