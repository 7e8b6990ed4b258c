//! A returned track without a network: packets in, report out.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::{AudioEncoder, VideoEncoder};
use crate::picture::Picture;
use crate::source::{IvfReader, Sound, Video};
use crate::strip::{self, Code};
use crate::ticks;
use bytes::Bytes;
use remotemedia_rtp::packetize::{MTU_PAYLOAD, Packetizer};
use std::fs::File;

/// Encoded pictures 0 to `count`, each stamped with the time it is encoded at, as packets with their sequence numbers.
fn pictures(codec: Codec, count: u32, keyframes: &[u32]) -> Vec<Vec<Packet>> {
    let source = Video::pattern(320, 180);
    let mut encoder = VideoEncoder::new(codec, 500_000, 30, (320, 180)).unwrap();
    let mut packetizer = Packetizer::new(codec, MTU_PAYLOAD);
    let mut picture = Picture::black(320, 180);
    let mut sequence = 65_500u16;
    let units = (0..count).map(|n| {
        source.fill(u64::from(n), &mut picture);
        strip::stamp(&mut picture, Code::at(n, monotonic_ns()));
        let force = keyframes.contains(&n);
        let unit = encoder.encode(&picture, u64::from(n) * 33_333_333, force).unwrap().unwrap();
        let mut payloads: Vec<Bytes> = Vec::new();
        packetizer.packetize(unit.bytes, unit.keyframe, &mut payloads);
        let last = payloads.len() - 1;
        let packets = payloads.into_iter().enumerate().map(|(i, payload)| {
            sequence = sequence.wrapping_add(1);
            Packet {
                ssrc: 7,
                payload_type: 96,
                sequence,
                timestamp: n.wrapping_mul(3_000).wrapping_add(u32::MAX - 9_000),
                marker: i == last,
                payload,
                arrival_ns: monotonic_ns(),
            }
        });
        packets.collect()
    });
    units.collect()
}

fn show(
    packets: impl IntoIterator<Item = Packet>,
    codec: Codec,
    save: Option<PathBuf>,
) -> (VideoReport, Vec<Told>) {
    let (tell, mut told) = mpsc::channel(256);
    let mut track = Track::start(3, codec, save, tell);
    packets.into_iter().for_each(|packet| track.push(packet));
    let Outcome::Video(report) = track.finish() else { panic!("not a picture's track") };
    let said = std::iter::from_fn(|| told.try_recv().ok()).collect();
    (report, said)
}

#[test]
fn every_picture_of_each_codec_is_decoded_read_and_timed() {
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264] {
        let (report, told) = show(pictures(codec, 20, &[]).concat(), codec, None);
        assert_eq!((report.sent, report.received, report.unreadable), (20, 20, 0), "{codec}");
        assert_eq!((report.lost, report.out_of_order, report.duplicates), (0, 0, 0), "{codec}");
        assert_eq!((report.width, report.height), (Some(320), Some(180)));
        assert_eq!(report.codec, Some(codec.name()));
        assert!(report.latency_ms.p50.unwrap() > 0.0);
        assert!(told.iter().any(|t| matches!(t, Told::FirstPicture(at) if *at > 0)));
    }
}

#[test]
fn packets_that_overtake_each_other_cost_nothing() {
    let mut packets = pictures(Codec::Vp8, 20, &[]).concat();
    for pair in packets[1..].chunks_mut(2) {
        pair.reverse();
    }
    let (report, _) = show(packets, Codec::Vp8, None);
    assert_eq!((report.received, report.lost, report.out_of_order), (20, 0, 0));
}

