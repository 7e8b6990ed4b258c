//! Generated moving pictures, tones, and how alike two of them are.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use remotemedia_codec_worker::Planes;
use remotemedia_codec_worker::sound::RATE;
use remotemedia_shm_schema::control::{AudioEncode, VideoEncode};
use remotemedia_shm_schema::{Codec, VideoGeometry};

pub const VIDEO_CODECS: [Codec; 3] = [Codec::Vp8, Codec::Vp9, Codec::H264];

/// Nanoseconds of a frame at 30 a second.
pub const FRAME_NS: u64 = 33_333_333;

/// Room for any picture of these tests.
pub const MAX_RAW: u32 = 4 << 20;

pub struct Picture {
    pub geometry: VideoGeometry,
    pub bytes: Vec<u8>,
}

impl Picture {
    pub fn planes(&self) -> Planes<'_> {
        Planes::of_payload(&self.geometry, &self.bytes).unwrap()
    }
}

/// A textured ground that pans, under a disc that goes its own way.
pub fn picture(width: u16, height: u16, number: u32) -> Picture {
    let geometry = VideoGeometry::i420(width, height);
    let mut bytes = vec![0; geometry.payload_len()];
    let (w, h) = (i64::from(width), i64::from(height));
    let n = i64::from(number);
    let (cx, cy) = (w / 2 + (n * 5) % (w / 3 + 1) - w / 6, h / 2 + (n * 3) % (h / 3 + 1) - h / 6);
    let radius = h.min(w) / 5;
    for (plane, place) in geometry.planes.iter().enumerate() {
        let (columns, rows) = geometry.plane_size(plane);
        let scale = if plane == 0 { 1 } else { 2 };
        for row in 0..i64::from(rows) {
            for column in 0..i64::from(columns) {
                let (x, y) = (column * scale, row * scale);
                let disc = (x - cx).pow(2) + (y - cy).pow(2) < radius * radius;
                let (gx, gy) = (x + n * 2, y + n);
                let texture = (gx / 8 * 7 + gy / 8 * 13) % 32;
                let value = match (plane, disc) {
                    (0, true) => 200 - (x - cx + y - cy) / 4 % 40,
                    (0, false) => 40 + texture * 2 + (gx / 3 + gy / 2) % 64,
                    (1, true) => 90,
                    (2, true) => 190,
                    (1, false) => 120 + gx / 16 % 16,
                    (_, _) => 120 + gy / 16 % 16,
                };
                bytes[place.offset as usize
                    + row as usize * place.stride as usize
                    + column as usize] = value.clamp(16, 235) as u8;
            }
        }
    }
    Picture { geometry, bytes }
}

/// Peak signal to noise ratio of a plane, in dB.
pub fn psnr(plane: usize, a: &Planes<'_>, b: &Planes<'_>) -> f64 {
    // H.264 leaves out the last column and row of an odd size.
    let (columns, rows) = {
        let (a, b) = (a.plane_size(plane), b.plane_size(plane));
        (a.0.min(b.0), a.1.min(b.1))
    };
    let mut sum = 0u64;
    for row in 0..rows {
        for (x, y) in a.row(plane, row)[..columns].iter().zip(&b.row(plane, row)[..columns]) {
            sum += u64::from(x.abs_diff(*y)).pow(2);
        }
    }
    let mse = sum as f64 / (columns * rows) as f64;
    if mse == 0.0 { 99.0 } else { 10.0 * (255.0 * 255.0 / mse).log10() }
}

pub fn video(codec: Codec, bitrate: u32) -> VideoEncode {
    VideoEncode { codec, bitrate, max_width: 1280, max_height: 720, frame_rate: 30 }
}

pub fn audio(channels: u8) -> AudioEncode {
    AudioEncode {
        bitrate: 48_000,
        channels,
        fec: false,
        expected_loss: 0,
        dtx: false,
        complexity: 5,
    }
}

/// Interleaved samples of something like speech: a new syllable of another pitch and colour every 70 ms.
pub fn voice(channels: usize, begin: usize, samples: usize) -> Vec<f32> {
    const SYLLABLE: usize = RATE as usize * 7 / 100;
    let mut out = Vec::with_capacity(samples * channels);
    for n in begin..begin + samples {
        let (syllable, within) = (n / SYLLABLE, n % SYLLABLE);
        let pitch = 110.0 + (syllable * 7919 % 13) as f32 * 17.0;
        let overtone = 2 + (syllable * 104_729 % 5);
        let t = within as f32 / RATE as f32;
        let phase = 2.0 * std::f32::consts::PI * pitch * t;
        let swell = (std::f32::consts::PI * within as f32 / SYLLABLE as f32).sin();
        let sample = swell
            * (0.25 * phase.sin()
                + 0.15 * (overtone as f32 * phase).sin()
                + 0.05 * (9.0 * phase).sin());
        for channel in 0..channels {
            out.push(sample * (1.0 - 0.3 * channel as f32));
        }
    }
    out
}

/// Signal to noise ratio in dB of `got` against `sent` (which begins `delay` samples a channel earlier).
pub fn snr(sent: &[f32], got: &[f32]) -> f64 {
    let signal: f64 = sent.iter().map(|s| f64::from(*s).powi(2)).sum();
    let noise: f64 =
        sent.iter().zip(got).map(|(s, g)| (f64::from(*s) - f64::from(*g)).powi(2)).sum();
    10.0 * (signal / noise.max(1e-12)).log10()
}
