//! VP9 into payloads (RFC 9628): one spatial and one temporal layer, non-flexible mode, picture id of 15 bits.
//!
//! libwebrtc drops non-flexible pictures without TL0PICIDX, and keyframes without a scalability structure: both are
//! always sent. The structure says that each picture needs the one before it.

use super::{Writer, divide};
use crate::video::vp9::key_size;

/// Flags, picture id, layer indices, TL0PICIDX.
const HEADER: usize = 5;
/// A scalability structure of one layer with its size, and a group of one picture.
const STRUCTURE: usize = 8;

/// What a picture is called.
pub(super) struct Picture {
    pub(super) id: u16,
    pub(super) base_layer: u8,
}

pub(super) fn packetize(
    unit: &[u8],
    keyframe: bool,
    mtu: usize,
    picture: Picture,
    writer: &mut Writer<'_>,
) {
    let [high, low] = (picture.id | 0x8000).to_be_bytes();
    // I and L always; P where other pictures are needed.
    let flags = if keyframe { 0xa0 } else { 0xe0 };
    let structure = keyframe.then(|| structure(unit));
    let spent = HEADER + structure.map_or(0, |_| STRUCTURE);
    let mut parts = divide(unit, mtu - spent).peekable();
    let mut begins = true;
    while let Some(part) = parts.next() {
        let mut first = flags;
        if begins {
            first |= 0x08;
        }
        if parts.peek().is_none() {
            first |= 0x04;
        }
        let told = structure.as_ref().filter(|_| begins);
        if told.is_some() {
            first |= 0x02;
        }
        writer.part(&[first, high, low, 0, picture.base_layer]);
        if let Some(told) = told {
            writer.part(told);
        }
        writer.part(part);
        writer.end();
        begins = false;
    }
}

/// One spatial layer (with its size, or 0x0 where the header does not tell), one picture in the group: temporal
/// layer 0, up-switch, one reference, the picture before.
fn structure(unit: &[u8]) -> [u8; STRUCTURE] {
    let (width, height) = key_size(unit).unwrap_or((0, 0));
    let ([w0, w1], [h0, h1]) = (width.to_be_bytes(), height.to_be_bytes());
    [0x18, w0, w1, h0, h1, 1, 0x14, 1]
}
