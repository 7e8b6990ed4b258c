//! What a viewer sees of pictures that went through each video codec.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod scene;

use remotemedia_codec_worker::{
    DecodeError, Planes, VideoDecoder, VideoEncoder, bitstream, video_decoder, video_encoder,
};
use remotemedia_shm_schema::{Codec, VideoGeometry};
use scene::{FRAME_NS, MAX_RAW, VIDEO_CODECS, picture, psnr, video};

struct Call {
    encoder: Box<dyn VideoEncoder>,
    decoder: Box<dyn VideoDecoder>,
    codec: Codec,
    number: u32,
}

impl Call {
    fn new(codec: Codec, bitrate: u32) -> Self {
        Self {
            encoder: video_encoder(&video(codec, bitrate)).unwrap(),
            decoder: video_decoder(codec, MAX_RAW).unwrap(),
            codec,
            number: 0,
        }
    }

    /// The next picture's access unit, and whether it is a keyframe.
    fn encode(&mut self, width: u16, height: u16, force: bool) -> Option<(Vec<u8>, bool)> {
        let source = picture(width, height, self.number);
        self.number += 1;
        let at = u64::from(self.number) * FRAME_NS;
        let unit = self.encoder.encode(&source.planes(), at, force).unwrap()?;
        assert_eq!(unit.repacked(), 0, "our own layout is read in place");
        let said = bitstream::inspect(self.codec, &unit.to_vec()).unwrap();
        assert_eq!(said.keyframe, unit.keyframe(), "{} header and encoder agree", self.codec);
        Some((unit.to_vec(), unit.keyframe()))
    }

    /// Luma and worst chroma likeness of the last encoded picture to what the decoder shows for `unit`.
    fn show(&mut self, unit: &[u8], width: u16, height: u16) -> (f64, f64) {
        let source = picture(width, height, self.number - 1);
        let shown = self.decoder.decode(unit).unwrap().expect("each unit shows a picture");
        assert!(!shown.damaged);
        let even = self.codec == Codec::H264;
        let size = if even { (width & !1, height & !1) } else { (width, height) };
        assert_eq!((shown.picture.width(), shown.picture.height()), size);
        let chroma = psnr(1, &source.planes(), &shown.picture).min(psnr(
            2,
            &source.planes(),
            &shown.picture,
        ));
        (psnr(0, &source.planes(), &shown.picture), chroma)
    }
}

#[test]
fn a_moving_picture_comes_back_as_itself_at_any_size() {
    for codec in VIDEO_CODECS {
        for (width, height, bitrate) in [
            (320, 180, 600_000),
            (175, 97, 400_000),
            (321, 181, 600_000),
            (64, 34, 300_000),
            (1280, 720, 2_500_000),
        ] {
            let mut call = Call::new(codec, bitrate);
            let (mut shown, mut luma, mut chroma) = (0, 0.0, f64::MAX);
            for _ in 0..30 {
                let Some((unit, _)) = call.encode(width, height, false) else { continue };
                let (y, uv) = call.show(&unit, width, height);
                shown += 1;
                luma += y;
                chroma = chroma.min(uv);
            }
            luma /= f64::from(shown);
            eprintln!(
                "{codec} {width}x{height}: {shown} of 30 shown, luma {luma:.1}, chroma at least {chroma:.1} dB"
            );
            assert!(shown >= 25, "{codec} {width}x{height}: rate control dropped {}", 30 - shown);
            assert!(luma > 29.0, "{codec} {width}x{height}: luma {luma:.1} dB");
            assert!(chroma > 27.0, "{codec} {width}x{height}: chroma {chroma:.1} dB");
        }
    }
}

#[test]
fn a_keyframe_comes_exactly_when_it_is_asked_for() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 800_000);
        let keyframes: Vec<u32> = (0..200)
            .filter(|number| {
                let wanted = matches!(number, 31 | 32 | 150);
                call.encode(320, 180, wanted).is_some_and(|(_, keyframe)| keyframe)
            })
            .collect();
        assert_eq!(keyframes, [0, 31, 32, 150], "{codec}");
    }
}

