//! A sender with made-up pictures, a network with loss, delay and doubles, and the virtual time that drives an
//! ingest through it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use bytes::Bytes;
use remotemedia_rtp::{
    Packet,
    egress::{Start, Stream},
    packetize::Packetizer,
    video::{AccessUnit, Ingest, Output},
};
use remotemedia_shm_schema::Codec;

pub const MS: u64 = 1_000_000;
pub const VIDEO: [Codec; 3] = [Codec::Vp8, Codec::Vp9, Codec::H264];

/// A sequence parameter set of 320x180 in constrained baseline, level 3.1.
pub const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0xda, 0x05, 0x06, 0x7e, 0x74];
/// A picture parameter set that names sequence parameter set 0.
pub const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];

/// A picture as an encoder would make it: a true header, then `len` bytes by which it is told from every other.
pub fn picture(codec: Codec, number: u32, keyframe: bool, len: usize) -> Vec<u8> {
    let mut unit = match (codec, keyframe) {
        (Codec::Vp8, true) => {
            vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00] // 320x180
        }
        (Codec::Vp8, false) => vec![0x11, 0, 0],
        (Codec::Vp9, true) => vec![0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30],
        (Codec::Vp9, false) => vec![0x86],
        (Codec::H264, true) => {
            [&[0, 0, 0, 1], SPS, &[0, 0, 0, 1], PPS, &[0, 0, 0, 1, 0x65, 0xb8]].concat()
        }
        (Codec::H264, false) => vec![0, 0, 0, 1, 0x41, 0xe0],
        (Codec::Opus, _) => panic!("Opus has no pictures"),
    };
    // Never 0, which H.264 would have to escape.
    let mut state = number.wrapping_mul(0x9e37_79b9) | 1;
    unit.extend((0..len.max(1)).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state % 255) as u8 + 1
    }));
    unit
}

/// Sends pictures 33 ms apart.
pub struct Sender {
    pub codec: Codec,
    pub packetizer: Packetizer,
    pub stream: Stream,
    pub number: u32,
}

impl Sender {
    pub fn new(codec: Codec) -> Self {
        Self::starting_at(codec, 0xfff0, 0xffff_f000)
    }

    /// With numbers about to wrap, if wanted.
    pub fn starting_at(codec: Codec, sequence: u16, timestamp: u32) -> Self {
        let start = Start { ssrc: 0x1234_5678, sequence, timestamp };
        Self {
            codec,
            packetizer: Packetizer::starting_at(codec, 1200, 0x7ff0),
            stream: Stream::new(codec, start),
            number: 0,
        }
    }

    /// When the next picture is taken.
    pub fn now(&self) -> u64 {
        1000 * MS + u64::from(self.number) * 33 * MS
    }

    /// The next picture and its packets; they arrive at once.
    pub fn send(&mut self, keyframe: bool, len: usize) -> (Vec<u8>, Vec<Packet>) {
        let unit = picture(self.codec, self.number, keyframe, len);
        let packets = self.packets(&unit, keyframe);
        (unit, packets)
    }

    /// The packets of a given picture.
    pub fn packets(&mut self, unit: &[u8], keyframe: bool) -> Vec<Packet> {
        let now = self.now();
        self.number += 1;
        let mut payloads = Vec::new();
        self.packetizer.packetize(unit, keyframe, &mut payloads);
        self.stream.begin(now, 33 * MS);
        let count = payloads.len();
        let number = |(index, payload)| (index + 1 == count, payload);
        payloads
            .into_iter()
            .enumerate()
            .map(number)
            .map(|(last, payload)| self.packet(last, payload, now))
            .collect()
    }

    /// A packet of padding only.
    pub fn padding(&mut self) -> Packet {
        let now = self.now();
        self.packet(false, Bytes::new(), now)
    }

    fn packet(&mut self, last: bool, payload: Bytes, arrival_ns: u64) -> Packet {
        let header = self.stream.next(last);
        Packet {
            ssrc: header.ssrc,
            payload_type: 96,
            sequence: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
            arrival_ns,
        }
    }
}

/// All that comes out now.
pub fn drain(ingest: &mut Ingest, now: u64) -> Vec<Output> {
    std::iter::from_fn(|| ingest.poll(now)).collect()
}

/// The same where only units are expected.
pub fn units(outputs: Vec<Output>) -> Vec<AccessUnit> {
    let unit = |output| match output {
        Output::Unit(unit) => unit,
        Output::KeyframeNeeded => panic!("a keyframe was asked for"),
    };
    outputs.into_iter().map(unit).collect()
}

/// Pushes packets at one time and returns what comes out.
pub fn push(
    ingest: &mut Ingest,
    now: u64,
    packets: impl IntoIterator<Item = Packet>,
) -> Vec<Output> {
    let mut out = Vec::new();
    for packet in packets {
        ingest.push(now, Packet { arrival_ns: now, ..packet });
        out.extend(drain(ingest, now));
    }
    out
}

/// Delivers packets at their arrival times, and polls whenever the ingest wants it; returns (time, output).
pub fn run(ingest: &mut Ingest, mut packets: Vec<Packet>) -> Vec<(u64, Output)> {
    packets.sort_by_key(|packet| packet.arrival_ns);
    let mut out = Vec::new();
    let mut packets = packets.into_iter().peekable();
    loop {
        let wake = ingest.wake_at();
        let next = packets.peek().map(|packet| packet.arrival_ns);
        let now = match (wake, next) {
            (Some(wake), Some(next)) if wake < next => wake,
            (_, Some(next)) => {
                ingest.push(next, packets.next().expect("it was seen"));
                next
            }
            (Some(wake), None) => wake,
            (None, None) => return out,
        };
        let outputs = drain(ingest, now);
        assert!(
            ingest.wake_at().is_none_or(|wake| wake > now),
            "it wants to be polled for nothing"
        );
        out.extend(outputs.into_iter().map(|output| (now, output)));
    }
}
