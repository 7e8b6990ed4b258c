#![allow(unsafe_code, reason = "loaned shared memory is handed out as initialized bytes")]
//! The producing end of a channel: loan, fill in place, publish, ring.

use crate::header::Header;
use crate::namespace::config::{LOANED, check_channel};
use crate::{Attachment, Fault, PictureMut, SendFault, Service};
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::{BackpressureAction, LoanError};
use iceoryx2::prelude::{AllocationStrategy, BackpressureStrategy, EventId};
use iceoryx2::sample_mut::SampleMut;
use remotemedia_shm_schema::control::ChannelSpec;
use remotemedia_shm_schema::{HeaderFault, Meta, VideoGeometry, WhenFull};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How long a producer of a `lossless` channel waits for its readers (chosen; files only).
const LOSSLESS_DEADLINE: Duration = Duration::from_secs(1);

/// What a producer did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutletCounters {
    /// Frames published, with or without readers.
    pub published: u64,
    /// Of these, frames that nobody was there to take.
    pub no_consumer: u64,
    /// Frames that were larger than the channel takes.
    pub too_large: u64,
    /// Frames that could not be loaned, described or delivered.
    pub failed: u64,
}

/// A channel's producing end.
#[derive(Debug)]
pub struct Outlet {
    publisher: Publisher<Service, [u8], Header>,
    bells: Vec<(String, Notifier<Service>)>,
    spec: ChannelSpec,
    sequence: u64,
    counters: OutletCounters,
    damaged: bool,
}

/// Memory of a channel, to be filled and published; dropped, it is given back.
#[derive(Debug)]
pub struct Loan<'a> {
    outlet: &'a mut Outlet,
    sample: SampleMut<Service, [u8], Header>,
}

impl Outlet {
    pub(crate) fn open(attachment: &Attachment, spec: &ChannelSpec) -> Result<Self, Fault> {
        let service = attachment
            .named(&spec.service)?
            .publish_subscribe::<[u8]>()
            .user_header::<Header>()
            .open()
            .map_err(|e| Fault::port("open the channel", &spec.service, e))?;
        let mut builder = service
            .publisher_builder()
            .initial_max_slice_len(spec.max_payload as usize)
            .max_loaned_samples(LOANED)
            // One segment at the greatest size: growing would open new objects later, untouched pages cost nothing.
            .allocation_strategy(AllocationStrategy::Static)
            // The default waits for a stalled reader without limit.
            .backpressure_strategy(BackpressureStrategy::DiscardData);
        if spec.contract.when_full == WhenFull::Lossless {
            builder = builder.set_backpressure_handler(|info| {
                if info.elapsed_time < LOSSLESS_DEADLINE {
                    BackpressureAction::Retry
                } else {
                    BackpressureAction::DiscardDataAndFail
                }
            });
        }
        let publisher =
            builder.create().map_err(|e| Fault::port("produce into", &spec.service, e))?;
        let mut outlet = Self {
            publisher,
            bells: Vec::new(),
            spec: spec.clone(),
            sequence: 0,
            counters: OutletCounters::default(),
            damaged: false,
        };
        outlet.ring(attachment, &spec.wakes)?;
        Ok(outlet)
    }

    /// Takes a new description of the same service: other wake-ups, epoch or generation. The sequence goes on.
    ///
    /// # Errors
    /// When it is another service, or a wake-up is not there; the old description stays then.
    pub fn respec(&mut self, attachment: &Attachment, spec: &ChannelSpec) -> Result<(), Fault> {
        check_channel(spec)?;
        if spec.service != self.spec.service || spec.max_payload != self.spec.max_payload {
            let rule = format!("this port is open for {}", self.spec.service);
            return Err(Fault::invalid("service name", &spec.service, rule));
        }
        self.ring(attachment, &spec.wakes)?;
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
    pub fn counters(&self) -> OutletCounters {
        self.counters
    }

    /// Memory for a frame of `len` bytes, aligned to 64; its content is whatever was there before.
    ///
    /// # Errors
    /// When it is larger than the channel takes (counted), or no memory is free.
    pub fn loan(&mut self, len: usize) -> Result<Loan<'_>, SendFault> {
        let max = self.spec.max_payload as usize;
        if len > max {
            self.counters.too_large += 1;
            return Err(SendFault::TooLarge { len, max, channel: self.spec.name.to_string() });
        }
        let loaned = self.guarded(|publisher| publisher.loan_slice_uninit(len))?;
        match loaned {
            Ok(sample) => {
                // SAFETY: the bytes lie in a shared-memory object, which the kernel filled with zeros and producers with
                // frames; every byte is initialized, and `u8` has no invalid value.
                let sample = unsafe { sample.assume_init() };
                Ok(Loan { outlet: self, sample })
            }
            Err(reason) => Err(self.exhausted(reason)),
        }
    }

