//! Sound tracks through the real worker in a process of its own: this program starts itself again as the worker.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod rig;
mod scene;

use remotemedia_codec_worker::sound::{self, OpusDecoder, OpusEncoder};
use remotemedia_shm_schema::contract::{DropReason, MAX_AUDIO_BLOCK};
use remotemedia_shm_schema::control::{AudioEncode, TaskKind};
use remotemedia_shm_schema::{AudioGeometry, Codec, Content, Flags, Meta, Stage};
use rig::{BEGIN_NS, Rig, decoding, dropped, encoding, meta, stages};
use scene::{audio, voice};

/// Not a story: what the others start. Run among them it has nothing to do.
#[test]
fn the_worker_of_these_stories() {
    rig::act();
}

/// 20 ms of sound as the router describes it.
fn period(number: u32, flags: Flags) -> Meta {
    let mut meta = meta(Content::Coded(Codec::Opus), number, flags);
    meta.media_time_ns = BEGIN_NS + u64::from(number) * 20_000_000;
    meta.duration_ns = 20_000_000;
    meta.rtp_time = number.wrapping_mul(960);
    meta
}

fn opus(settings: &AudioEncode, count: u32) -> Vec<Vec<u8>> {
    let mut encoder = OpusEncoder::new(settings).unwrap();
    (0..count as usize)
        .map(|number| {
            let mut packet = vec![0; sound::MAX_PACKET];
            let block = voice(settings.channels.into(), number * 960, 960);
            let len = encoder.encode(&block, &mut packet).unwrap();
            packet.truncate(len);
            packet
        })
        .collect()
}

fn loudness(block: &[f32]) -> f32 {
    (block.iter().map(|s| s * s).sum::<f32>() / block.len() as f32).sqrt()
}

#[test]
fn every_period_of_a_track_gives_a_block_whatever_came_in_it() {
    let mut rig = decoding(Codec::Opus, MAX_AUDIO_BLOCK);
    let packets = opus(&audio(2), 30);
    for number in 0..30u32 {
        let mut flags = match number {
            5 | 6 => Flags::LOST,
            10..=14 => Flags::SILENCE,
            _ => Flags::default(),
        };
        if number == 20 {
            flags = Flags::MUTED;
        }
        let payload: &[u8] = match number {
            5 | 6 | 10..=14 => &[],
            25 => &[0xff; 40], // not Opus
            _ => &packets[number as usize],
        };
        let before = period(number, flags);
        rig.send(before, payload);
        let frame = rig.receive();
        let after = frame.meta();
        let geometry = AudioGeometry { rate: 48_000, channels: 2, samples: 960 };
        assert_eq!(after.content, Content::Sound(geometry), "period {number}");
        assert_eq!(after.flags, if number == 20 { Flags::MUTED } else { Flags::default() });
        assert_eq!(
            (after.media_time_ns, after.duration_ns, after.rtp_time),
            (before.media_time_ns, 20_000_000, before.rtp_time)
        );
        assert_eq!(stages(&frame), [Stage::Received, Stage::Assembled, Stage::Decoded]);
        let block = frame.sound().unwrap();
        assert_eq!(block.len(), 1920);
        assert!(block.iter().all(|s| s.is_finite()));
        // What is made up right behind speech sounds like it.
        assert!(!(2..=9).contains(&number) || loudness(block) > 0.005, "period {number}");
    }
    let counters = rig.until(|counters| counters.published == 30);
    assert_eq!(counters.concealed, 3, "two lost and one broken; silence is not a loss");
    assert_eq!(counters.errors, 1);
    rig.end();
}

