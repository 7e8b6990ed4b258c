//! Nodes that change what colours there are.

use crate::support::{Image, chain, id, pass, through, try_chain};
use proptest::prelude::*;
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_shm_schema::{ColourMatrix, ColourRange, VideoGeometry};

#[test]
fn brightness_and_contrast_count_by_the_ranges_own_black_and_white() {
    let (limited, full) = (ColourRange::Limited, ColourRange::Full);
    for (range, params, is, becomes) in [
        (limited, r#"{"brightness":1}"#, 16, 235),
        (limited, r#"{"brightness":-1}"#, 235, 16),
        (limited, r#"{"brightness":0.2}"#, 16, 60),
        (full, r#"{"brightness":0.2}"#, 0, 51),
        (limited, r#"{"contrast":3}"#, 100, 49),
        (full, r#"{"contrast":3}"#, 100, 45),
        (limited, r#"{"contrast":0}"#, 16, 126),
        (full, r#"{"contrast":0}"#, 255, 128),
        (limited, r#"{"gamma":2}"#, 71, 126),
        (full, r#"{"gamma":0.5}"#, 128, 64),
        // Beyond black and white there is nothing more.
        (limited, r#"{"contrast":2}"#, 255, 235),
        (limited, r#"{"gamma":2}"#, 0, 16),
    ] {
        let geometry = VideoGeometry { range, ..VideoGeometry::i420(32, 16) };
        let output = through("ColourAdjust", params, &Image::flat(geometry, [is, 70, 200]));
        assert!(output.plane(0).iter().all(|y| *y == becomes), "{range:?} {params}");
        // Light is not colour.
        assert_eq!((output.at(1, 3, 3), output.at(2, 3, 3)), (70, 200));
    }
}

#[test]
fn saturation_and_hue_turn_colours_about_grey_and_leave_light_alone() {
    for (params, becomes) in [
        (r#"{"saturation":0}"#, [128, 128]),
        (r#"{"saturation":0.5}"#, [118, 158]),
        (r#"{"saturation":2}"#, [88, 240]),
        (r#"{"hue":180}"#, [148, 68]),
        (r#"{"hue":-180}"#, [148, 68]),
        // A quarter from U's axis to V's.
        (r#"{"hue":90}"#, [68, 108]),
    ] {
        let input = Image::flat(VideoGeometry::i420(31, 15), [7, 108, 188]);
        let output = through("ColourAdjust", params, &input);
        assert_eq!([output.at(1, 0, 0), output.at(2, 15, 7)], becomes, "{params}");
        // Also where it is no light of this range.
        assert_eq!(output.plane(0), input.plane(0), "{params}");
    }
    // Red towards yellow: BT.601's are 90, 240 and 16, 146.
    let red = Image::flat(VideoGeometry::i420(16, 16), [81, 90, 240]);
    let orange = through("ColourAdjust", r#"{"hue":30}"#, &red);
    assert!((16..90).contains(&orange.at(1, 0, 0)) && orange.at(2, 0, 0) > 146);
}

#[test]
fn a_changed_parameter_and_a_changed_range_are_seen_with_the_next_picture() {
    let mut adjust = chain(&[("a", "ColourAdjust", r#"{"contrast":0}"#)]);
    let limited = Image::flat(VideoGeometry::i420(16, 16), [50, 128, 128]);
    let range = ColourRange::Full;
    let full = Image::flat(VideoGeometry { range, ..limited.geometry }, [50, 128, 128]);
    assert_eq!(pass(&mut adjust, &limited).image.at(0, 0, 0), 126);
    assert_eq!(pass(&mut adjust, &full).image.at(0, 0, 0), 128);
    adjust.set(&id("a"), r#"{"brightness":0.5}"#).unwrap();
    assert_eq!(pass(&mut adjust, &full).image.at(0, 0, 0), 255);
    let why = adjust.set(&id("a"), r#"{"gamma":0}"#).unwrap_err().to_string();
    assert_eq!(why, "$.params.gamma: is 0; allowed is 0.1 to 10");
    assert_eq!(pass(&mut adjust, &full).image.at(0, 0, 0), 255);
}

#[test]
fn a_green_screen_becomes_the_background_and_the_person_stays_as_they_are() {
    let params = r##"{"background":"#0000ff","spill":0}"##;
    // Green, red and blue, by the definitions of both matrices.
    for (matrix, [green, red, blue]) in [
        (ColourMatrix::Unspecified, [[145, 54, 34], [81, 90, 240], [41, 240, 110]]),
        (ColourMatrix::Bt601, [[145, 54, 34], [81, 90, 240], [41, 240, 110]]),
        (ColourMatrix::Bt709, [[173, 42, 26], [63, 102, 240], [32, 240, 118]]),
    ] {
        for (width, height) in [(96, 64), (97, 65)] {
            let geometry = VideoGeometry { matrix, ..VideoGeometry::i420(width, height) };
            let mut input = Image::flat(geometry, green);
            for (plane, value) in red.into_iter().enumerate() {
                let half = if plane == 0 { 1 } else { 2 };
                let person =
                    |x: usize, y: usize| (32 / half..64 / half).contains(&x) && y >= 24 / half;
                let behind = green[plane];
                input.fill(plane, |x, y| if person(x, y) { value } else { behind });
            }
            let output = through("ChromaKey", params, &input);
            for (plane, (red, blue)) in red.into_iter().zip(blue).enumerate() {
                let half = if plane == 0 { 1 } else { 2 };
                for (y, row) in output.picture().rows(plane).enumerate() {
                    for (x, sample) in row.iter().enumerate() {
                        // In pixels of luma; those next to the edge are in between.
                        let (x, y) = (x * half, y * half);
                        if (36..60).contains(&x) && y >= 28 {
                            assert_eq!(*sample, red, "{matrix:?} {plane} {x} {y}");
                        } else if !(28..68).contains(&x) || y < 20 {
                            assert_eq!(*sample, blue, "{matrix:?} {plane} {x} {y}");
                        }
                    }
                }
            }
            // The two pixels beside an edge are mixed, each of what it was and what is behind it.
            let row = output.picture().rows(0).nth(50).unwrap();
            for (x, was) in [(31, green), (32, red), (63, red), (64, green)] {
                let (least, most) = (was[0].min(blue[0]), was[0].max(blue[0]));
                assert!(least < row[x] && row[x] < most, "{matrix:?} {x}: {}", row[x]);
            }
        }
    }
}

#[test]
fn light_of_the_key_does_not_matter_its_neighbours_go_in_part_and_its_tint_goes_from_the_rest() {
    let of = |params: &str, yuv| {
        let output = through("ChromaKey", params, &Image::flat(VideoGeometry::i420(32, 32), yuv));
        [output.at(0, 9, 9), output.at(1, 4, 4), output.at(2, 4, 4)]
    };
    let white = r##"{"background":"#ffffff"}"##;
    assert_eq!(of(white, [40, 54, 34]), [235, 128, 128]);
    assert_eq!(of(white, [220, 54, 34]), [235, 128, 128]);
    // Halfway between what goes and what stays: 0.5 and 0.125 of 120 levels from the key, towards grey.
    let half = of(r##"{"background":"#ffffff","spill":0}"##, [40, 96, 87]);
    assert!((120..160).contains(&half[0]), "{half:?}");
    // Grey in green light.
    assert_eq!(of(r#"{"spill":0}"#, [120, 118, 116]), [120, 118, 116]);
    let clean = of(r#"{"spill":1}"#, [120, 118, 116]);
    assert!(clean[1].abs_diff(128) <= 1 && clean[2].abs_diff(128) <= 1, "{clean:?}");
    // What is tinted otherwise stays.
    assert_eq!(of(r#"{"spill":1}"#, [81, 90, 240]), [81, 90, 240]);
    // No similarity, no smoothness: the key alone.
    let alone = r##"{"similarity":0,"smoothness":0,"spill":0,"background":"#ffffff"}"##;
    assert_eq!(of(alone, [100, 54, 34]), [235, 128, 128]);
    assert_eq!(of(alone, [100, 55, 34]), [100, 55, 34]);
}

#[test]
fn a_key_is_a_colour_and_a_colour_is_six_digits() {
    let refused = |params: &str| {
        let chain = try_chain(&[("k", "ChromaKey", params)], &Registry::built_in());
        chain.unwrap_err().to_string()
    };
    assert_eq!(
        refused(r##"{"key":"#808080"}"##),
        "k.params: the key #808080 is next to grey, which is everywhere"
    );
    for text in ["green", "#0f0", "#00ff0g", "#+0ff00", "00ff00", "#00ff00 ", "", "#äöü"] {
        let why = refused(&serde_json::json!({"background": text}).to_string());
        assert_eq!(why, format!("k.params: `{text}` is no colour; green is `#00ff00`"));
    }
    let why = "k.params.key: must be a text, and is the number 255";
    assert_eq!(refused(r#"{"key":255}"#), why);
    let params = Registry::built_in().make("ChromaKey", r##"{"key":"#00B140"}"##).unwrap().params();
    assert_eq!(params["key"], "#00b140");
}

#[test]
fn letters_have_the_colour_that_is_asked_for() {
    let input = Image::scene(VideoGeometry::i420(640, 360));
    let of = |colour: &str| {
        let params = serde_json::json!({"show": "text", "text": "Hello", "colour": colour});
        through("Overlay", &params.to_string(), &input)
    };
    let (white, red) = (of("#ffffff"), of("#ff0000"));
    assert!(white.plane(0).contains(&235) && !red.plane(0).contains(&235));
    let dots = |image: &Image, plane: usize, value: u8| -> usize {
        let of = |picture: &Image| picture.plane(plane).iter().filter(|s| **s == value).count();
        of(image) - of(&white).min(of(image))
    };
    // Dots of two pixels: as many samples of chroma as a quarter of the pixels.
    let pixels = dots(&red, 0, 81);
    assert!(pixels > 100);
    for (plane, value) in [(1, 90), (2, 240)] {
        let samples = dots(&red, plane, value);
        assert!(samples.abs_diff(pixels / 4) <= 8, "{samples} of {pixels}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn nothing_goes_beyond_the_range(
        (brightness, contrast, gamma) in (-1.0f32..=1.0, 0.0f32..=4.0, 0.1f32..=10.0),
        (saturation, hue) in (0.0f32..=4.0, -180.0f32..=180.0),
        yuv in any::<[u8; 3]>(),
    ) {
        let params = serde_json::json!({
            "brightness": brightness, "contrast": contrast, "gamma": gamma,
            "saturation": saturation, "hue": hue,
        });
        let input = Image::flat(VideoGeometry::i420(16, 16), yuv);
        let output = through("ColourAdjust", &params.to_string(), &input);
        let lights = (brightness, contrast, gamma) != (0.0, 1.0, 1.0);
        prop_assert!(!lights || (16..=235).contains(&output.at(0, 5, 5)));
        let colours = (saturation, hue) != (1.0, 0.0);
        for plane in [1, 2] {
            prop_assert!(!colours || (16..=240).contains(&output.at(plane, 3, 3)));
        }
    }
}
