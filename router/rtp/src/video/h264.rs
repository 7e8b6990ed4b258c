//! H.264 on the wire: RFC 6184 in packetization mode 1 (single NAL units, STAP-A, FU-A) into Annex B.
//!
//! Parameter sets are kept and put before an IDR picture that comes without them: encoders may send them once
//! only, and a decoder that was started anew needs them.

use super::{Fault, Hint, Picture, sps};
use crate::Packet;
use bytes::Bytes;

/// NAL unit types.
pub(crate) const NON_IDR: u8 = 1;
pub(crate) const IDR: u8 = 5;
pub(crate) const SPS: u8 = 7;
pub(crate) const PPS: u8 = 8;
pub(crate) const DELIMITER: u8 = 9;
pub(crate) const FILLER: u8 = 12;
pub(crate) const STAP_A: u8 = 24;
pub(crate) const FU_A: u8 = 28;

/// Sequence parameter sets kept; a stream has one, and another for a moment when it changes size.
const MAX_SPS: usize = 4;
/// Picture parameter sets kept.
const MAX_PPS: usize = 16;
/// Bytes of a parameter set that is kept; ours and browsers' have less than 100.
const MAX_SET: usize = 1024;
/// Pieces of one picture: 512 KiB of slices of 1 KiB with a start code each, four times over. Keeps a packet of
/// 400 one-byte NAL units from growing into kilobytes of bookkeeping.
const MAX_PIECES: usize = 4096;

const START_CODE: &[u8] = &[0, 0, 0, 1];

/// Each byte value, so that the header byte that FU-A splits in two is a static slice.
static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut value = 0;
    while value < 256 {
        bytes[value] = value as u8;
        value += 1;
    }
    bytes
};

fn header_byte(value: u8) -> Bytes {
    let at = usize::from(value);
    Bytes::from_static(BYTES.get(at..=at).unwrap_or(&[]))
}

/// The type of a NAL unit by its header.
pub(crate) fn kind(header: u8) -> u8 {
    header & 0x1f
}

/// What a NAL unit that comes first tells of its picture; `first` is the byte behind its header.
fn begins(kind: u8, first: Option<&u8>) -> Hint {
    // The first macroblock's number is the first code of a slice; number 0 is a single 1 bit.
    let whole = first.is_some_and(|byte| byte & 0x80 != 0);
    match kind {
        NON_IDR if whole => Hint::Delta,
        IDR if whole => Hint::Unclear, // its parameter sets may lie in a packet before
        NON_IDR..=IDR => Hint::Inner,
        SPS => Hint::Key,
        6..=23 => Hint::Unclear,
        _ => Hint::Malformed,
    }
}

/// What a packet is in its picture.
pub(crate) fn hint(payload: &[u8]) -> Hint {
    let Some(&indicator) = payload.first() else { return Hint::Malformed };
    match kind(indicator) {
        STAP_A => {
            let mut first = None;
            for nal in Aggregate::new(payload) {
                let Some(nal) = nal else { return Hint::Malformed };
                match payload.get(nal.clone()) {
                    Some([header, rest @ ..]) if kind(*header) == SPS || first.is_none() => {
                        let hint = begins(kind(*header), rest.first());
                        if hint == Hint::Key {
                            return Hint::Key;
                        }
                        first = Some(hint);
                    }
                    _ => {}
                }
            }
            first.unwrap_or(Hint::Malformed)
        }
        FU_A => match payload.get(1..) {
            Some([header, rest @ ..]) if header & 0x80 != 0 => begins(kind(*header), rest.first()),
            Some([_, ..]) => Hint::Inner,
            _ => Hint::Malformed,
        },
        plain => begins(plain, payload.get(1)),
    }
}

/// The places of the NAL units in a STAP-A; `None` in it where a length is wrong.
struct Aggregate<'a> {
    payload: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Aggregate<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 1, failed: false }
    }
}

