//! What a video track's ingest does on networks good and bad.

mod stream;

use bytes::Bytes;
use proptest::prelude::*;
use remotemedia_rtp::{
    Packet,
    video::{Ingest, NotVideo, Output, Settings},
};
use remotemedia_shm_schema::Codec;
use stream::{MS, PPS, SPS, Sender, VIDEO, drain, picture, push, run, units};

fn ingest(codec: Codec) -> Ingest {
    Ingest::new(codec, Settings::default()).expect("a video codec")
}

#[test]
fn pictures_on_a_clean_network_come_out_with_their_last_packet() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        for number in 0..200 {
            let (unit, packets) = sender.send(number == 0, 300 + number * 40);
            let (now, last) = (sender.now(), packets.len() - 1);
            for (index, packet) in packets.into_iter().enumerate() {
                let rtp_time = packet.timestamp;
                let out = units(push(&mut ingest, now + index as u64, [packet]));
                assert_eq!(out.len(), usize::from(index == last), "{codec}, picture {number}");
                let Some(out) = out.first() else { continue };
                assert_eq!(out.to_vec(), unit, "{codec}, picture {number}");
                assert_eq!(out.len(), unit.len());
                assert_eq!((out.rtp_time, out.first_arrival_ns), (rtp_time, now));
                assert_eq!((out.keyframe, out.discontinuity), (number == 0, false));
                assert_eq!(out.size, (number == 0).then_some((320, 180)), "{codec}");
            }
            assert_eq!(ingest.wake_at(), None, "nothing to wait for");
        }
        let stats = ingest.stats();
        assert_eq!((stats.units, stats.keyframes, stats.lost, stats.restarts), (200, 1, 0, 0));
        assert_eq!(ingest.buffered(), (0, 0));
    }
}

#[test]
fn sound_has_no_video_ingest() {
    assert_eq!(Ingest::new(Codec::Opus, Settings::default()).unwrap_err(), NotVideo(Codec::Opus));
}

#[test]
fn a_packet_that_is_sent_again_in_time_heals_the_picture() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        push(&mut ingest, 0, sender.send(true, 3000).1);
        let (unit, mut packets) = sender.send(false, 3000);
        let missing = packets.remove(1);
        assert_eq!(push(&mut ingest, 33 * MS, packets), []);
        let (later, packets) = sender.send(false, 500);
        assert_eq!(push(&mut ingest, 66 * MS, packets), [], "order is kept");
        assert_eq!(ingest.wake_at(), Some(133 * MS), "100 ms while the round trip is not known");
        let out = units(push(&mut ingest, 90 * MS, [missing]));
        assert_eq!(out.iter().map(|u| u.to_vec()).collect::<Vec<_>>(), [unit, later]);
        assert!(out.iter().all(|unit| !unit.discontinuity));
        assert_eq!(ingest.stats().recovered, 1);
    }
}

#[test]
fn a_packet_that_stays_away_is_given_up_and_a_keyframe_asked_for_once() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        push(&mut ingest, 0, sender.send(true, 3000).1);
        ingest.set_round_trip(20 * MS);
        let (_, mut packets) = sender.send(false, 3000);
        packets.remove(1);
        assert_eq!(push(&mut ingest, 33 * MS, packets), []);
        assert_eq!(ingest.wake_at(), Some(83 * MS), "1.5 round trips and 20 ms");
        assert_eq!(drain(&mut ingest, 82 * MS), []);
        assert_eq!(drain(&mut ingest, 83 * MS), [Output::KeyframeNeeded]);
        for time in 3..17 {
            assert_eq!(push(&mut ingest, time * 33 * MS, sender.send(false, 500).1), []);
        }
        assert_eq!(ingest.wake_at(), Some(583 * MS));
        assert_eq!(drain(&mut ingest, 583 * MS), [Output::KeyframeNeeded], "none came for 500 ms");
        let (unit, packets) = sender.send(true, 3000);
        let out = units(push(&mut ingest, 630 * MS, packets));
        assert_eq!((out[0].to_vec(), out[0].discontinuity), (unit, true));
        let out = units(push(&mut ingest, 660 * MS, sender.send(false, 500).1));
        assert!(!out[0].discontinuity);
        assert_eq!(ingest.stats().lost, 1);
        assert_eq!(ingest.stats().keyframe_requests, 2);
    }
}