#[test]
fn a_lost_period_waits_for_the_next_packet_and_is_brought_back_by_it() {
    let settings = AudioEncode { bitrate: 40_000, fec: true, expected_loss: 20, ..audio(1) };
    let packets = opus(&settings, 40);
    let lost = (20..36).find(|n| sound::inspect(&packets[n + 1]).unwrap().fec).unwrap() as u32;
    let mut rig = decoding(Codec::Opus, MAX_AUDIO_BLOCK);
    let mut reference = OpusDecoder::new(1).unwrap();
    for number in 0..lost {
        rig.send(period(number, Flags::default()), &packets[number as usize]);
        reference.decode(&packets[number as usize], &mut [0.0; 960]).unwrap();
        drop(rig.receive());
    }
    rig.send(period(lost, Flags::LOST), &[]);
    rig.until(|counters| counters.received == u64::from(lost) + 1);
    assert!(rig.waiting().is_none(), "held for the next");
    let next = &packets[lost as usize + 1];
    rig.send(period(lost + 1, Flags::default()), next);
    let mut expected = [0.0; 960];
    reference.recover(next, &mut expected).unwrap();
    let back = rig.receive();
    assert_eq!(back.meta().media_time_ns, period(lost, Flags::default()).media_time_ns);
    assert_eq!(back.sound().unwrap(), expected, "recovered, not made up");
    reference.decode(next, &mut expected).unwrap();
    assert_eq!(rig.receive().sound().unwrap(), expected);
    // Of two in a row only the second can come back; the first is made up as soon as that is clear.
    rig.send(period(lost + 2, Flags::LOST), &[]);
    rig.send(period(lost + 3, Flags::LOST), &[]);
    assert_eq!(
        rig.receive().meta().media_time_ns,
        period(lost + 2, Flags::default()).media_time_ns
    );
    rig.send(period(lost + 4, Flags::SILENCE), &[]);
    drop(rig.receive());
    drop(rig.receive());
    let counters = rig.until(|counters| counters.published == u64::from(lost) + 5);
    assert_eq!((counters.concealed, counters.errors), (3, 0));
    rig.end();
}

#[test]
fn packets_that_the_channel_dropped_are_concealed() {
    let packets = opus(&audio(1), 20);
    let mut rig = decoding(Codec::Opus, MAX_AUDIO_BLOCK);
    for number in 0..5 {
        rig.send(period(number, Flags::default()), &packets[number as usize]);
        drop(rig.receive());
    }
    rig.halt();
    // Eight of them fit, so the first three are pushed out.
    for number in 5..16 {
        rig.send(period(number, Flags::default()), &packets[number as usize]);
    }
    rig.resume();
    let counters = rig.until(|counters| counters.published == 16);
    assert_eq!((counters.received, counters.concealed, counters.errors), (13, 3, 0));
    assert_eq!(dropped(&counters, DropReason::Overflow), 3);
    // The newest are there, in order.
    let mut times = vec![];
    while let Some(frame) = rig.waiting() {
        times.push(frame.meta().media_time_ns);
    }
    assert!(times.is_sorted());
    assert_eq!(times.last(), Some(&period(15, Flags::default()).media_time_ns));
    rig.end();
}

