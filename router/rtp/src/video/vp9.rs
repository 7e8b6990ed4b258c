//! VP9 on the wire: the payload descriptor of RFC 9628 and the frame header as far as a router needs them.

use super::{Fault, Hint, Picture, PictureId, unit::head};
use crate::Packet;
use bytes::Bytes;

/// Spatial layers that a scalability structure can tell of (3 bits).
const MAX_LAYERS: usize = 8;

/// What a payload descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) id: Option<PictureId>,
    /// The picture needs earlier ones (P).
    pub(crate) inter: bool,
    /// The packet begins (B) a layer's frame.
    pub(crate) begins: bool,
    /// The packet ends (E) a layer's frame.
    pub(crate) ends: bool,
    /// Spatial layer; 0 where there are none.
    pub(crate) layer: u8,
    /// Sizes of the spatial layers, by a scalability structure.
    pub(crate) sizes: Option<[(u16, u16); MAX_LAYERS]>,
    /// Bytes of the descriptor.
    pub(crate) len: usize,
}

/// Reads bytes one by one, and never past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn pair(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }
}

impl Descriptor {
    /// Reads the descriptor; `None` where it is cut off, or nothing follows it.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes: payload, at: 0 };
        let first = reader.byte()?;
        let bit = |mask: u8| first & mask != 0;
        let (inter, flexible) = (bit(0x40), bit(0x10));
        let mut id = None;
        if bit(0x80) {
            let high = reader.byte()?;
            id = Some(if high & 0x80 != 0 {
                let value = u16::from_be_bytes([high & 0x7f, reader.byte()?]);
                PictureId { value, wide: true }
            } else {
                PictureId { value: u16::from(high), wide: false }
            });
        }
        let mut layer = 0;
        if bit(0x20) {
            layer = (reader.byte()? >> 1) & 0x07;
            if !flexible {
                reader.byte()?; // TL0PICIDX
            }
        }
        if flexible && inter {
            // Up to three references, each telling whether another follows.
            for reference in 0..3 {
                let more = reader.byte()? & 1 != 0;
                if !more {
                    break;
                }
                if reference == 2 {
                    return None;
                }
            }
        }
        let sizes = if bit(0x02) { Self::structure(&mut reader)? } else { None };
        if payload.len() <= reader.at {
            return None;
        }
        let (begins, ends, len) = (bit(0x08), bit(0x04), reader.at);
        Some(Self { id, inter, begins, ends, layer, sizes, len })
    }

    /// Reads the scalability structure; the inner `None` is one without sizes.
    #[expect(clippy::option_option, reason = "cut off is not the same as not told")]
    fn structure(reader: &mut Reader<'_>) -> Option<Option<[(u16, u16); MAX_LAYERS]>> {
        let head = reader.byte()?;
        let mut sizes = None;
        if head & 0x10 != 0 {
            let layers = usize::from(head >> 5) + 1;
            let mut told = [(0, 0); MAX_LAYERS];
            for size in told.iter_mut().take(layers) {
                *size = (reader.pair()?, reader.pair()?);
            }
            sizes = Some(told);
        }
        if head & 0x08 != 0 {
            for _ in 0..reader.byte()? {
                let references = (reader.byte()? >> 2) & 0x03;
                for _ in 0..references {
                    reader.byte()?;
                }
            }
        }
        Some(sizes)
    }
}

/// What a packet is in its picture.
pub(crate) fn hint(payload: &[u8]) -> Hint {
    let Some(descriptor) = Descriptor::parse(payload) else { return Hint::Malformed };
    if !descriptor.begins || descriptor.layer != 0 {
        return Hint::Inner;
    }
    // The frame's own header decides: senders are known that never set P.
    match payload.get(descriptor.len..).and_then(frame_kind) {
        Some(Kind::Key) => Hint::Key,
        Some(Kind::Inter) => Hint::Delta,
        None => Hint::Malformed,
    }
}

/// Puts the packets of one timestamp together: all spatial layers of a picture, each whole.
pub(crate) fn assemble(packets: &[Packet], out: &mut Vec<Bytes>) -> Result<Picture, Fault> {
    let mut id = None;
    let mut sizes = None;
    // The layer whose frame is open, or the last one that was closed.
    let mut open: Option<u8> = None;
    let mut closed: Option<u8> = None;
    for (index, packet) in packets.iter().enumerate() {
        let descriptor = Descriptor::parse(&packet.payload).ok_or(Fault::Malformed)?;
        if index == 0 {
            id = descriptor.id;
        }
        match open {
            None if descriptor.begins
                && closed.map_or(descriptor.layer == 0, |below| below < descriptor.layer) =>
            {
                open = Some(descriptor.layer);
            }
            Some(layer) if !descriptor.begins && layer == descriptor.layer => {}
            _ => return Err(Fault::Malformed),
        }
        if descriptor.ends {
            closed = open.take();
        }
        sizes = sizes.or(descriptor.sizes);
        out.push(packet.payload.slice(descriptor.len..));
    }
    let (Some(top), None) = (closed, open) else {
        return Err(Fault::Malformed);
    };
    let (header, have) = head::<16>(out);
    let header = header.get(..have).unwrap_or(&[]);
    let keyframe = frame_kind(header).ok_or(Fault::Malformed)? == Kind::Key;
    let size = if keyframe {
        let base = key_size(header).ok_or(Fault::Malformed)?;
        // The decoder shows the highest layer; its size stands in the structure only.
        let told = sizes.and_then(|told| told.get(usize::from(top)).copied());
        Some(told.filter(|(w, h)| top > 0 && *w > 0 && *h > 0).unwrap_or(base))
    } else {
        None
    };
    Ok(Picture { keyframe, size, id })
}

/// Whether a frame needs others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Key,
    Inter,
}

/// Reads bits, highest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

/// The kind of a frame by its uncompressed header (VP9 bitstream specification 6.2); `None` where it is no frame.
pub(crate) fn frame_kind(frame: &[u8]) -> Option<Kind> {
    uncompressed_header(frame).map(|(kind, _, _)| kind)
}

/// Width and height by a keyframe's uncompressed header; `None` where it is not one.
pub(crate) fn key_size(frame: &[u8]) -> Option<(u16, u16)> {
    let (Kind::Key, profile, mut bits) = uncompressed_header(frame)? else {
        return None;
    };
    if bits.take(24)? != 0x49_83_42 {
        return None;
    }
    if profile >= 2 {
        bits.take(1)?; // ten or twelve bits
    }
    let odd_profile = profile & 1 != 0;
    if bits.take(3)? != 7 {
        bits.take(1)?; // range
        if odd_profile {
            bits.take(3)?; // subsampling and a reserved bit
        }
    } else if odd_profile {
        bits.take(1)?;
    } else {
        return None; // RGB wants 4:4:4
    }
    let (width, height) = (bits.take(16)? + 1, bits.take(16)? + 1);
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Kind and profile; the reader stands behind `error_resilient_mode`.
fn uncompressed_header(frame: &[u8]) -> Option<(Kind, u32, Bits<'_>)> {
    let mut bits = Bits { bytes: frame, at: 0 };
    if bits.take(2)? != 2 {
        return None;
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 && bits.take(1)? != 0 {
        return None;
    }
    if bits.take(1)? != 0 {
        // Shows a frame that the decoder has already.
        return Some((Kind::Inter, profile, bits));
    }
    let kind = if bits.take(1)? == 0 { Kind::Key } else { Kind::Inter };
    bits.take(2)?; // show_frame, error_resilient_mode
    Some((kind, profile, bits))
}