#[test]
fn a_stream_that_stops_is_not_asked_for_keyframes_for_ever() {
    let (mut sender, mut ingest) = (Sender::new(Codec::Vp8), ingest(Codec::Vp8));
    let out = run(&mut ingest, sender.send(false, 100).1);
    assert_eq!(out.len(), 1, "one request, and no more to wake up for");
    assert_eq!(out[0].1, Output::KeyframeNeeded);
}

#[test]
fn a_keyframe_is_not_held_up_by_the_hole_before_it() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        push(&mut ingest, 0, sender.send(true, 100).1);
        sender.send(false, 100);
        push(&mut ingest, 66 * MS, sender.send(false, 100).1);
        assert_eq!(drain(&mut ingest, 166 * MS), [Output::KeyframeNeeded]);
        sender.send(false, 100);
        let (unit, packets) = sender.send(true, 3000);
        let out = units(push(&mut ingest, 200 * MS, packets));
        assert_eq!(
            out[0].to_vec(),
            unit,
            "{codec}: at once, though a picture before it is missing"
        );
        assert!(out[0].discontinuity);
    }
}

#[test]
fn lost_padding_costs_nothing_where_pictures_are_numbered() {
    for codec in [Codec::Vp8, Codec::Vp9] {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        push(&mut ingest, 0, sender.send(true, 3000).1);
        sender.padding();
        let (unit, packets) = sender.send(false, 500);
        assert_eq!(push(&mut ingest, 33 * MS, packets), []);
        let out = units(drain(&mut ingest, 133 * MS));
        assert_eq!((out[0].to_vec(), out[0].discontinuity), (unit, false));
    }
}

#[test]
fn padding_that_arrives_fills_its_place() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        push(&mut ingest, 0, sender.send(true, 3000).1);
        let padding = [sender.padding(), sender.padding()];
        assert_eq!(push(&mut ingest, MS, padding), []);
        assert_eq!(push(&mut ingest, 33 * MS, sender.send(false, 500).1).len(), 1);
        assert_eq!(ingest.stats().padding, 2);
    }
}

#[test]
fn a_lost_picture_that_nothing_needs_does_not_stop_the_others() {
    let (mut sender, mut ingest) = (Sender::new(Codec::Vp8), ingest(Codec::Vp8));
    push(&mut ingest, 0, sender.send(true, 100).1);
    let (_, mut packets) = sender.send(false, 2000);
    for packet in &mut packets {
        let mut payload = packet.payload.to_vec();
        payload[0] |= 0x20; // N: not a reference
        packet.payload = payload.into();
    }
    packets.pop();
    push(&mut ingest, 33 * MS, packets);
    let (unit, packets) = sender.send(false, 100);
    push(&mut ingest, 66 * MS, packets);
    let out = units(drain(&mut ingest, 200 * MS));
    assert_eq!((out[0].to_vec(), out[0].discontinuity), (unit, true));
}

#[test]
fn a_sender_that_forgets_the_marker_is_understood_one_picture_later() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        let mut sent = Vec::new();
        let mut out = Vec::new();
        for number in 0..10 {
            let (unit, mut packets) = sender.send(number == 0, 2000);
            packets.last_mut().unwrap().marker = false;
            sent.push(unit);
            out.extend(units(push(&mut ingest, number * 33 * MS, packets)));
        }
        assert_eq!(out.iter().map(|u| u.to_vec()).collect::<Vec<_>>(), sent[..9]);
    }
}

