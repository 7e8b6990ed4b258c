//! VP8 into payloads (RFC 7741), with a picture id of 15 bits and without temporal layers.

use super::{Writer, divide};

/// X, I and M are set; the first packet begins partition 0.
const HEADER: usize = 4;

pub(super) fn packetize(unit: &[u8], mtu: usize, picture_id: u16, writer: &mut Writer<'_>) {
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    for (index, part) in divide(unit, mtu - HEADER).enumerate() {
        // Partitions are not told apart: the frame goes on as partition 0 in packets that do not begin it.
        let first = if index == 0 { 0x90 } else { 0x80 };
        writer.payload(&[first, 0x80, high, low], part);
    }
}
