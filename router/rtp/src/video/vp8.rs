//! VP8 on the wire: the payload descriptor of RFC 7741 and the frame header of RFC 6386 as far as a router needs them.

use super::{Fault, Hint, Picture, PictureId, unit::head};
use crate::Packet;
use bytes::Bytes;

/// What a payload descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// The packet begins a frame: it begins a partition, and that is the first one.
    pub(crate) begins: bool,
    /// No other frame needs this one.
    pub(crate) disposable: bool,
    pub(crate) id: Option<PictureId>,
    /// Bytes of the descriptor.
    pub(crate) len: usize,
}

impl Descriptor {
    /// Reads the descriptor; `None` where it is cut off, or nothing follows it.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut at = 1;
        let mut id = None;
        if first & 0x80 != 0 {
            let extension = *payload.get(at)?;
            at += 1;
            if extension & 0x80 != 0 {
                let high = *payload.get(at)?;
                at += 1;
                id = Some(if high & 0x80 != 0 {
                    let low = *payload.get(at)?;
                    at += 1;
                    PictureId { value: u16::from_be_bytes([high & 0x7f, low]), wide: true }
                } else {
                    PictureId { value: u16::from(high), wide: false }
                });
            }
            // TL0PICIDX, then one byte for temporal layer and key index together.
            at += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
        }
        if payload.len() <= at {
            return None;
        }
        Some(Self {
            begins: first & 0x10 != 0 && first & 0x07 == 0,
            disposable: first & 0x20 != 0,
            id,
            len: at,
        })
    }
}

/// What a packet is in its picture.
pub(crate) fn hint(payload: &[u8]) -> Hint {
    let Some(descriptor) = Descriptor::parse(payload) else { return Hint::Malformed };
    match payload.get(descriptor.len) {
        Some(tag) if descriptor.begins && tag & 1 == 0 => Hint::Key,
        Some(_) if descriptor.begins => Hint::Delta,
        _ => Hint::Inner,
    }
}

/// Puts the packets of one timestamp together.
pub(crate) fn assemble(packets: &[Packet], out: &mut Vec<Bytes>) -> Result<Picture, Fault> {
    let mut id = None;
    for (index, packet) in packets.iter().enumerate() {
        let descriptor = Descriptor::parse(&packet.payload).ok_or(Fault::Malformed)?;
        if descriptor.begins != (index == 0) {
            return Err(Fault::Malformed);
        }
        if index == 0 {
            id = descriptor.id;
        }
        out.push(packet.payload.slice(descriptor.len..));
    }
    let (header, have) = head::<10>(out);
    let header = header.get(..have).unwrap_or(&[]);
    let keyframe = header.first().ok_or(Fault::Malformed)? & 1 == 0;
    let size = if keyframe { Some(key_size(header).ok_or(Fault::Malformed)?) } else { None };
    Ok(Picture { keyframe, size, id })
}

/// Width and height by a keyframe's header (RFC 6386 section 9.1); `None` where it is not one.
pub(crate) fn key_size(frame: &[u8]) -> Option<(u16, u16)> {
    let &[tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = frame.get(..10)? else {
        return None;
    };
    if tag & 1 != 0 {
        return None;
    }
    // The two highest bits of each are a scale for display, which decoders leave to the application.
    let (width, height) =
        (u16::from_le_bytes([w0, w1]) & 0x3fff, u16::from_le_bytes([h0, h1]) & 0x3fff);
    (width > 0 && height > 0).then_some((width, height))
}