#[test]
fn another_ssrc_begins_anew_and_stragglers_of_the_old_one_do_not_disturb() {
    let (mut old, mut ingest) = (Sender::new(Codec::Vp8), ingest(Codec::Vp8));
    push(&mut ingest, 0, old.send(true, 100).1);
    let straggler = old.send(false, 100).1;
    let mut new = Sender::starting_at(Codec::Vp8, 7, 99);
    let other = |packets: Vec<Packet>| packets.into_iter().map(|p| Packet { ssrc: 2, ..p });
    let out = units(push(&mut ingest, 40 * MS, other(new.send(true, 100).1)));
    assert!(out[0].discontinuity);
    assert_eq!(push(&mut ingest, 41 * MS, straggler), []);
    assert_eq!(push(&mut ingest, 80 * MS, other(new.send(false, 100).1)).len(), 1);
    assert_eq!((ingest.stats().restarts, ingest.stats().late), (1, 1));
}

#[test]
fn a_jump_of_the_sequence_is_believed_with_the_second_packet() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        push(&mut ingest, 0, sender.send(true, 100).1);
        let mut sender = Sender::starting_at(codec, 30_000, 5);
        let (unit, packets) = sender.send(true, 3000);
        let out = units(push(&mut ingest, 33 * MS, packets));
        assert_eq!((out[0].to_vec(), out[0].discontinuity), (unit, true));
        assert_eq!(ingest.stats().restarts, 1);
    }
}

#[test]
fn a_single_packet_from_nowhere_is_not_believed() {
    let (mut sender, mut ingest) = (Sender::new(Codec::Vp8), ingest(Codec::Vp8));
    push(&mut ingest, 0, sender.send(true, 100).1);
    let mut stray = sender.send(false, 100).1;
    let next = Packet { ..stray[0].clone() };
    stray[0].sequence = stray[0].sequence.wrapping_add(20_000);
    assert_eq!(push(&mut ingest, 33 * MS, stray), []);
    assert_eq!(push(&mut ingest, 34 * MS, [next]).len(), 1);
}

#[test]
fn the_first_packets_may_come_in_any_order() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        let (unit, mut packets) = sender.send(true, 5000);
        packets.reverse();
        let out = units(push(&mut ingest, 0, packets));
        assert_eq!(out[0].to_vec(), unit);
        assert!(!out[0].discontinuity);
    }
}

#[test]
fn who_joins_in_the_middle_waits_for_a_keyframe_and_asks_for_it() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        sender.send(true, 100);
        let mut packets = sender.send(false, 5000).1;
        packets.remove(0);
        push(&mut ingest, 0, packets);
        assert_eq!(ingest.wake_at(), Some(20 * MS), "the beginning may be late");
        assert_eq!(drain(&mut ingest, 20 * MS), [Output::KeyframeNeeded]);
        assert_eq!(push(&mut ingest, 33 * MS, sender.send(false, 100).1), []);
        assert_eq!(push(&mut ingest, 66 * MS, sender.send(true, 100).1).len(), 1);
    }
}

#[test]
fn an_access_unit_above_the_bound_is_dropped_and_the_next_keyframe_goes_on() {
    for codec in VIDEO {
        let (mut sender, mut ingest) = (Sender::new(codec), ingest(codec));
        push(&mut ingest, 0, sender.send(true, 100).1);
        let mut out = Vec::new();
        for packet in sender.send(false, 600 * 1024).1 {
            out.extend(push(&mut ingest, 33 * MS, [packet]));
            assert!(ingest.buffered().1 <= 512 * 1024, "it is not collected in vain");
        }
        assert_eq!(out, [Output::KeyframeNeeded]);
        assert_eq!((ingest.stats().too_large, ingest.buffered()), (1, (0, 0)));
        let out = units(push(&mut ingest, 66 * MS, sender.send(true, 500 * 1024).1));
        assert!(out[0].discontinuity);
    }
}

#[test]
fn a_decoder_that_lost_its_state_gets_its_keyframe_asked_for_with_restraint() {
    let (mut sender, mut ingest) = (Sender::new(Codec::Vp8), ingest(Codec::Vp8));
    push(&mut ingest, 0, sender.send(true, 100).1);
    ingest.want_keyframe();
    assert_eq!(drain(&mut ingest, MS), [Output::KeyframeNeeded]);
    ingest.want_keyframe();
    assert_eq!(drain(&mut ingest, 2 * MS), []);
    assert_eq!(ingest.wake_at(), Some(501 * MS));
    assert_eq!(drain(&mut ingest, 501 * MS), [Output::KeyframeNeeded]);
}

