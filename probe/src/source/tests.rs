//! Clips of every kind come back as they were written, and loop without a jump.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::{AudioEncoder, VideoEncoder};
use crate::picture::{Picture, luma_psnr};
use crate::sink::Ivf;
use remotemedia_shm_schema::Codec;
use std::fs::File;
use std::path::Path;

/// A Y4M of pictures that each have one luma value.
fn y4m(path: &Path, width: usize, height: usize, values: &[u8]) {
    let rate = y4m::Ratio::new(25, 1);
    let mut encoder =
        y4m::encode(width, height, rate).write_header(File::create(path).unwrap()).unwrap();
    let chroma = vec![90u8; width.div_ceil(2) * height.div_ceil(2)];
    for &value in values {
        let luma = vec![value; width * height];
        encoder.write_frame(&y4m::Frame::new([&luma, &chroma, &chroma], None)).unwrap();
    }
}

fn first_pixel(video: &Video, number: u64) -> u8 {
    let mut picture = Picture::black(2, 2);
    video.fill(number, &mut picture);
    picture.plane(0).bytes[0]
}

#[test]
fn a_clip_loops_back_and_forth_without_showing_its_ends_twice() {
    assert_eq!(
        (0..9).map(|n| back_and_forth(n, 4)).collect::<Vec<_>>(),
        [0, 1, 2, 3, 2, 1, 0, 1, 2]
    );
    assert_eq!((0..3).map(|n| back_and_forth(n, 1)).collect::<Vec<_>>(), [0, 0, 0]);
    assert_eq!(back_and_forth(5, 0), 0);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.y4m");
    y4m(&path, 34, 18, &[20, 60, 100, 140]);
    let video = Video::clip(&path, None).unwrap();
    assert_eq!((video.size(), video.length()), ((34, 18), Some(4)));
    let shown: Vec<u8> = (0..8).map(|n| first_pixel(&video, n)).collect();
    assert_eq!(shown, [20, 60, 100, 140, 100, 60, 20, 60]);
}

#[test]
fn a_clip_of_odd_size_is_read_and_scaled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.y4m");
    y4m(&path, 33, 17, &[77]);
    let video = Video::clip(&path, Some((64, 48))).unwrap();
    let mut picture = Picture::black(2, 2);
    video.fill(0, &mut picture);
    assert_eq!((picture.width(), picture.height()), (64, 48));
    assert!(picture.plane(0).lines().flatten().all(|&p| p == 77));
    assert!(picture.plane(2).lines().flatten().all(|&p| p == 90));
    let again = video.at_size(33, 17).unwrap();
    assert_eq!(again.size(), (33, 17));
}

#[test]
fn an_ivf_of_vp8_and_vp9_is_decoded_to_what_was_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let pattern = Video::pattern(320, 180);
    for codec in [Codec::Vp8, Codec::Vp9] {
        let path = folder.path().join(format!("{codec}.ivf"));
        let mut ivf = Ivf::create(&path, codec, 320, 180).unwrap();
        let mut encoder = VideoEncoder::new(codec, 2_000_000, 30, (320, 180)).unwrap();
        let mut picture = Picture::black(320, 180);
        for n in 0..10 {
            pattern.fill(n, &mut picture);
            let unit = encoder.encode(&picture, n * 33_333_333, false).unwrap().unwrap();
            ivf.write(unit.bytes, n * 3_000).unwrap();
        }
        ivf.finish().unwrap();
        let video = Video::clip(&path, None).unwrap();
        assert_eq!((video.size(), video.length()), ((320, 180), Some(10)));
        let mut shown = Picture::black(320, 180);
        for n in 0..10 {
            pattern.fill(n, &mut picture);
            video.fill(n, &mut shown);
            let psnr = luma_psnr(&picture.plane(0), &shown.plane(0));
            assert!(psnr > 28.0, "{codec} picture {n}: {psnr} dB");
        }
    }
}

#[test]
fn sound_is_read_from_wav_of_any_depth_and_loops_back_and_forth() {
    let folder = tempfile::tempdir().unwrap();
    for (bits, scale) in [(16u16, 32_767.0f32), (24, 8_388_607.0)] {
        let path = folder.path().join(format!("{bits}.wav"));
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 48_000,
            bits_per_sample: bits,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for sample in [0.0f32, 0.25, 0.5, -0.75] {
            writer.write_sample((sample * scale) as i32).unwrap();
        }
        writer.finalize().unwrap();
        let sound = Sound::clip(&path).unwrap();
        let mut out = [0f32; 8];
        sound.fill(0, &mut out);
        for (got, expected) in out.iter().zip([0.0, 0.25, 0.5, -0.75, 0.5, 0.25, 0.0, 0.25]) {
            assert!((got - expected).abs() < 1e-3, "{bits} bits: {out:?}");
        }
    }
}

