//! The way out: access units into payloads and back, and one viewer's numbers over sources, generations and pauses.

mod stream;

use bytes::Bytes;
use proptest::prelude::*;
use remotemedia_rtp::{
    clock::ntp_from_unix_ns,
    egress::{Start, Stream},
    packetize::{MTU_PAYLOAD, Packetizer},
    video::{Ingest, Settings},
};
use remotemedia_shm_schema::Codec;
use stream::{MS, PPS, SPS, Sender, VIDEO, picture, push, units};

fn payloads(codec: Codec, mtu: usize, unit: &[u8], keyframe: bool) -> Vec<Bytes> {
    let mut out = Vec::new();
    Packetizer::starting_at(codec, mtu, 0x7fff).packetize(unit, keyframe, &mut out);
    out
}

#[test]
fn vp8_payloads_carry_a_picture_id_that_goes_on_and_wraps() {
    let mut packetizer = Packetizer::starting_at(Codec::Vp8, MTU_PAYLOAD, 0x7ffe);
    for id in [0x7ffe, 0x7fff, 0, 1u16] {
        let mut out = Vec::new();
        packetizer.packetize(&picture(Codec::Vp8, 1, false, 3000), false, &mut out);
        assert_eq!(out.len(), 3);
        let [high, low] = (id | 0x8000).to_be_bytes();
        assert_eq!(out[0][..4], [0x90, 0x80, high, low]);
        assert_eq!(out[1][..4], [0x80, 0x80, high, low]);
        let sizes: Vec<_> = out.iter().map(Bytes::len).collect();
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 3, "{sizes:?}");
    }
}

#[test]
fn vp9_payloads_tell_what_libwebrtc_wants_to_know() {
    let key = payloads(Codec::Vp9, MTU_PAYLOAD, &picture(Codec::Vp9, 1, true, 2000), true);
    // I, L, B, V; id; layers; TL0PICIDX; one layer of 320x180 and a group of one with one reference.
    let header = [0xaa, 0xff, 0xff, 0, 0xff, 0x18, 1, 64, 0, 180, 1, 0x14, 1];
    assert_eq!(key[0][..13], header);
    assert_eq!(key[1][..5], [0xa4, 0xff, 0xff, 0, 0xff], "I, L, E");
    let delta = payloads(Codec::Vp9, MTU_PAYLOAD, &picture(Codec::Vp9, 1, false, 500), false);
    assert_eq!(delta.len(), 1);
    assert_eq!(delta[0][..5], [0xec, 0xff, 0xff, 0, 0xff], "I, P, L, B, E");
}

#[test]
fn h264_parameter_sets_travel_together_and_slices_in_fragments() {
    let key = payloads(Codec::H264, MTU_PAYLOAD, &picture(Codec::H264, 1, true, 2000), true);
    let lengths = [&[0x78, 0, 9][..], SPS, &[0, 4], PPS].concat();
    assert_eq!(key[0], lengths);
    assert_eq!((key.len(), &key[1][..2], &key[2][..2]), (3, &[0x7c, 0x85][..], &[0x7c, 0x45][..]));
    let delta = payloads(Codec::H264, MTU_PAYLOAD, &picture(Codec::H264, 1, false, 500), false);
    assert_eq!((delta.len(), delta[0][0]), (1, 0x41));
}

#[test]
fn h264_delimiters_and_fillers_and_odd_start_codes_do_not_reach_the_wire() {
    let unit = [
        &[0, 0, 0, 1, 9, 0xf0][..], // delimiter
        &[0, 0, 1],
        SPS,
        &[0, 0, 0, 0, 1], // zeros before a start code belong to it
        &[0x41, 0x9a, 1, 0, 0, 1],
        &[12, 0xff, 0xff, 0x80],
        &[0, 0, 1],
    ]
    .concat();
    let out = payloads(Codec::H264, MTU_PAYLOAD, &unit, false);
    assert_eq!(out, [SPS, &[0x41, 0x9a, 1]]);
    for nothing in [&[][..], &[0], &[0, 0, 1], &[0, 0, 0, 1], &[1, 2, 3, 4]] {
        assert!(payloads(Codec::H264, MTU_PAYLOAD, nothing, false).is_empty());
    }
}