#[test]
fn units_that_are_given_back_lend_their_memory_to_the_next() {
    let (mut sender, mut ingest) = (Sender::new(Codec::H264), ingest(Codec::H264));
    let first = units(push(&mut ingest, 0, sender.send(true, 9000).1)).remove(0);
    let text = first.to_vec();
    ingest.recycle(first);
    let second = units(push(&mut ingest, 33 * MS, sender.send(false, 100).1)).remove(0);
    assert_ne!(second.to_vec(), text);
    let mut short = [0; 4];
    assert_eq!(second.write_to(&mut short), 4);
    assert_eq!(short, [0, 0, 0, 1]);
}

#[test]
fn an_idr_picture_without_parameter_sets_gets_those_that_were_sent_before() {
    let (mut sender, mut ingest) = (Sender::new(Codec::H264), ingest(Codec::H264));
    let bare = |number| {
        let unit = picture(Codec::H264, number, true, 3000);
        unit[SPS.len() + PPS.len() + 8..].to_vec()
    };
    let out = push(&mut ingest, 0, sender.packets(&bare(0), true));
    assert_eq!(out, [], "it may be that their packet is late");
    assert_eq!(drain(&mut ingest, 20 * MS), [Output::KeyframeNeeded], "none are known");
    // On their own, with a marker of their own.
    let sets = [&[0, 0, 0, 1], SPS, &[0, 0, 0, 1], PPS].concat();
    assert_eq!(push(&mut ingest, 33 * MS, sender.packets(&sets, false)), []);
    for time in [66, 99] {
        let number = sender.number;
        let out = units(push(&mut ingest, time * MS, sender.packets(&bare(number), true)));
        assert_eq!(out[0].to_vec(), picture(Codec::H264, number, true, 3000));
        assert_eq!((out[0].keyframe, out[0].size), (true, Some((320, 180))));
    }
    // With its sequence set only.
    let number = sender.number;
    let half = [&[0, 0, 0, 1], SPS, &bare(number)].concat();
    let out = units(push(&mut ingest, 132 * MS, sender.packets(&half, true)));
    let whole = [&[0, 0, 0, 1], SPS, &[0, 0, 0, 1], PPS, &half].concat();
    assert_eq!(out[0].to_vec(), whole);
}

#[test]
fn kept_parameter_sets_are_not_trusted_where_newer_ones_may_be_lost() {
    let (mut sender, mut ingest) = (Sender::new(Codec::H264), ingest(Codec::H264));
    push(&mut ingest, 0, sender.send(true, 3000).1);
    let mut packets = sender.send(true, 3000).1;
    packets.remove(0); // the one with the sets
    push(&mut ingest, 33 * MS, packets);
    assert_eq!(drain(&mut ingest, 133 * MS), [Output::KeyframeNeeded]);
}

