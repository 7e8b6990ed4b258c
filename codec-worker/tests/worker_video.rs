//! Video tracks through the real worker in a process of its own: this program starts itself again as the worker.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod rig;
mod scene;

use remotemedia_codec_worker::{Planes, video_decoder, video_encoder};
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::{KeyframeReason, TaskKind};
use remotemedia_shm_schema::{Codec, Content, Flags, Stage, VideoGeometry};
use remotemedia_worker::Frame;
use rig::{MAX_RAW, decoding, dropped, encoding, meta, stages};
use scene::{FRAME_NS, VIDEO_CODECS, picture, psnr, video};

/// Not a story: what the others start. Run among them it has nothing to do.
#[test]
fn the_worker_of_these_stories() {
    rig::act();
}

fn luma(frame: &Frame, number: u32) -> f64 {
    let Content::Picture(geometry) = frame.meta().content else { panic!("a picture") };
    let shown = Planes::of_payload(&geometry, frame.payload()).unwrap();
    psnr(0, &picture(geometry.width, geometry.height, number).planes(), &shown)
}

#[test]
fn access_units_become_pictures_that_know_their_times() {
    for codec in VIDEO_CODECS {
        let mut rig = decoding(codec, MAX_RAW);
        assert_eq!(rig.catalogue.codecs, [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264]);
        let mut encoder = video_encoder(&video(codec, 800_000)).unwrap();
        let mut number = 0;
        let mut sent = 0;
        while sent < 30 {
            // One change of size on the way.
            let (width, height) = if number < 15 { (320, 180) } else { (174, 98) };
            let source = picture(width, height, number);
            let at = u64::from(number) * FRAME_NS;
            if let Some(unit) = encoder.encode(&source.planes(), at, false).unwrap() {
                let flags = if unit.keyframe() { Flags::KEYFRAME } else { Flags::default() };
                let before = meta(Content::Coded(codec), number, flags.with(Flags::MUTED));
                rig.send(before, &unit.to_vec());
                let frame = rig.receive();
                let after = frame.meta();
                assert_eq!(after.content, Content::Picture(VideoGeometry::i420(width, height)));
                assert_eq!(
                    (after.media_time_ns, after.duration_ns, after.rtp_time, after.source),
                    (before.media_time_ns, before.duration_ns, before.rtp_time, before.source)
                );
                assert_eq!(after.flags, Flags::MUTED, "kept, and nothing else: {codec}");
                assert_eq!(stages(&frame), [Stage::Received, Stage::Assembled, Stage::Decoded]);
                assert!(luma(&frame, number) > 25.0, "{codec} {number}");
                sent += 1;
            }
            number += 1;
        }
        let counters = rig.until(|counters| counters.published == 30);
        assert_eq!((counters.errors, counters.concealed), (0, 0));
        assert_eq!(counters.dropped, [0; 10]);
        let most = 30 * 320 * 180 * 3 / 2;
        assert!(counters.copied_bytes > 0 && counters.copied_bytes <= most, "one copy a picture");
        rig.end();
    }
}

#[test]
fn a_broken_stream_is_counted_waits_for_a_keyframe_and_goes_on() {
    for codec in VIDEO_CODECS {
        let mut rig = decoding(codec, MAX_RAW);
        let mut encoder = video_encoder(&video(codec, 800_000)).unwrap();
        let mut unit = |number: u32, force: bool| {
            let source = picture(320, 180, number);
            let unit = encoder.encode(&source.planes(), u64::from(number) * FRAME_NS, force);
            let unit = unit.unwrap().unwrap();
            let flags = if unit.keyframe() { Flags::KEYFRAME } else { Flags::default() };
            (meta(Content::Coded(codec), number, flags), unit.to_vec())
        };
        for number in 0..3 {
            let (meta, bytes) = unit(number, false);
            rig.send(meta, &bytes);
            drop(rig.receive());
        }
        // Rubbish where an access unit should be.
        let (meta, _) = unit(3, false);
        rig.send(meta, &[0x81; 100]);
        let counters = rig.until(|c| c.errors == 1);
        assert_eq!(dropped(&counters, DropReason::Corrupt), 1, "{codec}");
        for number in 4..7 {
            let (meta, bytes) = unit(number, false);
            rig.send(meta, &bytes);
            if codec == Codec::Vp8 {
                // It conceals: a likeness is better than nothing.
                assert!(luma(&rig.receive(), number) > 18.0);
            }
        }
        if codec != Codec::Vp8 {
            rig.until(|c| dropped(c, DropReason::AwaitingKeyframe) == 3);
            assert!(rig.waiting().is_none(), "{codec}: nothing is shown in between");
        }
        let (meta, bytes) = unit(7, true);
        rig.send(meta, &bytes);
        let frame = rig.receive();
        assert!(luma(&frame, 7) > 25.0, "{codec}");
        // VP8's first picture behind the gap said it already.
        let told = frame.meta().flags.contains(Flags::DISCONTINUITY);
        assert_eq!(told, codec != Codec::Vp8, "{codec}: {:?}", frame.meta().flags);
        drop(frame);
        let counters = rig.until(|c| c.published == if codec == Codec::Vp8 { 7 } else { 4 });
        assert_eq!(counters.errors, 1, "{codec}");
        assert!(rig.keyframes_wanted.contains(&KeyframeReason::Decoder), "{codec} asks");
        rig.end();
    }
}