    /// A loan of the channel's greatest size, for encoders that do not know the size before; see
    /// [`Loan::publish_len`].
    ///
    /// # Errors
    /// As [`Outlet::loan`].
    pub fn loan_max(&mut self) -> Result<Loan<'_>, SendFault> {
        self.loan(self.spec.max_payload as usize)
    }

    /// Publishes a frame without payload: `lost`, `silence` or `end`, as its flags say.
    ///
    /// # Errors
    /// As [`Loan::publish`].
    pub fn publish_empty(&mut self, meta: Meta) -> Result<(), SendFault> {
        self.loan(0)?.publish(meta)
    }

    /// Opens the notifiers that are named and not yet open, and drops the others.
    fn ring(&mut self, attachment: &Attachment, wakes: &[String]) -> Result<(), Fault> {
        let mut fresh = Vec::new();
        for wake in wakes {
            if self.bells.iter().any(|(name, _)| name == wake) {
                continue;
            }
            let event = attachment
                .named(wake)?
                .event()
                .open()
                .map_err(|e| Fault::port("open the wake-up", wake, e))?;
            let notifier = event
                .notifier_builder()
                .create()
                .map_err(|e| Fault::port("ring the wake-up", wake, e))?;
            fresh.push((wake.clone(), notifier));
        }
        self.bells.retain(|(name, _)| wakes.contains(name));
        self.bells.append(&mut fresh);
        Ok(())
    }

    /// Calls iceoryx2 so that a panic over damaged shared memory ends this port, not the process.
    fn guarded<T>(
        &mut self,
        call: impl FnOnce(&Publisher<Service, [u8], Header>) -> T,
    ) -> Result<T, SendFault> {
        if !self.damaged {
            // Unwind safety: after a panic the publisher is never called again.
            match catch_unwind(AssertUnwindSafe(|| call(&self.publisher))) {
                Ok(result) => return Ok(result),
                Err(_) => self.damaged = true,
            }
        }
        self.counters.failed += 1;
        Err(SendFault::Damaged(self.spec.name.to_string()))
    }

    fn exhausted(&mut self, reason: LoanError) -> SendFault {
        self.counters.failed += 1;
        let channel = self.spec.name.to_string();
        SendFault::Exhausted { channel, reason: format!("{reason:?}") }
    }
}

impl Loan<'_> {
    /// Its bytes.
    #[must_use]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.sample.payload_mut()
    }

    /// Its bytes as samples; a rest of less than one sample is left out.
    #[must_use]
    pub fn samples_mut(&mut self) -> &mut [f32] {
        let bytes = self.sample.payload_mut();
        let whole = bytes.len() - bytes.len() % size_of::<f32>();
        // Aligned to 64 by the service; both fallbacks would be an empty slice, not a panic.
        bytes
            .get_mut(..whole)
            .and_then(|b| bytemuck::try_cast_slice_mut(b).ok())
            .unwrap_or_default()
    }

    /// Its bytes as a picture of this geometry; `None` when the geometry does not fit into the loan.
    #[must_use]
    pub fn picture_mut(&mut self, geometry: VideoGeometry) -> Option<PictureMut<'_>> {
        PictureMut::over(self.sample.payload_mut(), geometry)
    }

    /// Publishes the whole loan and rings the channel's readers. Sequence, epoch and generation are set here.
    ///
    /// # Errors
    /// When `meta` contradicts the payload, or the frame could not be delivered.
    pub fn publish(self, meta: Meta) -> Result<(), SendFault> {
        let len = self.sample.payload().len();
        self.publish_len(meta, len)
    }

    /// As [`Loan::publish`], with only the first `len` bytes: what follows is not part of the frame.
    ///
    /// iceoryx2 cannot shrink a loan. The sample keeps its size, the header's `payload_len` tells the true one, and
    /// readers see that many bytes: an encoder writes straight into shared memory, without a copy.
    ///
    /// # Errors
    /// As [`Loan::publish`], and when the loan is shorter than `len`.
    pub fn publish_len(mut self, meta: Meta, len: usize) -> Result<(), SendFault> {
        let outlet = self.outlet;
        let has = self.sample.payload().len();
        let mut meta = meta;
        meta.sequence = outlet.sequence;
        meta.epoch = outlet.spec.epoch;
        meta.generation = outlet.spec.generation;
        // The schema's check would find these two; said here, the producer learns of its own mistake.
        let described = match u32::try_from(len) {
            Ok(wire_len) => {
                let header = meta.to_wire(wire_len);
                header.check(has).map(|_| header)
            }
            Err(_) => Err(HeaderFault::Length { said: len as u64, has: has as u64 }),
        };
        let header = described.inspect_err(|_| outlet.counters.failed += 1)?;
        *self.sample.user_header_mut() = header.into();
        // Counted also when it fails: the gap tells the readers that one is missing.
        outlet.sequence += 1;
        let sample = self.sample;
        match outlet.guarded(move |_| sample.send())? {
            Ok(readers) => {
                outlet.counters.published += 1;
                if readers == 0 {
                    outlet.counters.no_consumer += 1;
                }
            }
            Err(reason) => {
                outlet.counters.failed += 1;
                let channel = outlet.spec.name.to_string();
                return Err(SendFault::Undelivered { channel, reason: format!("{reason:?}") });
            }
        }
        let event = EventId::new(outlet.spec.index.0 as usize);
        for (_, bell) in &outlet.bells {
            // A reader that is gone cannot be rung; that is its supervisor's business.
            let _ = bell.notify_with_custom_event_id(event);
        }
        Ok(())
    }
}