#[test]
fn opus_goes_as_it_is() {
    assert_eq!(payloads(Codec::Opus, 64, &[7; 900], false), [Bytes::from(vec![7; 900])]);
}

#[test]
fn a_buffer_is_used_again_when_its_packets_are_gone() {
    let mut packetizer = Packetizer::new(Codec::Vp8, MTU_PAYLOAD);
    let mut places = std::collections::HashSet::new();
    for number in 0..100 {
        let mut out = Vec::new();
        packetizer.packetize(&picture(Codec::Vp8, number, false, 6000), false, &mut out);
        places.insert(out[0].as_ptr() as usize / (128 * 1024));
    }
    assert!(places.len() <= 3, "{} places", places.len());
}

#[test]
fn a_viewer_sees_one_stream_over_generations_and_sources() {
    let start = Start { ssrc: 9, sequence: 65_534, timestamp: u32::MAX - 3000 };
    let mut stream = Stream::new(Codec::Vp8, start);
    let mut last = None;
    let mut packets = 0u16;
    // Two sources take turns; the second one's media times lie 400 ms behind.
    for frame in 0..100u64 {
        let behind = if frame / 10 % 2 == 1 { 400 } else { 0 };
        let timestamp = stream.begin((10_000 + frame * 33 - behind) * MS, 33 * MS);
        for last in [false, false, true] {
            let header = stream.next(last);
            assert_eq!(header.sequence, 65_534u16.wrapping_add(packets));
            assert_eq!((header.timestamp, header.marker, header.ssrc), (timestamp, last, 9));
            packets += 1;
        }
        let step = last.map_or(1, |last| timestamp.wrapping_sub(last));
        assert!(step > 0 && step < 90 * 500, "frame {frame} steps by {step}");
        last = Some(timestamp);
    }
    assert_eq!(stream.packets(), 300);
}

#[test]
fn video_keeps_the_time_over_a_pause() {
    let mut stream = Stream::new(Codec::H264, Start { ssrc: 1, sequence: 0, timestamp: 1000 });
    assert_eq!(stream.begin(5000 * MS, 0), 1000);
    assert_eq!(stream.begin(65_000 * MS, 0), 1000 + 60 * 90_000);
    assert_eq!(stream.begin(65_000 * MS, 0), 1001 + 60 * 90_000, "a repeated frame is a later one");
}

#[test]
fn what_a_pacer_drops_leaves_no_hole_in_the_sequence() {
    let mut stream = Stream::new(Codec::Vp8, Start { ssrc: 1, sequence: 0, timestamp: 0 });
    let first = stream.begin(0, 0);
    let _dropped = stream.begin(33 * MS, 0);
    let third = stream.begin(66 * MS, 0);
    assert_eq!(stream.header(first, true).sequence, 0);
    let header = stream.header(third, true);
    assert_eq!((header.sequence, header.timestamp), (1, 5940));
}

#[test]
fn sound_counts_samples_and_follows_the_clock_only_over_a_hole() {
    let mut stream = Stream::new(Codec::Opus, Start { ssrc: 1, sequence: 0, timestamp: 0 });
    let mut media = 1000 * MS;
    for period in 0..1000u32 {
        // The media clock is being slewed: 20.1 ms for each 20.
        assert_eq!(stream.begin(media, 20 * MS), period * 960, "no seams");
        assert_eq!(stream.next(true).marker, period == 0, "only the first one after silence");
        media += 20 * MS + MS / 10;
    }
    stream.silence(media, 20 * MS);
    media += 20 * MS;
    assert_eq!(stream.begin(media, 20 * MS), 1001 * 960);
    let header = stream.next(true);
    assert_eq!((header.sequence, header.marker), (1000, true));
    // Half a second is missing.
    assert_eq!(stream.begin(media + 500 * MS, 20 * MS), 1001 * 960 + 24_000);
    // Another source, 300 ms behind: goes on.
    assert_eq!(stream.begin(media + 200 * MS, 20 * MS), 1002 * 960 + 24_000);
}