#[test]
fn the_bitrate_follows_what_is_asked_without_a_keyframe() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 800_000);
        let rate = |call: &mut Call, frames: u32| {
            let mut bytes = 0;
            for _ in 0..frames {
                if let Some((unit, keyframe)) = call.encode(320, 180, false) {
                    assert!(!keyframe || call.number == 1, "{codec}");
                    bytes += unit.len();
                }
            }
            bytes as f64 * 8.0 * 30.0 / f64::from(frames)
        };
        rate(&mut call, 60);
        let high = rate(&mut call, 60);
        call.encoder.set_bitrate(250_000).unwrap();
        rate(&mut call, 60);
        let low = rate(&mut call, 60);
        call.encoder.set_bitrate(800_000).unwrap();
        rate(&mut call, 60);
        let again = rate(&mut call, 60);
        eprintln!(
            "{codec}: 800 -> {:.0}, 250 -> {:.0}, 800 -> {:.0} kb/s",
            high / 1e3,
            low / 1e3,
            again / 1e3
        );
        for (asked, got) in [(800e3, high), (250e3, low), (800e3, again)] {
            let ratio = got / asked;
            assert!((0.6..1.3).contains(&ratio), "{codec}: asked {asked}, got {got:.0}");
        }
    }
}

#[test]
fn a_bitrate_set_before_a_new_size_holds_at_the_new_size() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 2_000_000);
        call.encode(320, 180, false);
        call.encoder.set_bitrate(200_000).unwrap();
        let mut bytes = 0;
        for number in 0..120 {
            let unit = call.encode(240, 136, false);
            if number >= 60 {
                bytes += unit.map_or(0, |(unit, _)| unit.len());
            }
        }
        let rate = bytes * 8 / 2;
        assert!(rate < 280_000, "{codec}: {rate} b/s");
    }
}

#[test]
fn the_size_changes_up_and_down_in_mid_stream() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 1_500_000);
        // Growth beyond the first size, in one side and both, is what corrupted VP9's heap.
        let sizes = [
            (320, 180),
            (640, 360),
            (160, 90),
            (175, 97),
            (320, 240),
            (180, 320),
            (1280, 720),
            (320, 180),
            (1280, 720),
        ];
        for round in 0..2 {
            for (width, height) in sizes {
                let mut luma = 0.0;
                for number in 0..8 {
                    let Some((unit, keyframe)) = call.encode(width, height, false) else {
                        continue;
                    };
                    assert!(keyframe || number > 0, "{codec}: a new size begins with a keyframe");
                    luma = call.show(&unit, width, height).0;
                }
                assert!(luma > 23.0, "{codec} {width}x{height} in round {round}: {luma:.1} dB");
            }
        }
    }
}

#[test]
fn after_a_lost_frame_the_picture_recovers_at_the_next_keyframe() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 800_000);
        for _ in 0..10 {
            let (unit, _) = call.encode(320, 180, false).unwrap();
            call.show(&unit, 320, 180);
        }
        call.encode(320, 180, false); // lost
        for _ in 0..5 {
            let Some((unit, _)) = call.encode(320, 180, false) else { continue };
            let _ = call.decoder.decode(&unit);
        }
        let (unit, keyframe) = call.encode(320, 180, true).unwrap();
        assert!(keyframe);
        assert!(call.show(&unit, 320, 180).0 > 28.0, "{codec}");
        for _ in 0..5 {
            let Some((unit, _)) = call.encode(320, 180, false) else { continue };
            assert!(call.show(&unit, 320, 180).0 > 28.0, "{codec}");
        }
    }
}

