//! What a stranger can do to a decoder: nothing but make it fail on the unit in hand.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod scene;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use remotemedia_codec_worker::{
    DecodeError, OpusDecoder, OpusEncoder, bitstream, sound, video_decoder, video_encoder,
};
use remotemedia_shm_schema::Codec;
use scene::{FRAME_NS, MAX_RAW, VIDEO_CODECS, audio, picture, psnr, video, voice};
use std::sync::OnceLock;

/// A dozen real access units of a codec, the first and the eighth of them keyframes, two sizes.
fn units(codec: Codec) -> &'static [Vec<u8>] {
    static UNITS: [OnceLock<Vec<Vec<u8>>>; 5] = [const { OnceLock::new() }; 5];
    UNITS[codec as usize].get_or_init(|| {
        let mut encoder = video_encoder(&video(codec, 600_000)).unwrap();
        (0..14)
            .filter_map(|number| {
                let (width, height) = if number < 7 { (175, 97) } else { (96, 64) };
                let source = picture(width, height, number);
                let unit = encoder.encode(&source.planes(), u64::from(number) * FRAME_NS, false);
                unit.unwrap().map(|unit| unit.to_vec())
            })
            .collect()
    })
}

#[derive(Debug, Clone)]
enum Harm {
    None,
    Lose,
    Flip(Vec<(usize, u8)>),
    Cut(usize),
    Extend(Vec<u8>),
    Replace(Vec<u8>),
    Repeat,
}

fn harm() -> impl Strategy<Value = Harm> {
    let few = proptest::collection::vec((any::<usize>(), any::<u8>()), 1..12);
    // The header decides most, so half of the flips go there.
    let early = proptest::collection::vec((0..24usize, any::<u8>()), 1..6);
    prop_oneof![
        3 => Just(Harm::None),
        1 => Just(Harm::Lose),
        3 => few.prop_map(Harm::Flip),
        3 => early.prop_map(Harm::Flip),
        2 => any::<usize>().prop_map(Harm::Cut),
        1 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(Harm::Extend),
        1 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(Harm::Replace),
        1 => Just(Harm::Repeat),
    ]
}

fn apply(harm: &Harm, unit: &[u8], before: &[u8]) -> Option<Vec<u8>> {
    let mut unit = unit.to_vec();
    match harm {
        Harm::None => {}
        Harm::Lose => return None,
        Harm::Flip(places) => {
            for (at, mask) in places {
                let at = at % unit.len();
                unit[at] ^= mask;
            }
        }
        Harm::Cut(at) => unit.truncate(at % unit.len()),
        Harm::Extend(tail) => unit.extend(tail),
        Harm::Replace(other) => unit = other.clone(),
        Harm::Repeat => unit = before.to_vec(),
    }
    Some(unit)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_harmed_stream_never_ends_a_decoder_and_a_keyframe_heals_it(
        codec in prop_oneof![Just(Codec::Vp8), Just(Codec::Vp9), Just(Codec::H264)],
        harms in proptest::collection::vec(harm(), 14),
    ) {
        let units = units(codec);
        let mut decoder = video_decoder(codec, 1 << 20).unwrap();
        let mut sum = 0u64;
        for (index, (unit, harm)) in units.iter().zip(&harms).enumerate() {
            let before = &units[index.saturating_sub(1)];
            let Some(unit) = apply(harm, unit, before) else { continue };
            if let Ok(Some(shown)) = decoder.decode(&unit) {
                // Every row can be read.
                let geometry = shown.picture.geometry();
                let mut payload = vec![0; geometry.payload_len()];
                shown.picture.copy_into(&geometry, &mut payload).unwrap();
                sum += u64::from(payload[payload.len() / 2]);
            }
        }
        std::hint::black_box(sum);
        // A whole stream afterwards is shown as if nothing had been. H.264 may need a second IDR: an SPS of the same id
        // with other contents takes force with the next one.
        let mut healed = false;
        for _ in 0..2 {
            for (number, unit) in units.iter().enumerate() {
                let source = picture(if number < 7 { 175 } else { 96 }, if number < 7 { 97 } else { 64 }, number as u32);
                healed = decoder.decode(unit).is_ok_and(|shown| {
                    shown.is_some_and(|shown| !shown.damaged && psnr(0, &source.planes(), &shown.picture) > 25.0)
                });
            }
        }
        assert!(healed, "{codec} never recovered");
    }

    #[test]
    fn random_bytes_are_not_a_picture(
        codec in prop_oneof![Just(Codec::Vp8), Just(Codec::Vp9), Just(Codec::H264)],
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
    ) {
        let mut decoder = video_decoder(codec, MAX_RAW).unwrap();
        for chunk in &chunks {
            let _ = bitstream::inspect(codec, chunk);
            let _ = decoder.decode(chunk);
            let _ = decoder.decode(&[&[0, 0, 0, 1], chunk.as_slice()].concat());
        }
    }

    #[test]
    fn headers_of_any_bytes_are_read_without_a_panic(
        head in prop_oneof![
            Just(vec![]), Just(vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a]), Just(vec![0x82, 0x49, 0x83, 0x42]),
            Just(vec![0, 0, 1, 0x67, 66, 0xc0, 31]), Just(vec![0, 0, 1, 0x67, 100, 0, 31]), Just(vec![0xa0]),
        ],
        tail in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let bytes = [head, tail].concat();
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Opus] {
            let _ = bitstream::inspect(codec, &bytes);
        }
        let _ = sound::inspect(&bytes);
    }

    #[test]
    fn harmed_opus_never_ends_a_decoder_and_stays_finite(
        channels in 1..=2u8,
        harms in proptest::collection::vec(harm(), 30),
    ) {
        let mut encoder = OpusEncoder::new(&audio(channels)).unwrap();
        let mut decoder = OpusDecoder::new(channels).unwrap();
        let mut block = vec![0.0; sound::MAX_SAMPLES * usize::from(channels)];
        let mut before = vec![];
        for (index, harm) in harms.iter().enumerate() {
            let samples = voice(channels.into(), index * 960, 960);
            let mut packet = vec![0; sound::MAX_PACKET];
            let len = encoder.encode(&samples, &mut packet).unwrap();
            packet.truncate(len);
            match apply(harm, &packet, &before) {
                Some(packet) if sound::inspect(&packet).is_some() => {
                    let _ = decoder.decode(&packet, &mut block);
                }
                Some(packet) => assert!(decoder.decode(&packet, &mut block).is_err()),
                None => {
                    decoder.conceal(&mut block[..960 * usize::from(channels)]).unwrap();
                }
            }
            assert!(block.iter().all(|s| s.is_finite()));
            before = packet;
        }
    }

    #[test]
    fn no_sound_ends_an_opus_encoder(
        samples in proptest::collection::vec(any::<f32>(), 960),
        quiet in any::<bool>(),
    ) {
        let mut encoder = OpusEncoder::new(&audio(2)).unwrap();
        let mut decoder = OpusDecoder::new(2).unwrap();
        let mut packet = [0; sound::MAX_PACKET];
        // Not a number, infinity and denormals are among them.
        let len = encoder.encode(&samples, &mut packet).unwrap();
        decoder.decode(&packet[..len], &mut [0.0; 960]).unwrap();
        for round in 0..20 {
            let block = if quiet { vec![0.0; 1920] } else { voice(2, round * 960, 960) };
            let len = encoder.encode(&block, &mut packet).unwrap();
            let mut out = [0.0; 1920];
            decoder.decode(&packet[..len], &mut out).unwrap();
            assert!(out.iter().all(|s| s.is_finite()));
        }
    }
}

