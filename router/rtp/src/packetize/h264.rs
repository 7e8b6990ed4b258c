//! H.264 in Annex B into payloads (RFC 6184, packetization mode 1): parameter sets together, small NAL units alone, large
//! ones in fragments.

use super::{Writer, divide};
use crate::video::h264::{DELIMITER, FILLER, FU_A, PPS, SPS, STAP_A, kind};

pub(super) fn packetize(unit: &[u8], mtu: usize, writer: &mut Writer<'_>) {
    let mut units = NalUnits::new(unit)
        .filter(|nal| nal.first().is_some_and(|h| !matches!(kind(*h), DELIMITER | FILLER)))
        .peekable();
    while let Some(nal) = units.next() {
        if !is_set(nal) {
            single_or_fragments(nal, mtu, writer);
            continue;
        }
        // Parameter sets go in one packet: with one of them lost the others are of no use.
        let at = writer.buffer.len();
        writer.part(&[STAP_A]);
        let (mut room, mut importance, mut sets) = (mtu - 1, 0, 0);
        let mut set = Some(nal);
        while let Some(nal) = set {
            importance = importance.max(nal.first().map_or(0, |header| header & 0x60));
            writer.part(&(nal.len() as u16).to_be_bytes());
            writer.part(nal);
            room = room.saturating_sub(2 + nal.len());
            sets += 1;
            set = units.next_if(|next| is_set(next) && next.len() + 2 <= room);
        }
        if sets == 1 {
            writer.buffer.truncate(at);
            single_or_fragments(nal, mtu, writer);
            continue;
        }
        if let Some(indicator) = writer.buffer.get_mut(at) {
            *indicator |= importance;
        }
        writer.end();
    }
}

fn is_set(nal: &[u8]) -> bool {
    nal.first().is_some_and(|header| matches!(kind(*header), SPS | PPS))
}

fn single_or_fragments(nal: &[u8], mtu: usize, writer: &mut Writer<'_>) {
    if nal.len() <= mtu {
        writer.payload(&[], nal);
        return;
    }
    let Some((&header, body)) = nal.split_first() else { return };
    let mut parts = divide(body, mtu - 2).peekable();
    let mut begins = true;
    while let Some(part) = parts.next() {
        let mut fu = kind(header);
        if begins {
            fu |= 0x80;
        }
        if parts.peek().is_none() {
            fu |= 0x40;
        }
        writer.payload(&[header & 0xe0 | FU_A, fu], part);
        begins = false;
    }
}

/// The NAL units between start codes, without the zeros that may trail them.
struct NalUnits<'a> {
    rest: &'a [u8],
}

impl<'a> NalUnits<'a> {
    fn new(unit: &'a [u8]) -> Self {
        let begin = start_code(unit).map_or(unit.len(), |at| at + 3);
        Self { rest: unit.get(begin..).unwrap_or(&[]) }
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = start_code(self.rest);
            let nal = self.rest.get(..end.unwrap_or(self.rest.len()))?;
            self.rest = end.and_then(|at| self.rest.get(at + 3..)).unwrap_or(&[]);
            // A NAL unit never ends with a zero byte: these belong to the next start code.
            let len = nal.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            if len > 0 {
                return nal.get(..len);
            }
        }
        None
    }
}

/// Where the next three bytes 0, 0, 1 are.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    // The third byte tells how far it is safe to leap.
    while let Some(&byte) = bytes.get(at) {
        match byte {
            1 if bytes.get(at - 2) == Some(&0) && bytes.get(at - 1) == Some(&0) => {
                return Some(at - 2);
            }
            0 => at += 1,
            _ => at += 3,
        }
    }
    None
}