#[test]
fn a_gap_that_the_router_tells_of_makes_the_decoder_ask_for_a_keyframe() {
    let mut rig = decoding(Codec::Vp8, MAX_RAW);
    let mut encoder = video_encoder(&video(Codec::Vp8, 800_000)).unwrap();
    for number in 0..6 {
        let source = picture(320, 180, number);
        let unit = encoder.encode(&source.planes(), u64::from(number) * FRAME_NS, false);
        let unit = unit.unwrap().unwrap();
        let flags = match number {
            0 => Flags::KEYFRAME,
            4 => Flags::DISCONTINUITY,
            _ => Flags::default(),
        };
        if number == 3 {
            rig.until(|counters| counters.published == 3);
            assert_eq!(rig.keyframes_wanted, []);
            continue; // lost
        }
        rig.send(meta(Content::Coded(Codec::Vp8), number, flags), &unit.to_vec());
        let frame = rig.receive();
        assert!(luma(&frame, number) > 18.0, "it goes on meanwhile");
        assert_eq!(frame.meta().flags.contains(Flags::DISCONTINUITY), number == 4);
    }
    rig.until(|counters| counters.published == 5);
    assert!(rig.keyframes_wanted.contains(&KeyframeReason::Decoder));
    rig.end();
}

#[test]
fn a_picture_over_the_sessions_limit_is_dropped_as_too_large_and_a_smaller_one_shown() {
    for codec in VIDEO_CODECS {
        let mut rig = decoding(codec, VideoGeometry::i420(320, 180).payload_len() as u32);
        let mut encoder = video_encoder(&video(codec, 800_000)).unwrap();
        for (number, width, height) in [(0, 320, 180), (1, 640, 360), (2, 640, 360), (3, 320, 180)]
        {
            let source = picture(width, height, number);
            let unit = encoder.encode(&source.planes(), u64::from(number) * FRAME_NS, false);
            let unit = unit.unwrap().unwrap();
            let flags = if unit.keyframe() { Flags::KEYFRAME } else { Flags::default() };
            rig.send(meta(Content::Coded(codec), number, flags), &unit.to_vec());
            match number {
                1 => drop(rig.until(|c| dropped(c, DropReason::TooLarge) == 1)),
                2 => drop(rig.until(|c| dropped(c, DropReason::AwaitingKeyframe) == 1)),
                _ => assert!(luma(&rig.receive(), number) > 25.0, "{codec}"),
            }
        }
        let counters = rig.until(|counters| counters.published == 2);
        assert_eq!(counters.errors, 0, "{codec}: nothing was broken");
        rig.end();
    }
}

#[test]
fn a_giant_frame_that_hides_behind_a_small_one_costs_its_unit_only() {
    let mut rig = decoding(Codec::Vp9, MAX_RAW);
    let mut encoder = video_encoder(&video(Codec::Vp9, 800_000)).unwrap();
    let mut unit = |number: u32| {
        let source = picture(320, 180, number);
        let unit = encoder.encode(&source.planes(), u64::from(number) * FRAME_NS, true);
        unit.unwrap().unwrap().to_vec()
    };
    let about = |number| meta(Content::Coded(Codec::Vp9), number, Flags::KEYFRAME);
    rig.send(about(0), &unit(0));
    drop(rig.receive());
    // libvpx decodes what stands behind a frame as the next: here a keyframe header of 8192x8192.
    let giant = [0x82, 0x49, 0x83, 0x42, 0x21, 0xff, 0xf1, 0xff, 0xf0, 0x00, 0x00, 0x04, 0x00];
    rig.send(about(1), &[unit(1).as_slice(), &giant, &[0x80; 64]].concat());
    rig.until(|counters| counters.errors == 1);
    rig.send(about(2), &unit(2));
    assert!(luma(&rig.receive(), 2) > 25.0);
    assert!(rig.limits().contains("Max data size             2147483648"), "{}", rig.limits());
    rig.end();
}