#[test]
fn sound_is_read_from_ogg_opus_without_the_codecs_delay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.opus");
    let mut encoder = AudioEncoder::new(1, 64_000).unwrap();
    let skip = encoder.look_ahead().unwrap() as u16;
    let mut writer = ogg::PacketWriter::new(File::create(&path).unwrap());
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend_from_slice(&skip.to_le_bytes());
    head.extend_from_slice(&48_000u32.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]);
    writer.write_packet(head, 1, ogg::PacketWriteEndInfo::EndPage, 0).unwrap();
    let tags = b"OpusTags\0\0\0\0\0\0\0\0".to_vec();
    writer.write_packet(tags, 1, ogg::PacketWriteEndInfo::EndPage, 0).unwrap();
    let tone = |n: usize| (n as f32 * std::f32::consts::TAU * 440.0 / 48_000.0).sin() * 0.5;
    for block in 0..50 {
        let samples: Vec<f32> = (block * 960..(block + 1) * 960).map(tone).collect();
        let packet = encoder.encode(&samples).unwrap().to_vec();
        let end = if block == 49 {
            ogg::PacketWriteEndInfo::EndStream
        } else {
            ogg::PacketWriteEndInfo::NormalPacket
        };
        writer.write_packet(packet, 1, end, (block as u64 + 1) * 960).unwrap();
    }
    drop(writer);
    let sound = Sound::clip(&path).unwrap();
    let mut out = vec![0f32; 24_000];
    sound.fill(0, &mut out);
    let error: f32 = (4_800..24_000).map(|n| (out[n] - tone(n)).powi(2)).sum::<f32>() / 19_200.0;
    assert!(error.sqrt() < 0.05, "differs by {} of 0.35", error.sqrt());
}

#[test]
fn what_cannot_be_sent_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let video = |path: &Path| Video::clip(path, None).unwrap_err().to_string();
    let sound = |path: &Path| Sound::clip(path).unwrap_err().to_string();
    assert!(video(Path::new("/nowhere.y4m")).contains("/nowhere.y4m"));
    assert!(video(&file("clip.mp4", b"")).contains(".y4m and .ivf"));
    assert!(video(&file("bad.y4m", b"YUV4MPEG")).contains("not a good Y4M"));
    assert!(video(&file("bad.ivf", &[0; 40])).contains("does not begin"));
    let mut av1 = [0u8; 32];
    av1[..12].copy_from_slice(b"DKIF\0\0\x20\0AV01");
    assert!(video(&file("av1.ivf", &av1)).contains("AV01"));
    let wide = file("422.y4m", b"YUV4MPEG2 W4 H4 F25:1 C422\nFRAME\n");
    assert!(video(&wide).contains("4:2:0"));
    assert!(sound(&file("bad.wav", b"RIFF")).contains("bad.wav"));
    assert!(sound(&file("bad.ogg", b"OggS")).contains("bad.ogg"));
    assert!(sound(&file("x.mp3", b"")).contains(".wav"));
    let path = folder.path().join("44.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 44_100,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    hound::WavWriter::create(&path, spec).unwrap().finalize().unwrap();
    assert!(sound(&path).contains("44100 Hz"));
}

#[test]
fn the_pattern_moves_and_has_detail_on_every_plane() {
    let pattern = Video::pattern(320, 180);
    let (mut one, mut two) = (Picture::black(2, 2), Picture::black(2, 2));
    pattern.fill(10, &mut one);
    pattern.fill(11, &mut two);
    for plane in 0..3 {
        let values: Vec<f64> = one.plane(plane).lines().flatten().map(|&p| f64::from(p)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let deviation =
            values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(deviation.sqrt() > 4.0, "plane {plane} is flat");
    }
    assert!(luma_psnr(&one.plane(0), &two.plane(0)) < 45.0, "it stands still");
    pattern.fill(10, &mut two);
    assert_eq!(one.bytes(), two.bytes(), "the same number is the same picture");
}
