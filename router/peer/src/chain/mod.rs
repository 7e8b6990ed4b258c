//! The interceptors between the stack's SRTP and its endpoint, from the wire to us:
//!
//! | slot | what |
//! |---|---|
//! | 500 | [`feedback`]: reads RTCP as it arrives |
//! | 1000 | the stack's send history, joined with the peer's transport-wide feedback (when asked for) |
//! | 2000 | the stack's transport-wide numbering |
//! | 3500 | [`budget`]: bounds what retransmissions may cost |
//! | 4000 | the stack's answers to NACK |
//! | 6200 | the stack's receiver reports: below the next, so that they tell the loss of the path, not of what is left of it |
//! | 6500 | [`rtx`]: unwraps retransmissions, below those who count what is missing |
//! | 7000 | the stack's NACK |
//! | 8000 | the stack's transport-wide feedback |
//! | 11000 | [`reports`]: sender reports |
//! | 14000 | [`exit`]: takes the packets out to the owner |

mod budget;
mod exit;
mod feedback;
mod reports;
mod rtx;

use crate::clock::Clock;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::outbox::Outbox;
use rtc::interceptor::{
    BandwidthEstimator, CongestionControlBuilder, NackGeneratorBuilder, NackResponderBuilder,
    PacketReport, ReceiverReportBuilder, Registry, Slot,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use webrtc::error::Result;
use webrtc::peer_connection::{
    MediaEngine, configure_simulcast_extension_headers, configure_twcc,
    configure_twcc_receiver_only,
};

/// How often a missing packet is asked for, and how many times: the stack's own default is every 100 ms for ever.
const NACK_EVERY: Duration = Duration::from_millis(20);
const MAX_NACKS: u16 = 10;
/// Packets that are kept for retransmission: a second of 8 Mb/s.
const SEND_HISTORY: u16 = 1024;

/// Counts of what the chain did; for statistics and tests.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) packets_in: AtomicU64,
    pub(crate) unwrapped: AtomicU64,
    pub(crate) packets_out: AtomicU64,
    pub(crate) retransmitted: AtomicU64,
    pub(crate) retransmissions_refused: AtomicU64,
    pub(crate) nacks_in: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the interceptors of one connection share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) round_trip: Arc<RoundTrip>,
}

/// The newest round trip by RTCP, in µs; 0 = none.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip(AtomicU64);

impl RoundTrip {
    pub(crate) fn set(&self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros.max(1), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|m| *m > 0).map(Duration::from_micros)
    }
}

/// All of them; registers the header extensions that they need.
pub(crate) fn build(shared: &Shared, fates: bool, engine: &mut MediaEngine) -> Result<Registry> {
    configure_simulcast_extension_headers(engine)?;
    let mut chain = Registry::new();
    if fates {
        let fates = Fates { clock: shared.clock, outbox: Arc::clone(&shared.outbox) };
        chain = configure_twcc(chain, engine)?
            .with(Slot::CongestionControl, CongestionControlBuilder::new(fates).build());
    } else {
        chain = configure_twcc_receiver_only(chain, engine)?;
    }
    let nack =
        NackGeneratorBuilder::new().with_interval(NACK_EVERY).with_max_nacks_per_packet(MAX_NACKS);
    Ok(chain
        .with(Slot::from(500), feedback::Feedback::new(shared.clone()))
        .with(
            Slot::from(3_500),
            budget::Budget::new(Arc::clone(&shared.counters), Arc::clone(&shared.round_trip)),
        )
        .with(Slot::NackResponder, NackResponderBuilder::new().with_size(SEND_HISTORY).build())
        .with(Slot::from(6_200), ReceiverReportBuilder::new().build())
        .with(Slot::from(6_500), rtx::Unwrap::new(Arc::clone(&shared.counters)))
        .with(Slot::NackGenerator, nack.build())
        .with(Slot::SenderReport, reports::SenderReports::new(shared.clone()))
        .with(Slot::from(14_000), exit::Exit::new(shared.clone())))
}

/// Stands where a congestion controller goes, and only hands the reports out: the stack's own is unsound.
struct Fates {
    clock: Clock,
    outbox: Arc<Outbox>,
}

impl BandwidthEstimator for Fates {
    fn on_reports(&mut self, _now: Instant, reports: &[PacketReport]) {
        if reports.is_empty() {
            return;
        }
        self.outbox.fates(reports.iter().map(|report| {
            crate::event::PacketFate {
                ssrc: report.ssrc,
                sequence: report.rtp_sequence_number,
                size: report.size,
                departure_ns: self.clock.monotonic_ns(report.departure),
                arrival_ns: report
                    .arrival
                    .filter(|_| report.arrived)
                    .map(|at| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)),
            }
        }));
    }

    fn target_bitrate(&self) -> f64 {
        0.0 // read by nobody: there is no pacer in the chain
    }
}

/// The parts of an interceptor that pass what they do not touch.
macro_rules! passes {
    () => {
        type Rout = rtc::interceptor::TaggedPacket;
        type Wout = rtc::interceptor::TaggedPacket;
        type Eout = ();
        type Error = webrtc::error::Error;
        type Time = std::time::Instant;

        fn poll_read(&mut self) -> Option<Self::Rout> {
            self.reads.pop_front()
        }

        fn poll_write(&mut self) -> Option<Self::Wout> {
            self.writes.pop_front()
        }
    };
}
use passes;
