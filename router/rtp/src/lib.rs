//! RTP into access units and back: reorder, assemble, packetize, pace; pure, told the time.
//!
//! The way in: [`Packet`] → [`video::Ingest`] or [`audio::Ingest`] → access units and sound packets, with
//! [`clock::MediaClock`] giving each its time on the router's line. The way out: access unit →
//! [`packetize::Packetizer`] → [`egress::Stream`] (sequence numbers and timestamps of one viewer) →
//! [`pace::Pacer`] (video only) → the wire, at the rate that [`rate::Estimator`] allows.
//!
//! Every type here is a state machine that is handed packets and the time in nanoseconds of one monotonic clock, and
//! is then polled: `poll(now)` until it returns `None`, `wake_at()` for when to poll again. Nothing here
//! reads a clock, opens a socket, spawns or draws random numbers. All that arrives is hostile: nothing panics, and
//! every buffer has a bound that is stated where it is.
#![forbid(unsafe_code)]

use bytes::Bytes;

pub mod audio;
pub mod clock;
pub mod egress;
pub mod pace;
pub mod packetize;
pub mod rate;
pub mod video;

mod admit;
mod queue;
mod wrap;

/// One RTP packet as it came from the network, decrypted, without extensions and padding, retransmissions unwrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The stream that it belongs to.
    pub ssrc: u32,
    /// As negotiated.
    pub payload_type: u8,
    /// Counts the stream's packets, modulo 2^16.
    pub sequence: u16,
    /// When its content was taken, in ticks of the codec's clock, modulo 2^32.
    pub timestamp: u32,
    /// Video: the last packet of its picture. Audio: the first one after silence.
    pub marker: bool,
    /// The codec's payload; empty for one that held padding only.
    pub payload: Bytes,
    /// When it arrived, in nanoseconds of `CLOCK_MONOTONIC`.
    pub arrival_ns: u64,
}

/// A millisecond, in the unit of every time here.
pub(crate) const MS: u64 = 1_000_000;
