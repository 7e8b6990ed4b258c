//! Milliseconds a frame that each codec takes on this machine, for a generated moving picture at 720p and for sound.
//!
//! Counted is this thread's processor time, so that other work on the machine does not count; where an encoder takes a
//! second thread (three cores and more, above 640x480) that one is not seen.
//!
//! `cargo run --release -p remotemedia-codec-worker --example speed [WIDTH HEIGHT [BITRATE]]`
#![allow(clippy::unwrap_used, reason = "a program to look at, not to rely on")]

#[path = "../tests/scene/mod.rs"]
mod scene;

use nix::time::{ClockId, clock_gettime};
use remotemedia_codec_worker::sound::{MAX_PACKET, OpusDecoder, OpusEncoder};
use remotemedia_codec_worker::{video_decoder, video_encoder};
use scene::{FRAME_NS, VIDEO_CODECS, audio, picture, psnr, video, voice};
use std::time::Duration;

const FRAMES: usize = 300;

fn main() {
    let arguments: Vec<u32> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let at = |index: usize, default: u32| arguments.get(index).copied().unwrap_or(default);
    let (width, height, bitrate) = (at(0, 1280) as u16, at(1, 720) as u16, at(2, 1_500_000));
    println!("{width}x{height} at {bitrate} b/s, {FRAMES} frames; median and greatest in ms");
    // Forth and back, so that it never jumps.
    let pictures: Vec<_> = (0..30).map(|n| picture(width, height, n)).collect();
    for codec in VIDEO_CODECS {
        let mut encoder = video_encoder(&video(codec, bitrate)).unwrap();
        let mut decoder = video_decoder(codec, 64 << 20).unwrap();
        let (mut encode, mut decode, mut copy) = (vec![], vec![], vec![]);
        let (mut bytes, mut dropped, mut luma) = (0, 0, 0.0);
        for number in 0..FRAMES {
            let step = number % 58;
            let source = &pictures[if step < 30 { step } else { 58 - step }];
            let begin = now();
            let unit = encoder.encode(&source.planes(), number as u64 * FRAME_NS, false).unwrap();
            encode.push(now() - begin);
            let Some(unit) = unit else {
                dropped += 1;
                continue;
            };
            let unit = unit.to_vec();
            bytes += unit.len();
            let begin = now();
            let shown = decoder.decode(&unit).unwrap().unwrap();
            decode.push(now() - begin);
            let geometry = shown.picture.geometry();
            let mut payload = vec![1; geometry.payload_len()];
            let begin = now();
            shown.picture.copy_into(&geometry, &mut payload).unwrap();
            copy.push(now() - begin);
            luma += psnr(0, &source.planes(), &shown.picture);
        }
        let rate = bytes as f64 * 8.0 * 30.0 / FRAMES as f64 / 1000.0;
        let luma = luma / (FRAMES - dropped) as f64;
        println!(
            "{codec:5} encode {} decode {} copy {}  {rate:.0} kb/s, {luma:.1} dB, {dropped} dropped",
            told(encode),
            told(decode),
            told(copy),
        );
    }
    for channels in [1u8, 2] {
        let mut encoder = OpusEncoder::new(&audio(channels)).unwrap();
        let mut decoder = OpusDecoder::new(channels).unwrap();
        let (mut encode, mut decode) = (vec![], vec![]);
        let mut packet = [0; MAX_PACKET];
        let mut block = vec![0.0; 960 * usize::from(channels)];
        for number in 0..FRAMES {
            let sound = voice(channels.into(), number * 960, 960);
            let begin = now();
            let len = encoder.encode(&sound, &mut packet).unwrap();
            encode.push(now() - begin);
            let begin = now();
            decoder.decode(&packet[..len], &mut block).unwrap();
            decode.push(now() - begin);
        }
        println!(
            "opus  20 ms, {channels} channel(s): encode {} decode {}",
            told(encode),
            told(decode)
        );
    }
}

fn now() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

fn told(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |d: &Duration| d.as_secs_f64() * 1000.0;
    let (median, greatest) = (ms(&times[times.len() / 2]), ms(times.last().unwrap()));
    format!("{median:.2} ({greatest:.2})")
}