#[test]
fn reports_put_sound_and_picture_of_one_instant_together() {
    let mut sound = Stream::new(Codec::Opus, Start { ssrc: 1, sequence: 0, timestamp: 77 });
    let mut video =
        Stream::new(Codec::Vp8, Start { ssrc: 2, sequence: 0, timestamp: 4_294_967_000 });
    assert_eq!(sound.report(0, 0), None);
    let mut media = 2000 * MS;
    for _ in 0..500 {
        sound.begin(media, 20 * MS);
        media += 20 * MS + 4000; // 200 ppm off
    }
    video.begin(11_900 * MS, 33 * MS);
    // Whoever gets both reports takes an RTP time back to the wall clock, and to our line, by them.
    let (now, unix) = (12_345 * MS, 1_700_000_000_000_000_000);
    let (sound_ntp, sound_rtp) = sound.report(now, unix).unwrap();
    let (video_ntp, video_rtp) = video.report(now, unix).unwrap();
    assert_eq!(sound_ntp, video_ntp);
    let sound_last = 77 + 499 * 960;
    let video_last = 4_294_967_000u32;
    let back = |report: u32, last: u32, rate: u64| {
        now - u64::from(report.wrapping_sub(last)) * 1_000_000_000 / rate
    };
    let sound_at = back(sound_rtp, sound_last, 48_000);
    let video_at = back(video_rtp, video_last, 90_000);
    assert!(sound_at.abs_diff(media - 20 * MS - 4000) < MS / 10);
    assert!(video_at.abs_diff(11_900 * MS) < MS / 10);
}

#[test]
fn the_wall_clock_is_told_in_ntp() {
    assert_eq!(ntp_from_unix_ns(0), 2_208_988_800 << 32);
    assert_eq!(ntp_from_unix_ns(1_500_000_000), 2_208_988_801 << 32 | 0x8000_0000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packetized_comes_out_the_same_in_any_order_of_packets(
        codec in prop::sample::select(&VIDEO[..]),
        mtu in 64usize..1500,
        units_of in prop::collection::vec((any::<bool>(), 1usize..8000), 1..8),
        order in any::<u64>(),
    ) {
        let mut sender = Sender::new(codec);
        sender.packetizer = Packetizer::starting_at(codec, mtu, 0x7ffe);
        let mut ingest = Ingest::new(codec, Settings::default()).unwrap();
        let mut order = order | 1;
        for (number, (keyframe, len)) in units_of.into_iter().enumerate() {
            let (unit, mut packets) = sender.send(keyframe || number == 0, len);
            prop_assert!(packets.iter().all(|packet| packet.payload.len() <= mtu));
            prop_assert_eq!(packets.iter().filter(|packet| packet.marker).count(), 1);
            // Within what the beginning may be late by.
            for chunk in packets.chunks_mut(40) {
                for at in (1..chunk.len()).rev() {
                    order ^= order << 13;
                    order ^= order >> 7;
                    order ^= order << 17;
                    chunk.swap(at, (order % (at as u64 + 1)) as usize);
                }
            }
            let out = units(push(&mut ingest, sender.now(), packets));
            prop_assert_eq!(out.len(), 1);
            prop_assert_eq!(out[0].to_vec(), unit);
        }
    }

    #[test]
    fn any_bytes_are_packetized_without_a_panic_and_within_the_bound(
        codec in prop::sample::select(&VIDEO[..]),
        mtu in 0usize..300,
        unit in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0x67), any::<u8>()], 0..2000),
        keyframe: bool,
    ) {
        let out = payloads(codec, mtu, &unit, keyframe);
        prop_assert!(out.iter().all(|payload| !payload.is_empty() && payload.len() <= mtu.max(64)));
        if codec != Codec::H264 && !unit.is_empty() {
            prop_assert!(!out.is_empty());
        }
    }
}