#[test]
fn a_resilient_vp8_or_vp9_stream_goes_on_after_a_lost_frame_and_h264_does_not() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 800_000);
        for _ in 0..20 {
            let (unit, _) = call.encode(320, 180, false).unwrap();
            call.show(&unit, 320, 180);
        }
        call.encode(320, 180, false); // lost
        let source = picture(320, 180, call.number);
        let (unit, _) = call.encode(320, 180, false).unwrap();
        match (codec, call.decoder.decode(&unit)) {
            (Codec::H264, Err(DecodeError::Corrupt { .. })) => {}
            (Codec::H264, other) => panic!("h264 went on: {:?}", other.map(|p| p.is_some())),
            (_, shown) => {
                let luma = psnr(0, &source.planes(), &shown.unwrap().unwrap().picture);
                assert!(luma > 20.0, "{codec}: {luma:.1} dB after a lost frame");
            }
        }
    }
}

#[test]
fn half_a_frame_is_never_shown_as_whole() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 1_500_000);
        for _ in 0..5 {
            let (unit, _) = call.encode(320, 180, false).unwrap();
            call.show(&unit, 320, 180);
        }
        let (unit, _) = call.encode(320, 180, false).unwrap();
        let shown = call.decoder.decode(&unit[..unit.len() / 2]);
        assert!(
            shown.as_ref().map_or(true, |p| p.is_none_or(|p| p.damaged)),
            "{codec} shows half a frame as whole"
        );
    }
}

#[test]
fn pictures_are_read_in_place_whatever_their_strides() {
    for codec in VIDEO_CODECS {
        let mut packed = video_encoder(&video(codec, 600_000)).unwrap();
        let mut strided = video_encoder(&video(codec, 600_000)).unwrap();
        let mut odd = video_encoder(&video(codec, 600_000)).unwrap();
        for number in 0..10 {
            let source = picture(174, 98, number);
            let planes = source.planes();
            let at = u64::from(number) * FRAME_NS;
            // No gap between rows or planes.
            let tight: [Vec<u8>; 3] = std::array::from_fn(|plane| {
                (0..planes.plane_size(plane).1)
                    .flat_map(|row| planes.row(plane, row))
                    .copied()
                    .collect()
            });
            let tight_strides = [0, 1, 2].map(|plane| planes.plane_size(plane).0);
            let tight =
                Planes::new(174, 98, [&tight[0], &tight[1], &tight[2]], tight_strides).unwrap();
            // Rows far apart, garbage between them, the last row cut off behind its last pixel.
            let wide = spread(&planes, [311, 211, 211]);
            let wide =
                Planes::new(174, 98, [&wide[0], &wide[1], &wide[2]], [311, 211, 211]).unwrap();
            // U and V as no codec takes them.
            let uneven = spread(&planes, [200, 101, 157]);
            let uneven =
                Planes::new(174, 98, [&uneven[0], &uneven[1], &uneven[2]], [200, 101, 157])
                    .unwrap();
            let expected = packed.encode(&tight, at, false).unwrap().map(|unit| unit.to_vec());
            let unit = strided.encode(&wide, at, false).unwrap();
            assert_eq!(unit.as_ref().map_or(0, |u| u.repacked()), 0);
            assert_eq!(unit.map(|unit| unit.to_vec()), expected, "{codec} frame {number}");
            let unit = odd.encode(&uneven, at, false).unwrap();
            assert!(unit.as_ref().is_none_or(|u| u.repacked() > 0), "that copy is counted");
            assert_eq!(unit.map(|unit| unit.to_vec()), expected, "{codec} frame {number}");
        }
    }
}

fn spread(planes: &Planes<'_>, strides: [usize; 3]) -> [Vec<u8>; 3] {
    std::array::from_fn(|plane| {
        let (columns, rows) = planes.plane_size(plane);
        let mut memory: Vec<u8> =
            (0..strides[plane] * (rows - 1) + columns).map(|n| n as u8).collect();
        for row in 0..rows {
            memory[row * strides[plane]..][..columns].copy_from_slice(planes.row(plane, row));
        }
        memory
    })
}