#[test]
fn a_vp9_picture_comes_out_only_with_all_its_spatial_layers() {
    let frame = |layer: u8, key: bool| match (layer, key) {
        (0, true) => picture(Codec::Vp9, 1, true, 50),
        (layer, _) => picture(Codec::Vp9, 10 + u32::from(layer), false, 1500),
    };
    // Flexible mode, with layer indices; the first packet has a structure of three layers with sizes.
    let packets = |first: u16, time: u32, key: bool| {
        let mut out = Vec::new();
        for layer in 0..3u8 {
            let frame = frame(layer, key);
            let parts: Vec<_> = frame.chunks(700).collect();
            for (index, part) in parts.iter().enumerate() {
                let (begins, ends) = (index == 0, index + 1 == parts.len());
                let told = key && layer == 0;
                let inter = !key;
                let mut payload = vec![
                    0xb0 | u8::from(inter) << 6
                        | u8::from(begins) << 3
                        | u8::from(ends) << 2
                        | u8::from(told) << 1,
                    0x80 | (time >> 8) as u8,
                    time as u8,
                    layer << 1 | u8::from(layer > 0),
                ];
                if inter {
                    payload.push(1 << 1);
                }
                if told {
                    payload.push(2 << 5 | 0x10);
                    for (w, h) in [(320u16, 180u16), (640, 360), (1280, 720)] {
                        payload.extend(w.to_be_bytes());
                        payload.extend(h.to_be_bytes());
                    }
                }
                payload.extend(*part);
                out.push(Packet {
                    ssrc: 1,
                    payload_type: 98,
                    sequence: first.wrapping_add(out.len() as u16),
                    timestamp: time * 3000,
                    marker: layer == 2 && ends,
                    payload: payload.into(),
                    arrival_ns: 0,
                });
            }
        }
        let whole = (0..3).flat_map(|layer| frame(layer, key)).collect::<Vec<u8>>();
        (whole, out)
    };
    let mut ingest = ingest(Codec::Vp9);
    let (whole, key) = packets(65_530, 1, true);
    let next = key.last().unwrap().sequence.wrapping_add(1);
    let out = units(push(&mut ingest, 0, key));
    assert_eq!((out[0].to_vec(), out[0].size), (whole, Some((1280, 720))));
    let (_, mut delta) = packets(next, 2, false);
    let end = delta.last().unwrap().sequence.wrapping_add(1);
    delta.retain(|packet| packet.payload[3] >> 1 != 1);
    assert_eq!(push(&mut ingest, 33 * MS, delta), []);
    push(&mut ingest, 66 * MS, packets(end, 3, false).1);
    assert_eq!(drain(&mut ingest, 170 * MS), [Output::KeyframeNeeded]);
}

#[test]
fn a_vp9_sender_that_never_sets_p_is_not_taken_to_send_keyframes_only() {
    let (mut sender, mut ingest) = (Sender::new(Codec::Vp9), ingest(Codec::Vp9));
    push(&mut ingest, 0, sender.send(true, 100).1);
    let mut packets = sender.send(false, 100).1;
    let mut payload = packets[0].payload.to_vec();
    payload[0] &= !0x40;
    packets[0].payload = payload.into();
    let out = units(push(&mut ingest, 33 * MS, packets));
    assert!(!out[0].keyframe);
}

#[test]
fn a_flood_stays_within_the_bounds() {
    let settings = Settings { max_packets: 100, max_bytes: 50_000, ..Settings::default() };
    for codec in VIDEO {
        let mut ingest = Ingest::new(codec, settings).unwrap();
        for number in 0..20_000u32 {
            // Every other packet is missing: nothing is ever whole.
            let packet = Packet {
                ssrc: 1,
                payload_type: 96,
                sequence: (number * 2) as u16,
                timestamp: number / 50,
                marker: false,
                payload: Bytes::from(picture(codec, number, number % 7 == 0, 1000)),
                arrival_ns: 0,
            };
            push(&mut ingest, 0, [packet]);
            let (places, bytes) = ingest.buffered();
            assert!(places <= 100 && bytes <= 50_000, "{places} places, {bytes} bytes");
        }
    }
}