#[test]
fn pictures_become_access_units_and_viewers_share_a_keyframe() {
    for codec in VIDEO_CODECS {
        let mut rig = encoding(TaskKind::EncodeVideo(video(codec, 800_000)));
        let mut decoder = video_decoder(codec, MAX_RAW).unwrap();
        let mut keyframes = vec![];
        for number in 0..50u32 {
            // Two wishes at 5 and one at 8 are one keyframe, half a second after the first at 0.
            if [5, 6, 8].contains(&number) {
                rig.ask_for_a_keyframe();
                if number == 5 {
                    rig.ask_for_a_keyframe();
                }
            }
            let source = picture(320, 180, number);
            let before = meta(Content::Picture(source.geometry), number, Flags::default());
            rig.send(before, &source.bytes);
            let frame = rig.receive();
            let after = frame.meta();
            assert_eq!(after.content, Content::Coded(codec));
            assert_eq!(
                (after.media_time_ns, after.duration_ns, after.rtp_time, after.source),
                (before.media_time_ns, before.duration_ns, before.rtp_time, before.source)
            );
            assert_eq!(stages(&frame), [Stage::Received, Stage::Assembled, Stage::Encoded]);
            if after.flags.contains(Flags::KEYFRAME) {
                keyframes.push(number);
            }
            let shown = decoder.decode(frame.payload()).unwrap().unwrap();
            assert!(psnr(0, &source.planes(), &shown.picture) > 25.0);
        }
        assert_eq!(keyframes, [0, 16], "{codec}: 16 is the first picture at 500 ms or later");
        let counters = rig.until(|counters| counters.published == 50);
        assert_eq!((counters.errors, counters.keyframes), (0, 2));
        assert_eq!(counters.dropped, [0; 10]);
        rig.end();
    }
}

#[test]
fn an_encoder_is_told_another_rate_and_drops_what_does_not_fit() {
    let mut rig = encoding(TaskKind::EncodeVideo(video(Codec::Vp8, 1_500_000)));
    let mut bytes = [0usize; 2];
    for number in 0..120u32 {
        if number == 60 {
            rig.set_bitrate(100_000);
        }
        let source = picture(640, 360, number);
        rig.send(meta(Content::Picture(source.geometry), number, Flags::default()), &source.bytes);
        if number < 60 {
            bytes[0] += rig.receive().payload().len();
        } else {
            // A picture comes back, or is counted as dropped by rate control.
            let last = rig.until(|c| {
                c.received == u64::from(number) + 1
                    && c.published + dropped(c, DropReason::RateControl) == c.received
            });
            while let Some(frame) = rig.waiting() {
                bytes[1] += frame.payload().len();
            }
            if number == 119 {
                assert!(dropped(&last, DropReason::RateControl) > 0, "{last:?}");
                assert_eq!(last.errors, 0);
            }
        }
    }
    assert!(bytes[1] < bytes[0] / 4, "{bytes:?} in two seconds each");
    rig.end();
}

#[test]
fn a_size_that_the_codec_cannot_encode_is_an_error_of_that_frame_only() {
    let mut rig = encoding(TaskKind::EncodeVideo(video(Codec::H264, 500_000)));
    for (number, width, height) in [(0, 320, 180), (1, 8, 8), (2, 320, 180)] {
        let source = picture(width, height, number);
        rig.send(meta(Content::Picture(source.geometry), number, Flags::default()), &source.bytes);
        if number == 1 {
            rig.until(|c| c.errors == 1);
        } else {
            drop(rig.receive());
        }
    }
    rig.end();
}

#[test]
fn an_encoder_on_fresh_channels_begins_with_a_keyframe_at_once() {
    let mut rig = encoding(TaskKind::EncodeVideo(video(Codec::Vp8, 500_000)));
    let mut keyframes = vec![];
    for number in 0..8u32 {
        if number == 3 {
            rig.rewire();
        }
        let source = picture(320, 180, number);
        rig.send(meta(Content::Picture(source.geometry), number, Flags::default()), &source.bytes);
        if rig.receive().meta().flags.contains(Flags::KEYFRAME) {
            keyframes.push(number);
        }
    }
    assert_eq!(keyframes, [0, 3]);
    rig.end();
}

#[test]
fn a_decoder_on_fresh_channels_goes_on_from_the_next_keyframe() {
    let mut rig = decoding(Codec::Vp9, MAX_RAW);
    let mut encoder = video_encoder(&video(Codec::Vp9, 800_000)).unwrap();
    for number in 0..9u32 {
        if number == 4 {
            rig.rewire();
        }
        let source = picture(320, 180, number);
        let unit = encoder.encode(&source.planes(), u64::from(number) * FRAME_NS, number == 6);
        let unit = unit.unwrap().unwrap();
        let flags = if unit.keyframe() { Flags::KEYFRAME } else { Flags::default() };
        rig.send(meta(Content::Coded(Codec::Vp9), number, flags), &unit.to_vec());
        if !(4..6).contains(&number) {
            assert!(luma(&rig.receive(), number) > 25.0, "{number}");
        }
    }
    assert!(rig.waiting().is_none());
    rig.end();
}