impl Iterator for Aggregate<'_> {
    type Item = Option<std::ops::Range<usize>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at == self.payload.len() {
            return None;
        }
        let nal = (|| {
            let length: &[u8; 2] = self.payload.get(self.at..self.at + 2)?.try_into().ok()?;
            let begin = self.at + 2;
            let end = begin + usize::from(u16::from_be_bytes(*length));
            (end > begin && end <= self.payload.len()).then_some(begin..end)
        })();
        match &nal {
            Some(range) => self.at = range.end,
            None => self.failed = true,
        }
        Some(nal)
    }
}

/// A kept parameter set.
#[derive(Debug)]
struct Set<T> {
    nal: Bytes,
    told: T,
}

/// The parameter sets of a stream.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    sequence: Vec<Set<sps::Sequence>>,
    picture: Vec<Set<(u8, u8)>>,
}

/// What the NAL units so far were.
#[derive(Debug, Default)]
struct Seen {
    sps: bool,
    pps: bool,
    idr: bool,
    slice: bool,
    /// The picture parameter set of the first slice.
    names: Option<u8>,
}

impl Parameters {
    /// Puts the packets of one timestamp together. `Ok(None)` where they hold parameter sets and the like only.
    ///
    /// `after_gap` tells that the packet before the first one is lost: then kept parameter sets are not used, as the
    /// lost packet may have held newer ones.
    pub(crate) fn assemble(
        &mut self,
        packets: &[Packet],
        after_gap: bool,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Picture>, Fault> {
        let mut seen = Seen::default();
        // The header of the NAL unit whose fragments are coming.
        let mut fragmented: Option<u8> = None;
        for packet in packets {
            let payload = &packet.payload;
            let indicator = *payload.first().ok_or(Fault::Malformed)?;
            let plain = kind(indicator);
            if fragmented.is_some() && plain != FU_A {
                return Err(Fault::Malformed);
            }
            match plain {
                1..=23 => self.take(payload.clone(), &mut seen, out)?,
                STAP_A => {
                    for nal in Aggregate::new(payload) {
                        let nal = payload.slice(nal.ok_or(Fault::Malformed)?);
                        self.take(nal, &mut seen, out)?;
                    }
                }
                FU_A => fragmented = self.fragment(payload, fragmented, &mut seen, out)?,
                _ => return Err(Fault::Malformed),
            }
            if out.len() > MAX_PIECES {
                return Err(Fault::TooLarge);
            }
        }
        if fragmented.is_some() {
            return Err(Fault::Malformed);
        }
        if !seen.slice {
            out.clear();
            return Ok(None);
        }
        let mut size = None;
        if seen.idr {
            if (!seen.sps || !seen.pps) && after_gap {
                return Err(Fault::NoParameters);
            }
            self.prepend(&seen, out)?;
            size = self.size(seen.names);
        }
        Ok(Some(Picture { keyframe: seen.idr, size, id: None }))
    }

    /// Takes a whole NAL unit.
    fn take(&mut self, nal: Bytes, seen: &mut Seen, out: &mut Vec<Bytes>) -> Result<(), Fault> {
        let header = *nal.first().ok_or(Fault::Malformed)?;
        self.note(kind(header), &nal, seen)?;
        match kind(header) {
            SPS => self.keep_sequence(&nal),
            PPS => self.keep_picture(&nal),
            FILLER => return Ok(()),
            _ => {}
        }
        out.push(Bytes::from_static(START_CODE));
        out.push(nal);
        Ok(())
    }

    /// Takes a fragment; returns the header of the unit as long as it goes on.
    fn fragment(
        &mut self,
        payload: &Bytes,
        open: Option<u8>,
        seen: &mut Seen,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<u8>, Fault> {
        let Some(&[indicator, fu, _]) = payload.get(..3) else {
            return Err(Fault::Malformed);
        };
        let (begins, ends) = (fu & 0x80 != 0, fu & 0x40 != 0);
        let header = indicator & 0xe0 | kind(fu);
        match open {
            // One that begins and ends at once is forbidden, but senders of it are known, and it is clear what
            // they mean.
            None if begins => {
                let kind = kind(header);
                if matches!(kind, SPS | PPS) {
                    // Larger than a packet: nothing that could be kept, and no encoder's.
                    return Err(Fault::Malformed);
                }
                // Enough of the slice's header for its ids; it is only looked at.
                let mut start = [0; 16];
                let have = payload.len().min(start.len() + 1) - 1;
                if let (Some(to), Some(from)) = (start.get_mut(..have), payload.get(1..=have)) {
                    to.copy_from_slice(from);
                }
                self.note(kind, start.get(..have).unwrap_or(&[]), seen)?;
                out.push(Bytes::from_static(START_CODE));
                out.push(header_byte(header));
            }
            Some(of) if !begins && of == header => {}
            _ => return Err(Fault::Malformed),
        }
        out.push(payload.slice(2..));
        Ok((!ends).then_some(header))
    }

    /// Notes what a unit is; `nal` holds its header byte (of any value) and at least the first bytes behind it.
    fn note(&self, kind: u8, nal: &[u8], seen: &mut Seen) -> Result<(), Fault> {
        match kind {
            NON_IDR..=IDR => {
                seen.slice = true;
                seen.idr |= kind == IDR;
                if seen.names.is_none() {
                    seen.names = sps::slice(nal);
                }
            }
            SPS => seen.sps = true,
            PPS => seen.pps = true,
            6..=23 => {}
            _ => return Err(Fault::Malformed),
        }
        Ok(())
    }

    fn keep_sequence(&mut self, nal: &Bytes) {
        if let Some(told) = sps::sequence(nal) {
            keep(&mut self.sequence, MAX_SPS, nal, told, |kept| kept.id == told.id);
        }
    }

    fn keep_picture(&mut self, nal: &Bytes) {
        if let Some(told) = sps::picture(nal) {
            keep(&mut self.picture, MAX_PPS, nal, told, |kept| kept.0 == told.0);
        }
    }

    /// Puts the kept sets that the picture lacks before it.
    fn prepend(&self, seen: &Seen, out: &mut Vec<Bytes>) -> Result<(), Fault> {
        if seen.sps && seen.pps {
            return Ok(());
        }
        if (!seen.sps && self.sequence.is_empty()) || (!seen.pps && self.picture.is_empty()) {
            return Err(Fault::NoParameters);
        }
        // All sequence sets, the picture's own among them, as picture sets must come behind the ones that they name.
        let sequence = self.sequence.iter().map(|set| &set.nal);
        let picture = self.picture.iter().filter(|_| !seen.pps).map(|set| &set.nal);
        let pieces = sequence.chain(picture);
        out.splice(0..0, pieces.flat_map(|nal| [Bytes::from_static(START_CODE), nal.clone()]));
        Ok(())
    }

    fn size(&self, names: Option<u8>) -> Option<(u16, u16)> {
        let picture = self.picture.iter().find(|set| Some(set.told.0) == names);
        match picture {
            Some(set) => {
                self.sequence.iter().find(|sps| sps.told.id == set.told.1).and_then(|s| s.told.size)
            }
            None => self.sequence.last().and_then(|set| set.told.size),
        }
    }
}

/// Keeps a set in the place of the one with the same id; the oldest goes when there are too many.
fn keep<T: Copy>(
    kept: &mut Vec<Set<T>>,
    max: usize,
    nal: &Bytes,
    told: T,
    same: impl Fn(&T) -> bool,
) {
    if nal.len() > MAX_SET {
        return;
    }
    if let Some(at) = kept.iter().position(|set| same(&set.told)) {
        if kept.get(at).is_some_and(|set| set.nal == *nal) {
            return;
        }
        kept.remove(at);
    } else if kept.len() >= max {
        kept.remove(0);
    }
    // A copy of its own, or a hundred bytes would hold a whole packet for as long as the stream lasts.
    kept.push(Set { nal: Bytes::copy_from_slice(nal), told });
}
