//! Access units into RTP payloads.
//!
//! Allocation: the payloads of one access unit lie one behind the other in one buffer, which the unit is copied
//! into once, from shared memory, with the codec's headers between. The buffer is taken from the last ones where
//! their packets are all gone (no retransmission buffer holds them), else it is one allocation a unit.

mod h264;
mod vp8;
mod vp9;

use bytes::{BufMut, Bytes, BytesMut};
use remotemedia_shm_schema::Codec;

/// Bytes of one RTP payload by default: 1,200 and RTP, SRTP, UDP and IPv6 headers fit any path that carries video.
pub const MTU_PAYLOAD: usize = 1200;
/// Least bytes of a payload; below it the headers would outweigh the rest.
pub const MIN_MTU_PAYLOAD: usize = 64;
/// Bytes that a buffer is made for at least: a second's worth of ordinary pictures shares a few of them.
const BUFFER: usize = 64 * 1024;

/// The packetizer of one outgoing stream: picture ids go on for as long as it lives, whatever is fed to it.
#[derive(Debug)]
pub struct Packetizer {
    codec: Codec,
    mtu: usize,
    picture_id: u16,
    /// VP9's count of base layer pictures.
    base_layer: u8,
    buffer: BytesMut,
    ends: Vec<usize>,
}

impl Packetizer {
    /// A packetizer whose payloads have at most `mtu_payload` bytes (at least [`MIN_MTU_PAYLOAD`]).
    #[must_use]
    pub fn new(codec: Codec, mtu_payload: usize) -> Self {
        Self::starting_at(codec, mtu_payload, 0)
    }

    /// The same, with the first picture's id; only its lower 15 bits count.
    #[must_use]
    pub fn starting_at(codec: Codec, mtu_payload: usize, picture_id: u16) -> Self {
        Self {
            codec,
            mtu: mtu_payload.max(MIN_MTU_PAYLOAD),
            picture_id: picture_id & 0x7fff,
            base_layer: picture_id as u8,
            buffer: BytesMut::new(),
            ends: Vec::new(),
        }
    }

    /// The codec.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the payloads of one access unit to `out`; the last one's packet carries the marker.
    ///
    /// `unit` is a VP8 frame, VP9 picture, H.264 in Annex B or Opus packet. Nothing is appended for one that is
    /// empty, or holds no NAL unit. Opus goes in one payload whatever its size: it cannot be divided.
    pub fn packetize(&mut self, unit: &[u8], keyframe: bool, out: &mut Vec<Bytes>) {
        if unit.is_empty() {
            return;
        }
        self.ends.clear();
        // Each payload's header takes a few bytes, and even a payload of least size holds tens.
        let wanted = unit.len() + unit.len() / 8 + 256;
        if self.buffer.capacity() < wanted {
            self.buffer.reserve(wanted.max(BUFFER));
        }
        let mut writer = Writer { buffer: &mut self.buffer, ends: &mut self.ends };
        match self.codec {
            Codec::Opus => writer.payload(&[], unit),
            Codec::Vp8 => vp8::packetize(unit, self.mtu, self.picture_id, &mut writer),
            Codec::Vp9 => {
                let picture = vp9::Picture { id: self.picture_id, base_layer: self.base_layer };
                vp9::packetize(unit, keyframe, self.mtu, picture, &mut writer);
            }
            Codec::H264 => h264::packetize(unit, self.mtu, &mut writer),
        }
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.base_layer = self.base_layer.wrapping_add(1);
        let mut whole = self.buffer.split().freeze();
        let mut taken = 0;
        for end in self.ends.drain(..) {
            out.push(whole.split_to(end - taken));
            taken = end;
        }
    }
}

/// Writes payloads one behind the other.
struct Writer<'a> {
    buffer: &'a mut BytesMut,
    ends: &'a mut Vec<usize>,
}

impl Writer<'_> {
    /// Writes one payload.
    fn payload(&mut self, header: &[u8], bytes: &[u8]) {
        self.part(header);
        self.part(bytes);
        self.end();
    }

    /// Writes a part of a payload.
    fn part(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Ends a payload.
    fn end(&mut self) {
        self.ends.push(self.buffer.len());
    }
}

/// Divides `bytes` into as few parts of at most `first` and then `most` bytes as it takes, of about the same size:
/// a path drops large packets no less than small ones, and equal ones are paced evenly.
fn divide(bytes: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let most = most.max(1);
    let parts = bytes.len().div_ceil(most).max(1);
    let even = bytes.len().div_ceil(parts).max(1);
    bytes.chunks(even)
}
