//! Opus packets as far as a router needs them: how long one lasts (RFC 6716 section 3.1).

/// Ticks of the RTP clock a second (RFC 7587: always).
pub(crate) const RATE: u32 = 48_000;
/// The longest packet, in ticks: 120 ms.
pub(crate) const MAX_TICKS: u32 = 5760;
/// An encoder in discontinuous transmission sends packets of at most this many bytes, then none until it has more
/// to say.
pub(crate) const DTX_BYTES: usize = 2;

/// How long a packet lasts, in ticks of 48 kHz; `None` where it is not a packet of Opus.
pub(crate) fn ticks(packet: &[u8]) -> Option<u32> {
    let (&toc, rest) = packet.split_first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880].get(usize::from(config & 3)).copied()?,
        config @ 12..=15 => [480, 960].get(usize::from(config & 1)).copied()?,
        config => [120, 240, 480, 960].get(usize::from(config & 3)).copied()?,
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let ticks: u32 = frame * frames;
    (1..=MAX_TICKS).contains(&ticks).then_some(ticks)
}

/// How long an Opus packet lasts, in ns; `None` where it is not one.
#[must_use]
pub fn duration_ns(packet: &[u8]) -> Option<u64> {
    ticks(packet).map(ns)
}

/// Nanoseconds of ticks.
pub(crate) fn ns(ticks: u32) -> u64 {
    u64::from(ticks) * 1_000_000_000 / u64::from(RATE)
}

#[cfg(test)]
mod tests {
    use super::{duration_ns, ticks};
    use proptest::prelude::{any, prop, proptest};

    #[test]
    fn the_first_byte_tells_how_long_a_packet_lasts() {
        let cases: &[(&[u8], Option<u32>)] = &[
            (&[], None),
            (&[0 << 3], Some(480)),             // SILK 10 ms
            (&[1 << 3, 9], Some(960)),          // SILK 20 ms
            (&[3 << 3], Some(2880)),            // SILK 60 ms
            (&[3 << 3 | 1, 0, 0], Some(5760)),  // two of them
            (&[12 << 3], Some(480)),            // hybrid 10 ms
            (&[15 << 3], Some(960)),            // hybrid 20 ms
            (&[16 << 3], Some(120)),            // CELT 2.5 ms
            (&[31 << 3 | 4, 0, 0], Some(960)),  // CELT 20 ms in stereo
            (&[31 << 3 | 3], None),             // the count is cut off
            (&[31 << 3 | 3, 0], None),          // no frames at all
            (&[31 << 3 | 3, 6], Some(5760)),    // six of 20 ms
            (&[31 << 3 | 3, 7], None),          // longer than 120 ms
            (&[31 << 3 | 3, 0xc3], Some(2880)), // flags beside the count
        ];
        for (packet, expected) in cases {
            assert_eq!(ticks(packet), *expected, "{packet:?}");
        }
        assert_eq!(duration_ns(&[31 << 3]), Some(20_000_000));
    }

    proptest! {
        #[test]
        fn no_packet_lasts_longer_than_120_ms(packet in prop::collection::vec(any::<u8>(), 0..8)) {
            assert!(ticks(&packet).is_none_or(|ticks| (120..=5760).contains(&ticks)));
        }
    }
}