#[test]
fn pictures_that_contradict_their_format_do_not_reach_the_decoder() {
    let vp9 = |flags: u8, layer: u8| vec![0xa0 | flags, 1, layer << 1, 7, 0x86, 1, 2];
    let cases: &[(Codec, &str, Vec<Vec<u8>>)] = &[
        (Codec::Vp8, "begins twice", vec![vec![0x10, 1, 0, 0], vec![0x10, 1, 0, 0]]),
        (Codec::Vp8, "cut off", vec![vec![0x10, 1, 0, 0], vec![0x80, 0x80, 0x80]]),
        (
            Codec::Vp8,
            "a keyframe without start code",
            vec![vec![0x10, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7]],
        ),
        (
            Codec::Vp8,
            "a keyframe of no width",
            vec![vec![0x10, 0, 0, 0, 0x9d, 1, 0x2a, 0, 0, 9, 0]],
        ),
        (Codec::Vp9, "never ends", vec![vp9(0x08, 0), vp9(0, 0)]),
        (Codec::Vp9, "begins twice", vec![vp9(0x08, 0), vp9(0x0c, 0)]),
        (Codec::Vp9, "goes on after its end", vec![vp9(0x0c, 0), vp9(0x04, 0)]),
        (Codec::Vp9, "layers backwards", vec![vp9(0x0c, 0), vp9(0x0c, 2), vp9(0x0c, 1)]),
        (Codec::Vp9, "changes layer", vec![vp9(0x08, 0), vp9(0x04, 1)]),
        (Codec::Vp9, "no base layer", vec![vp9(0x0c, 1)]),
        (Codec::Vp9, "no frame marker", vec![vec![0xac, 1, 0, 7, 0x46, 1, 2]]),
        (Codec::H264, "a fragment that never ends", vec![vec![0x7c, 0x81, 0xe0, 1]]),
        (Codec::H264, "a fragment that never began", vec![vec![0x41, 0xe0], vec![0x7c, 0x41, 1]]),
        (
            Codec::H264,
            "a unit between fragments",
            vec![vec![0x7c, 0x81, 0xe0], vec![0x41, 0xe0], vec![0x7c, 0x41, 1]],
        ),
        (Codec::H264, "fragments of two kinds", vec![vec![0x7c, 0x81, 0xe0], vec![0x7c, 0x45, 1]]),
        (Codec::H264, "an aggregate in an aggregate", vec![vec![0x18, 0, 2, 0x18, 1]]),
        (Codec::H264, "an aggregate cut off", vec![vec![0x41, 0xe0], vec![0x18, 0, 9, 0x41, 1]]),
        (Codec::H264, "an empty unit", vec![vec![0x41, 0xe0], vec![0x18, 0, 0, 0, 1, 6]]),
        (
            Codec::H264,
            "a mode that was not negotiated",
            vec![vec![0x41, 0xe0], vec![25, 0, 0, 1, 1]],
        ),
    ];
    for (codec, what, payloads) in cases {
        let (mut sender, mut ingest) = (Sender::new(*codec), ingest(*codec));
        push(&mut ingest, 0, sender.send(true, 100).1);
        let last = payloads.len() - 1;
        let packets = payloads.iter().enumerate().map(|(index, payload)| {
            let mut packet = sender.padding();
            (packet.payload, packet.marker) = (payload.clone().into(), index == last);
            packet.timestamp = packet.timestamp.wrapping_add(3000);
            packet
        });
        let packets: Vec<_> = packets.collect();
        assert_eq!(
            push(&mut ingest, 33 * MS, packets),
            [Output::KeyframeNeeded],
            "{codec}: {what}"
        );
        let stats = ingest.stats();
        assert!(stats.malformed + stats.undecodable > 0, "{codec}: {what}: {stats:?}");
        assert_eq!(
            push(&mut ingest, 66 * MS, sender.send(true, 100).1).len(),
            1,
            "{codec}: {what}"
        );
    }
}