#[test]
fn a_decoded_picture_is_laid_into_a_payload_of_its_geometry() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 400_000);
        let (unit, _) = call.encode(175, 97, false).unwrap();
        let shown = call.decoder.decode(&unit).unwrap().unwrap();
        let geometry = shown.picture.geometry();
        let mut payload = vec![0xAA; geometry.payload_len()];
        let copied = shown.picture.copy_into(&geometry, &mut payload).unwrap();
        let even = codec == Codec::H264;
        assert_eq!(copied, if even { 174 * 96 * 3 / 2 } else { 175 * 97 + 2 * 88 * 49 });
        let copy = Planes::of_payload(&geometry, &payload).unwrap();
        for plane in 0..3 {
            assert_eq!(psnr(plane, &copy, &shown.picture), 99.0);
        }
        assert!(shown.picture.copy_into(&geometry, &mut payload[..copied / 2]).is_err());
        let other = VideoGeometry::i420(176, 98);
        assert!(shown.picture.copy_into(&other, &mut vec![0; other.payload_len()]).is_err());
    }
}

#[test]
fn a_picture_over_the_limit_is_refused_before_it_takes_memory() {
    for codec in VIDEO_CODECS {
        let mut call = Call::new(codec, 1_000_000);
        let small = VideoGeometry::i420(320, 180).payload_len() as u32;
        call.decoder = video_decoder(codec, small).unwrap();
        let (unit, _) = call.encode(320, 180, false).unwrap();
        call.show(&unit, 320, 180);
        let (unit, _) = call.encode(640, 360, false).unwrap();
        assert!(matches!(call.decoder.decode(&unit), Err(DecodeError::TooLarge { .. })), "{codec}");
        let (unit, _) = call.encode(320, 180, false).unwrap();
        call.show(&unit, 320, 180);
    }
}

#[test]
fn h264_units_are_constrained_baseline_and_their_slices_fit_into_packets() {
    let mut call = Call::new(Codec::H264, 3_000_000);
    for number in 0..20 {
        let (unit, keyframe) = call.encode(640, 360, number == 10).unwrap();
        assert!(unit.starts_with(&[0, 0, 0, 1]));
        let nals: Vec<&[u8]> = unit
            .split(|_| false)
            .flat_map(|u| {
                let starts: Vec<usize> = u
                    .windows(3)
                    .enumerate()
                    .filter(|(_, w)| *w == [0, 0, 1])
                    .map(|(n, _)| n + 3)
                    .collect();
                let ends: Vec<usize> =
                    starts.iter().skip(1).map(|s| s - 3).chain([u.len()]).collect();
                starts.into_iter().zip(ends).map(move |(s, e)| &u[s..e]).collect::<Vec<_>>()
            })
            .collect();
        assert!(
            nals.iter().all(|nal| nal.len() <= 1200),
            "{:?}",
            nals.iter().map(|n| n.len()).max()
        );
        if keyframe {
            assert_eq!(nals[0][..3], [0x67, 0x42, 0xc0], "SPS of constrained baseline");
            assert_eq!(nals[1][0] & 0x1f, 8, "PPS");
        }
        assert_eq!(keyframe, number == 0 || number == 10);
    }
}

#[test]
fn times_that_stand_still_go_back_or_jump_do_not_confuse_rate_control() {
    for codec in VIDEO_CODECS {
        let mut encoder = video_encoder(&video(codec, 300_000)).unwrap();
        let mut at = 1_000_000_000_000u64;
        let mut sizes = vec![];
        for number in 0..240u32 {
            at = match number {
                30 => at,
                45 => at - 5_000_000_000,
                60 => at + 3_600_000_000_000,
                // A sender that pauses for three seconds, ten times.
                90.. if number % 15 == 0 => at + 3_000_000_000,
                _ => at + FRAME_NS,
            };
            let source = picture(320, 180, number);
            let unit = encoder.encode(&source.planes(), at, false).unwrap();
            sizes.push(unit.map_or(0, |unit| unit.len()));
        }
        let rate = sizes[30..].iter().sum::<usize>() * 8 / 7;
        let greatest = sizes[30..].iter().max().unwrap();
        eprintln!("{codec}: {rate} b/s by number of frames, greatest {greatest} bytes");
        assert!(rate < 390_000, "{codec}: {rate} b/s");
        assert!(*greatest < 14_000, "{codec}: a picture of {greatest} bytes behind a pause");
    }
}