#[test]
fn a_lost_picture_is_counted_and_a_keyframe_asked_for() {
    let mut units = pictures(Codec::H264, 20, &[12]);
    units.remove(5);
    let rest = units.split_off(11);
    let (tell, mut told) = mpsc::channel(256);
    let mut track = Track::start(3, Codec::H264, None, tell);
    units.concat().into_iter().for_each(|packet| track.push(packet));
    // It asks once the hole was waited for; the test waits for its question, not for a time.
    let asked = loop {
        match told.blocking_recv().unwrap() {
            Told::KeyframeWanted(number) => break number,
            Told::FirstPicture(_) => {}
        }
    };
    assert_eq!(asked, 3);
    rest.concat().into_iter().for_each(|packet| track.push(packet));
    let Outcome::Video(report) = track.finish() else { panic!("not a picture's track") };
    assert_eq!((report.received, report.lost, report.keyframes), (13, 7, 2), "{report:?}");
}

#[test]
fn what_came_is_saved_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("came.ivf");
    let (report, _) = show(pictures(Codec::Vp8, 12, &[]).concat(), Codec::Vp8, Some(path.clone()));
    assert_eq!(report.received, 12);
    let mut reader = IvfReader::new(File::open(&path).unwrap()).unwrap();
    assert_eq!((reader.codec(), reader.size(), reader.frames()), (Codec::Vp8, (320, 180), 12));
    let mut unit = Vec::new();
    let mut times = Vec::new();
    while let Some(time) = reader.next(&mut unit).unwrap() {
        times.push(time);
    }
    assert_eq!(times, (0..12).map(|n| n * 3_000).collect::<Vec<_>>(), "over the wrap of RTP time");
    assert_eq!(Video::clip(&path, None).unwrap().length(), Some(12));
}

/// Two seconds of ticks that end now, in packets of 20 ms.
fn sound(drop: impl Fn(u64) -> bool) -> Vec<Packet> {
    let ticks = Sound::ticks();
    let mut encoder = AudioEncoder::new(1, 32_000).unwrap();
    let first = ticks::sample_at(monotonic_ns()) - 96_000;
    let mut block = [0f32; 960];
    let packets = (0..100u64).map(|n| {
        ticks.fill(first + n * 960, &mut block);
        Packet {
            ssrc: 8,
            payload_type: 111,
            sequence: n as u16,
            timestamp: n as u32 * 960,
            marker: n == 0,
            payload: Bytes::copy_from_slice(encoder.encode(&block).unwrap()),
            arrival_ns: monotonic_ns(),
        }
    });
    packets.collect::<Vec<_>>().into_iter().filter(|p| !drop(u64::from(p.sequence))).collect()
}

fn play(packets: Vec<Packet>, save: Option<PathBuf>) -> AudioReport {
    let (tell, _told) = mpsc::channel(1);
    let mut track = Track::start(0, Codec::Opus, save, tell);
    packets.into_iter().for_each(|packet| track.push(packet));
    let Outcome::Audio(report) = track.finish() else { panic!("not sound's track") };
    report
}

#[test]
fn ticks_are_heard_and_the_sound_is_saved_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("came.wav");
    let report = play(sound(|_| false), Some(path.clone()));
    assert_eq!((report.received, report.lost), (100, 0), "{report:?}");
    assert!(report.ticks.received >= 18, "{report:?}");
    assert_eq!((report.ticks.lost, report.frame_ms), (0, 20));
    assert!(report.latency_ms.p50.is_some() && report.level > 0.02, "{report:?}");
    let saved = hound::WavReader::open(&path).unwrap();
    assert_eq!(saved.spec().channels, 1);
    assert!(saved.duration() >= 96_000, "{}", saved.duration());
}

#[test]
fn a_lost_packet_of_sound_is_concealed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("came.wav");
    let report = play(sound(|n| n == 50 || n == 70), Some(path.clone()));
    assert_eq!((report.received, report.lost), (98, 2), "{report:?}");
    // More when this machine stalls: then packets are late as well.
    assert!(report.concealed >= 2, "{report:?}");
    assert!(hound::WavReader::open(&path).unwrap().duration() >= 96_000, "no time is missing");
}