/// A sent packet's fate: lost, or late by so many ms, or there twice.
fn fates(lossy: bool) -> impl Strategy<Value = Vec<(bool, u64, Option<u64>)>> {
    let lost = if lossy { prop::bool::weighted(0.03).boxed() } else { Just(false).boxed() };
    let twice = prop::option::weighted(0.05, 0..60u64);
    prop::collection::vec((lost, 0..19u64, twice), 400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_does_pictures_come_out_in_order_and_whole(
        codec in prop::sample::select(&VIDEO[..]),
        lossy: bool,
        seed in 0..2u8,
        frames in prop::collection::vec((prop::bool::weighted(0.1), 1usize..5000), 60),
        fates in fates(true),
    ) {
        let mut sender = if seed == 0 { Sender::new(codec) } else { Sender::starting_at(codec, 9, 9) };
        let (mut sent, mut network) = (Vec::new(), Vec::new());
        let mut fates = fates.into_iter().cycle();
        for (number, (keyframe, len)) in frames.into_iter().enumerate() {
            let keyframe = keyframe || number == 0;
            let (unit, packets) = sender.send(keyframe, len);
            sent.push((packets[0].timestamp, keyframe, unit));
            for packet in packets {
                let (lost, delay, twice) = fates.next().unwrap();
                let at = packet.arrival_ns;
                if lossy && lost {
                    continue;
                }
                if let Some(more) = twice {
                    network.push(Packet { arrival_ns: at + more * MS, ..packet.clone() });
                }
                network.push(Packet { arrival_ns: at + delay * MS, ..packet });
            }
        }
        let mut ingest = ingest(codec);
        let out = run(&mut ingest, network);
        let mut last: Option<usize> = None;
        for (_, output) in &out {
            let Output::Unit(unit) = output else { continue };
            let at = sent.iter().position(|(time, ..)| *time == unit.rtp_time).unwrap();
            prop_assert_eq!(&unit.to_vec(), &sent[at].2);
            prop_assert_eq!(unit.keyframe, sent[at].1);
            prop_assert!(last.is_none_or(|last| last < at), "in order");
            let follows = last.map_or(at == 0, |last| last + 1 == at);
            prop_assert!(follows || unit.keyframe, "picture {} cannot be decoded", at);
            prop_assert_eq!(unit.discontinuity && last.is_some(), !follows && last.is_some());
            last = Some(at);
        }
        if !lossy {
            prop_assert_eq!(out.len(), sent.len());
            prop_assert_eq!(ingest.buffered(), (0, 0), "nothing stays behind");
        }
        // Else a last picture whose end is lost, until something comes after it.
        prop_assert!(ingest.buffered().1 < 6000);
    }

    #[test]
    fn any_packets_are_taken_without_a_panic(
        codec in prop::sample::select(&VIDEO[..]),
        packets in prop::collection::vec(
            (any::<u16>(), 0..8u16, 0..4u32, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40), 0..50u64),
            0..200,
        ),
    ) {
        let mut ingest = ingest(codec);
        let (mut sequence, mut now) = (0u16, 0);
        for (jump, step, time, marker, payload, later) in packets {
            sequence = if step == 7 { jump } else { sequence.wrapping_add(step) };
            now += later * MS;
            let timestamp = u32::from(sequence / 4).wrapping_mul(time.wrapping_sub(1));
            let payload = payload.into();
            let packet = Packet { ssrc: 1, payload_type: 96, sequence, timestamp, marker, payload, arrival_ns: now };
            for output in push(&mut ingest, now, [packet]) {
                if let Output::Unit(unit) = output {
                    prop_assert_eq!(unit.to_vec().len(), unit.len());
                    prop_assert!(unit.len() > 0);
                }
            }
        }
    }
}

#[test]
fn every_short_packet_of_every_first_byte_is_taken_without_a_panic() {
    for codec in VIDEO {
        let mut ingest = ingest(codec);
        let mut sequence = 0u16;
        for first in 0..=255u8 {
            for second in [0, 1, 2, 0x1f, 0x45, 0x67, 0x80, 0x85, 0xff] {
                for len in 0..20usize {
                    let mut payload = vec![second; len];
                    if let Some(byte) = payload.first_mut() {
                        *byte = first;
                    }
                    let packet = Packet {
                        ssrc: 1,
                        payload_type: 96,
                        sequence,
                        timestamp: u32::from(sequence),
                        marker: true,
                        payload: payload.into(),
                        arrival_ns: 0,
                    };
                    sequence = sequence.wrapping_add(1);
                    push(&mut ingest, 0, [packet]);
                }
            }
        }
    }
}

#[test]
fn the_aggregate_that_the_stock_depacketizer_panics_on_is_counted() {
    let mut ingest = ingest(Codec::H264);
    let payload = Bytes::from_static(&[24, 0, 1, 0x65, 0]);
    let packet = Packet {
        ssrc: 1,
        payload_type: 96,
        sequence: 0,
        timestamp: 0,
        marker: true,
        payload,
        arrival_ns: 0,
    };
    assert_eq!(push(&mut ingest, 0, [packet]), []);
    assert_eq!(drain(&mut ingest, 20 * MS), [Output::KeyframeNeeded]);
    assert_eq!(ingest.stats().malformed, 1);
}