#[test]
fn a_track_that_turns_stereo_stays_stereo() {
    let mut rig = decoding(Codec::Opus, MAX_AUDIO_BLOCK);
    let (mono, stereo) = (opus(&audio(1), 3), opus(&audio(2), 3));
    let all = [&mono[0], &mono[1], &stereo[0], &mono[2], &stereo[1]];
    let widths: Vec<u8> = all
        .iter()
        .enumerate()
        .map(|(number, packet)| {
            rig.send(period(number as u32, Flags::default()), packet);
            match rig.receive().meta().content {
                Content::Sound(geometry) => geometry.channels,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(widths, [1, 1, 2, 2, 2]);
    rig.end();
}

/// A block of voice as a node publishes it.
fn block(begin: usize, samples: usize, channels: u8) -> (Meta, Vec<u8>) {
    let geometry = AudioGeometry { rate: 48_000, channels, samples: samples as u32 };
    let mut meta = meta(Content::Sound(geometry), 0, Flags::default());
    meta.media_time_ns = BEGIN_NS + begin as u64 * 1_000_000_000 / 48_000;
    meta.rtp_time = begin as u32;
    meta.duration_ns = geometry.duration_ns();
    let bytes =
        voice(channels.into(), begin, samples).iter().flat_map(|s| s.to_le_bytes()).collect();
    (meta, bytes)
}

#[test]
fn blocks_of_any_length_become_packets_without_a_gap() {
    for (samples, frame) in [
        (120, 120),
        (240, 240),
        (480, 480),
        (960, 960),
        (1920, 1920),
        (2880, 2880), // as they are
        (128, 480),
        (441, 480),
        (512, 480),
        (1024, 960),
        (4800, 960),
        (5760, 960), // gathered, or cut
    ] {
        for channels in [1u8, 2] {
            // One channel into an encoder of two, and the other way.
            let settings = AudioEncode { bitrate: 96_000, ..audio(3 - channels) };
            let mut rig = encoding(TaskKind::EncodeAudio(settings));
            let mut decoder = OpusDecoder::new(1).unwrap();
            let (mut sent, mut packets) = (0, 0usize);
            let mut heard = vec![];
            for _ in 0..(9600 / samples).max(4) {
                let (meta, bytes) = block(sent, samples, channels);
                rig.send(meta, &bytes);
                sent += samples;
                while packets < sent / frame {
                    let packet = rig.receive();
                    let meta = packet.meta();
                    assert_eq!(meta.content, Content::Coded(Codec::Opus));
                    assert_eq!(sound::inspect(packet.payload()).unwrap().samples, frame);
                    let begin = (packets * frame) as u64;
                    let expected = BEGIN_NS + begin * 1_000_000_000 / 48_000;
                    assert!(
                        meta.media_time_ns.abs_diff(expected) < 50_000,
                        "{samples}: packet {packets}"
                    );
                    assert_eq!(u64::from(meta.rtp_time), begin);
                    assert_eq!(meta.duration_ns, frame as u64 * 1_000_000_000 / 48_000);
                    let mut out = vec![0.0; frame];
                    decoder.decode(packet.payload(), &mut out).unwrap();
                    heard.extend(out);
                    packets += 1;
                }
            }
            assert!(rig.waiting().is_none());
            assert!(loudness(&heard) > 0.05, "{samples}");
            let counters = rig.until(|c| c.published == packets as u64);
            assert_eq!(counters.errors, 0);
            rig.end();
        }
    }
}

#[test]
fn silence_is_told_instead_of_sent_and_the_rate_changes() {
    let mut rig = encoding(TaskKind::EncodeAudio(AudioEncode { dtx: true, ..audio(1) }));
    let mut begin = 0;
    let mut send = |rig: &mut Rig, quiet: bool| {
        let (mut meta, mut bytes) = block(begin, 960, 1);
        begin += 960;
        if quiet {
            bytes.fill(0);
            // A node may say so without a payload.
            if begin % 1920 == 0 {
                bytes.clear();
                meta.flags = Flags::SILENCE;
            }
        }
        rig.send(meta, &bytes);
        let frame = rig.receive();
        assert_eq!(frame.meta().duration_ns, 20_000_000);
        assert_eq!(frame.meta().flags.contains(Flags::SILENCE), frame.payload().is_empty());
        frame.payload().len()
    };
    let loud: usize = (0..25).map(|_| send(&mut rig, false)).sum();
    let silent = (0..50).filter(|_| send(&mut rig, true) == 0).count();
    assert!(silent > 25, "{silent} of 50 periods of silence are told, not sent");
    rig.set_bitrate(12_000);
    for _ in 0..10 {
        send(&mut rig, false);
    }
    let low: usize = (0..25).map(|_| send(&mut rig, false)).sum();
    assert!(low < loud * 2 / 3, "{loud} bytes, then {low}");
    rig.end();
}