#[test]
fn a_few_bytes_that_claim_a_giant_picture_take_no_memory() {
    // A VP8 keyframe header of 16383x16383; a VP9 one of 65536x65536; an SPS of 4096x2304 at level 5.2.
    let vp8 = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0, 0, 0];
    let vp9 = [0x82, 0x49, 0x83, 0x42, 0x2f, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0];
    let h264 = [0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x34, 0xda, 0x00, 0x80, 0x00, 0x90, 0x06, 0xc0];
    for (codec, unit) in [(Codec::Vp8, &vp8[..]), (Codec::Vp9, &vp9), (Codec::H264, &h264)] {
        let size = bitstream::inspect(codec, unit).and_then(|unit| unit.size);
        assert!(size.is_some_and(|(w, h)| w > 2000 && h > 2000), "{codec} {size:?}");
        let mut decoder = video_decoder(codec, MAX_RAW).unwrap();
        let refused = decoder.decode(unit);
        assert!(matches!(refused, Err(DecodeError::TooLarge { .. })), "{codec}");
    }
}

#[test]
fn a_giant_frame_hidden_in_a_vp9_superframe_is_seen() {
    let small = &units(Codec::Vp9)[0];
    let giant = [0x82, 0x49, 0x83, 0x42, 0x2f, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0];
    let len = small.len() as u16;
    let index = [0xc9, len as u8, (len >> 8) as u8, giant.len() as u8, 0, 0xc9];
    let both = [small.as_slice(), &giant, &index].concat();
    let size = bitstream::inspect(Codec::Vp9, &both).unwrap().size;
    assert_eq!(size, Some((65536, 65536)));
}

#[test]
fn real_units_say_their_size() {
    for codec in VIDEO_CODECS {
        let sizes: Vec<_> =
            units(codec).iter().filter_map(|u| bitstream::inspect(codec, u)).collect();
        let first = sizes[0];
        assert!(first.keyframe);
        let expected = if codec == Codec::H264 { (174, 96) } else { (175, 97) };
        assert_eq!(first.size, Some(expected), "{codec}");
        assert!(!sizes[1].keyframe && sizes[1].size.is_none(), "{codec}");
        let changed = sizes.iter().skip(1).find_map(|u| u.size);
        assert_eq!(changed, Some((96, 64)), "{codec}");
    }
}
