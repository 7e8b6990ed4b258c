//! The code strip survives what a call does to a picture, and nothing else is taken for one.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::{VideoDecoder, VideoEncoder};
use crate::source::Video;
use remotemedia_shm_schema::Codec;

const CODECS: [Codec; 3] = [Codec::Vp8, Codec::Vp9, Codec::H264];

/// Sends stamped pictures through a codec, an effect and the codec again; how many came, and how many could be read.
fn read_through(
    codec: Codec,
    (width, height): (u16, u16),
    bitrate: u32,
    mut effect: impl FnMut(&mut Picture),
) -> (u32, u32) {
    let source = Video::pattern(width, height);
    let encoder = || VideoEncoder::new(codec, bitrate, 30, (width, height)).unwrap();
    let decoder = || VideoDecoder::new(codec).unwrap();
    let (mut first, mut second) = ((encoder(), decoder()), (encoder(), decoder()));
    let mut picture = Picture::black(width, height);
    let (mut came, mut read_right) = (0, 0);
    for n in 0..30u32 {
        source.fill(u64::from(n), &mut picture);
        let code = Code { number: 0x00ab_c000 + n, time: 0x1234_5678u32.wrapping_mul(n + 1) };
        assert!(stamp(&mut picture, code));
        let media_time = u64::from(n) * 33_333_333;
        for (pass, (encoder, decoder)) in [&mut first, &mut second].into_iter().enumerate() {
            let unit = encoder.encode(&picture, media_time, false).unwrap().unwrap();
            let bytes = unit.bytes.to_vec();
            assert!(decoder.decode(&bytes, &mut picture).unwrap().is_some());
            if pass == 0 {
                effect(&mut picture);
            }
        }
        came += 1;
        read_right += u32::from(read(&picture.plane(0)) == Some(code));
    }
    (came, read_right)
}

#[test]
fn a_code_is_read_after_two_codecs_at_a_starved_rate() {
    for codec in CODECS {
        assert_eq!(read_through(codec, (320, 180), 120_000, |_| ()), (30, 30), "{codec}");
    }
}

#[test]
fn a_code_is_read_after_a_gaussian_blur_of_sigma_2_at_180_lines() {
    for codec in CODECS {
        let came = read_through(codec, (320, 180), 200_000, |p| blur(p, 2.0));
        assert_eq!(came, (30, 30), "{codec}");
    }
}

#[test]
fn a_code_is_read_after_a_gaussian_blur_of_sigma_4_at_720_lines() {
    let came = read_through(Codec::Vp8, (1280, 720), 600_000, |p| blur(p, 4.0));
    assert_eq!(came, (30, 30));
}

#[test]
fn a_code_is_read_from_a_gray_picture() {
    for codec in CODECS {
        let came = read_through(codec, (320, 180), 200_000, |picture| {
            picture.plane_mut(1).fill(128);
            picture.plane_mut(2).fill(128);
        });
        assert_eq!(came, (30, 30), "{codec}");
    }
}

#[test]
fn the_layout_is_the_one_that_the_page_writes() {
    // Number 1, time 2: before the CRC only bit 40 (row 0, cell 23) and bit 9 (row 1, cell 22) are ones.
    let mut picture = Picture::black(320, 180);
    stamp(&mut picture, Code { number: 1, time: 2 });
    let luma = picture.plane(0);
    let cell =
        |row: usize, column: usize| luma.bytes[(row * 10 + 5) * luma.stride + column * 10 + 5];
    for column in 0..32 {
        let expected = if column == 23 { 235 } else { 16 };
        assert_eq!(cell(0, column), expected, "row 0, cell {column}");
    }
    for column in 0..24 {
        let expected = if column == 22 { 235 } else { 16 };
        assert_eq!(cell(1, column), expected, "row 1, cell {column}");
    }
    let crc = (24..32).fold(0u8, |bits, c| bits << 1 | u8::from(cell(1, c) == 235));
    assert_eq!(crc, crc8(&[0, 0, 1, 0, 0, 0, 2]));
    // The check value of CRC-8 with polynomial 7.
    assert_eq!(crc8(b"123456789"), 0xf4);
    assert_eq!(picture.plane(1).bytes[0], 128);
}

#[test]
fn one_wrong_cell_of_64_is_noticed() {
    let mut picture = Picture::black(640, 360);
    let code = Code { number: 12_345, time: 67_890 };
    for wrong in 0..64usize {
        stamp(&mut picture, code);
        assert_eq!(read(&picture.plane(0)), Some(code));
        let stride = picture.stride(0);
        let (top, left) = (wrong / 32 * 20, wrong % 32 * 20);
        for line in picture.plane_mut(0).chunks_mut(stride).skip(top).take(20) {
            line[left..left + 20].iter_mut().for_each(|p| *p = 251 - *p);
        }
        assert_eq!(read(&picture.plane(0)), None, "cell {wrong}");
    }
}

#[test]
fn pictures_without_a_strip_are_not_read() {
    assert_eq!(read(&Picture::black(320, 180).plane(0)), None);
    let mut picture = Picture::black(320, 180);
    let source = Video::pattern(320, 180);
    let mut mistaken = 0;
    for n in 0..1_000 {
        source.fill(n * 7, &mut picture);
        mistaken += u32::from(read(&picture.plane(0)).is_some());
    }
    // A CRC of eight bits lets one of 256 through.
    assert!(mistaken <= 20, "{mistaken} of 1000 pictures were taken for codes");
}

#[test]
fn a_picture_too_small_for_a_strip_is_left_alone_and_odd_sizes_are_not() {
    let mut small = Picture::black(100, 100);
    assert!(!stamp(&mut small, Code { number: 1, time: 1 }));
    assert_eq!(read(&small.plane(0)), None);
    let mut flat = Picture::black(1280, 60);
    assert!(!stamp(&mut flat, Code { number: 1, time: 1 }));
    let mut odd = Picture::black(321, 181);
    let code = Code { number: NUMBERS - 1, time: u32::MAX };
    assert!(stamp(&mut odd, code));
    assert_eq!(read(&odd.plane(0)), Some(code));
}

#[test]
fn the_age_of_a_code_is_right_over_the_wrap_of_its_clock_and_unknown_for_another_clock() {
    let wrap = (1u64 << 32) * UNIT_NS;
    for sent in [1_000_000_000, wrap - 5_000_000, 3 * wrap - 1] {
        let code = Code::at(9, sent);
        let age = code.age_ns(sent + 30_000_000).unwrap();
        assert!((30_000_000..30_000_000 + UNIT_NS).contains(&age), "{age}");
    }
    assert_eq!(Code::at(9, 60_000_000_000).age_ns(59_000_000_000), None);
}

/// A Gaussian of all planes, as an effect would blur: chroma at half the size with half the sigma.
fn blur(picture: &mut Picture, sigma: f64) {
    for plane in 0..3 {
        let sigma = if plane == 0 { sigma } else { sigma / 2.0 };
        let reach = (sigma * 3.0).ceil() as isize;
        let kernel: Vec<f64> =
            (-reach..=reach).map(|i| (-(i * i) as f64 / (2.0 * sigma * sigma)).exp()).collect();
        let total: f64 = kernel.iter().sum();
        let (columns, rows) = picture.size_of(plane);
        let stride = picture.stride(plane);
        let source: Vec<f64> =
            picture.plane(plane).lines().flatten().map(|&p| f64::from(p)).collect();
        let along = |from: &[f64], step_x: isize, step_y: isize| -> Vec<f64> {
            (0..columns * rows)
                .map(|at| {
                    let (x, y) = ((at % columns) as isize, (at / columns) as isize);
                    let sum: f64 = kernel
                        .iter()
                        .zip(-reach..=reach)
                        .map(|(weight, i)| {
                            let x = (x + i * step_x).clamp(0, columns as isize - 1) as usize;
                            let y = (y + i * step_y).clamp(0, rows as isize - 1) as usize;
                            weight * from[y * columns + x]
                        })
                        .sum();
                    sum / total
                })
                .collect()
        };
        let blurred = along(&along(&source, 1, 0), 0, 1);
        let lines = picture.plane_mut(plane).chunks_mut(stride);
        for (line, row) in lines.zip(blurred.chunks(columns)) {
            for (pixel, value) in line.iter_mut().zip(row) {
                *pixel = value.round() as u8;
            }
        }
    }
}
