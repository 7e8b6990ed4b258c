//! Nodes that give pictures another size, or another order of pixels.

use crate::support::{Image, chain, id, pass, stored, through, try_chain};
use fast_image_resize::images::{Image as Theirs, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use proptest::prelude::*;
use remotemedia_pipeline_worker::graph::Passed;
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_shm_schema::{ColourRange, VideoGeometry};

#[test]
fn parameters_that_change_nothing_change_no_bit_and_hand_the_picture_on() {
    for (width, height) in [(320, 180), (319, 179), (1, 1), (2, 3)] {
        let input = Image::scene(VideoGeometry::i420(width, height));
        let size = format!(r#"{{"width":{},"height":{}}}"#, width.max(2), height.max(2));
        for (kind, params) in [
            ("Scale", "{}"),
            ("Scale", if width > 1 { size.as_str() } else { r#"{"fit":"cover"}"# }),
            ("Crop", "{}"),
            ("Crop", r#"{"width":8192,"height":8192}"#),
            ("Crop", r#"{"unit":"shares","width":1}"#),
            ("Mirror", r#"{"horizontal":false}"#),
            ("ColourAdjust", "{}"),
            ("FrameRate", "{}"),
        ] {
            let done = pass(&mut chain(&[("n", kind, params)]), &input);
            let same = (0..3).all(|p| done.image.plane(p) == input.plane(p));
            assert!(same, "{kind} {params} changes {width}x{height}");
            // The copy into the loan, and none besides.
            let whole: usize = (0..3).map(|p| input.plane(p).len()).sum();
            assert_eq!(done.copied, whole as u64, "{kind} {params}");
        }
    }
}

#[test]
fn a_scaled_picture_is_what_a_library_makes_of_it() {
    let input = Image::scene(VideoGeometry::i420(320, 180));
    for (width, height) in [(160, 90), (854, 480), (640, 360), (212, 118), (96, 300), (320, 90)] {
        let params = format!(r#"{{"width":{width},"height":{height},"fit":"stretch"}}"#);
        let output = through("Scale", &params, &input);
        assert_eq!((output.geometry.width, output.geometry.height), (width, height));
        for plane in 0..3 {
            let theirs = library(&input, plane, output.geometry.plane_size(plane));
            let ours = output.plane(plane);
            let worst = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // It rounds, and cuts off, between the two directions.
            assert!(worst <= 3, "{width}x{height}: plane {plane} is {worst} levels off");
            let psnr = psnr(&ours, &theirs);
            assert!(psnr > 48.0, "{width}x{height}: plane {plane} has {psnr} dB");
        }
    }
}

#[test]
fn colour_stays_with_what_it_colours_also_in_odd_sizes() {
    // Brightness and colour are the same function of the place: it must be the same place afterwards.
    let slope = |place: f64| 20.0 + 0.6 * place;
    let sizes: [((u16, u16), (u16, u16)); 3] =
        [((321, 181), (200, 100)), ((320, 180), (161, 91)), ((161, 91), (321, 181))];
    for (from, to) in sizes {
        let mut input = Image::blank(VideoGeometry::i420(from.0, from.1));
        input.fill(0, |x, _| slope(x as f64 + 0.5).round() as u8);
        input.fill(1, |x, _| slope(2.0 * x as f64 + 1.0).round() as u8);
        input.fill(2, |_, y| slope(2.0 * y as f64 + 1.0).round() as u8);
        let params = format!(r#"{{"width":{},"height":{},"fit":"stretch"}}"#, to.0, to.1);
        let output = through("Scale", &params, &input);
        let along = f64::from(from.0) / f64::from(to.0);
        let down = f64::from(from.1) / f64::from(to.1);
        for x in 8..usize::from(to.0) - 8 {
            let (is, meant) = (output.at(0, x, 20), slope((x as f64 + 0.5) * along));
            assert!((f64::from(is) - meant).abs() <= 1.5, "{from:?} to {to:?}: {is}, not {meant}");
        }
        for x in 4..usize::from(to.0) / 2 - 4 {
            let (is, meant) = (output.at(1, x, 10), slope((2.0 * x as f64 + 1.0) * along));
            assert!((f64::from(is) - meant).abs() <= 1.5, "{from:?} to {to:?}: {is}, not {meant}");
        }
        for y in 4..usize::from(to.1) / 2 - 4 {
            let (is, meant) = (output.at(2, 10, y), slope((2.0 * y as f64 + 1.0) * down));
            assert!((f64::from(is) - meant).abs() <= 1.5, "{from:?} to {to:?}: {is}, not {meant}");
        }
    }
}

#[test]
fn a_picture_is_contained_between_bars_of_the_ranges_own_black() {
    for (range, black) in [(ColourRange::Limited, 16), (ColourRange::Full, 0)] {
        let geometry = VideoGeometry { range, ..VideoGeometry::i420(320, 180) };
        let input = Image::flat(geometry, [200, 90, 160]);
        let output = through("Scale", r#"{"width":320,"height":320}"#, &input);
        assert_eq!(output.geometry.range, range);
        // (320 - 180) / 2 lines of bar above and below.
        for (plane, half, [is, bar]) in
            [(0, 1, [200, black]), (1, 2, [90, 128]), (2, 2, [160, 128])]
        {
            for (y, row) in output.picture().rows(plane).enumerate() {
                let inside = (70 / half..250 / half).contains(&y);
                let meant = if inside { is } else { bar };
                assert!(row.iter().all(|s| *s == meant), "plane {plane}, line {y}");
            }
        }
        let upright = through("Scale", r#"{"width":640,"height":90}"#, &input);
        for (sample, x) in upright.picture().rows(0).nth(45).unwrap().iter().zip(0..) {
            assert_eq!(*sample, if (240..400).contains(&x) { 200 } else { black });
        }
    }
}

#[test]
fn a_picture_that_covers_loses_the_same_on_both_sides() {
    let input = Image::scene(VideoGeometry::i420(320, 180));
    let covered = through("Scale", r#"{"width":180,"height":180,"fit":"cover"}"#, &input);
    let cropped = through("Crop", r#"{"x":70,"width":180}"#, &input);
    assert!((0..3).all(|p| covered.plane(p) == cropped.plane(p)));
    let low = through("Scale", r#"{"width":320,"height":90,"fit":"cover"}"#, &input);
    for (below, row) in low.picture().rows(0).enumerate() {
        assert_eq!(row, input.picture().rows(0).nth(45 + below).unwrap());
    }
}

#[test]
fn one_side_goes_with_the_other_and_stays_even() {
    for (from, params, to) in [
        ((1280, 720), r#"{"width":640}"#, (640, 360)),
        ((1280, 720), r#"{"height":480}"#, (854, 480)),
        ((720, 1280), r#"{"height":480}"#, (270, 480)),
        ((321, 181), r#"{"width":160}"#, (160, 90)),
        ((321, 181), r#"{"width":321}"#, (321, 181)),
        ((4000, 2), r#"{"width":100}"#, (100, 2)),
        ((64, 64), r#"{"width":33,"height":47}"#, (33, 47)),
    ] {
        let geometry = VideoGeometry::i420(from.0, from.1);
        let shape = chain(&[("s", "Scale", params)]).shape(Passed::default(), geometry).unwrap();
        assert_eq!((shape.width, shape.height), to, "{from:?} {params}");
    }
}

#[test]
fn a_crop_begins_at_even_pixels_and_goes_no_farther_than_the_edge() {
    let input = Image::scene(VideoGeometry::i420(319, 179));
    for (params, (x, y), (width, height)) in [
        (r#"{"x":10,"y":20,"width":100,"height":50}"#, (10, 20), (100, 50)),
        (r#"{"x":11,"y":21,"width":101,"height":51}"#, (10, 20), (102, 52)),
        (r#"{"x":300,"y":170,"width":100,"height":100}"#, (300, 170), (19, 9)),
        (r#"{"x":318,"y":178}"#, (318, 178), (1, 1)),
        (r#"{"width":1,"height":1}"#, (0, 0), (2, 2)),
        (r#"{"unit":"shares","x":0.5,"y":0.25,"width":0.25,"height":0.5}"#, (160, 44), (78, 90)),
    ] {
        let done = pass(&mut chain(&[("c", "Crop", params)]), &input);
        let output = done.image;
        assert_eq!((output.geometry.width, output.geometry.height), (width, height), "{params}");
        for plane in 0..3 {
            let half = if plane == 0 { 1 } else { 2 };
            for (below, row) in output.picture().rows(plane).enumerate() {
                for (along, sample) in row.iter().enumerate() {
                    let meant = input.at(plane, x / half + along, y / half + below);
                    assert_eq!(*sample, meant, "{params}: plane {plane} at {along}, {below}");
                }
            }
        }
        let bytes: usize = (0..3).map(|p| output.plane(p).len()).sum();
        assert_eq!(done.copied, bytes as u64);
    }
}

#[test]
fn a_crop_that_leaves_nothing_is_refused_by_the_parameters_or_with_the_picture() {
    let make = |params| try_chain(&[("c", "Crop", params)], &Registry::built_in());
    for (params, why) in [
        (r#"{"width":0}"#, "c.params: a width of 0 leaves nothing"),
        (r#"{"unit":"shares","x":1}"#, "c.params: x is 1, which leaves nothing"),
        (r#"{"unit":"shares","height":2}"#, "c.params: height is 2; a share is 0 to 1"),
    ] {
        assert_eq!(make(params).unwrap_err().to_string(), why);
    }
    let mut crop = make(r#"{"x":400}"#).unwrap();
    let small = VideoGeometry::i420(320, 180);
    let why = crop.shape(Passed::default(), small).unwrap_err().to_string();
    assert_eq!(why, "node c: it leaves nothing of a picture of 320x180");
    // While pictures come, a change is refused that they do not allow.
    crop.set(&id("c"), r#"{"x":100}"#).unwrap();
    let before = pass(&mut crop, &Image::scene(small)).image;
    let why = crop.set(&id("c"), r#"{"x":320}"#).unwrap_err().to_string();
    assert_eq!(why, "$.params: it leaves nothing of a picture of 320x180");
    assert_eq!(pass(&mut crop, &Image::scene(small)).image, before);
}

#[test]
fn a_size_for_which_the_channel_has_no_room_is_refused_at_once_where_it_is_known() {
    let room = VideoGeometry::i420(1280, 720).payload_len();
    let make = |nodes: &[(&str, &str, &str)]| {
        let chain = try_chain(nodes, &Registry::built_in());
        chain.and_then(|chain| chain.within(room))
    };
    let large = r#"{"width":1920,"height":1080}"#;
    let why = "s.params: it makes 1920x1080, which has 3110400 bytes; `max_video` leaves room for \
               1382400";
    assert_eq!(make(&[("s", "Scale", large)]).unwrap_err().to_string(), why);
    // Also on its way, for it would be memory and time all the same.
    let both = [("s", "Scale", large), ("c", "Crop", r#"{"width":100}"#)];
    assert_eq!(make(&both).unwrap_err().to_string(), why);
    let none = [("s", "Scale", r#"{"width":64,"height":64}"#), ("c", "Crop", r#"{"x":64}"#)];
    let fault = make(&none).unwrap_err().to_string();
    assert_eq!(fault, "c.params: it leaves nothing of a picture of 64x64");

    // One side alone tells it with the picture.
    let mut chain = make(&[("s", "Scale", r#"{"width":1280}"#)]).unwrap();
    assert!(chain.shape(Passed::default(), VideoGeometry::i420(640, 360)).is_ok());
    let why = chain.shape(Passed::default(), VideoGeometry::i420(360, 640)).unwrap_err();
    assert!(why.to_string().starts_with("node s: it makes 1280x2276, which has"), "{why}");
    pass(&mut chain, &Image::scene(VideoGeometry::i420(64, 36)));
    let fault = chain.set(&id("s"), r#"{"width":2000}"#).unwrap_err().to_string();
    assert!(fault.starts_with("$.params: it makes 2000x1126, which has"), "{fault}");
    let shape = chain.shape(Passed::default(), VideoGeometry::i420(64, 36)).unwrap();
    assert_eq!((shape.width, shape.height), (1280, 720));
}

#[test]
fn a_mirror_exchanges_sides_and_twice_it_changes_nothing() {
    for (width, height) in [(320, 180), (319, 179), (1, 1), (2, 1)] {
        let input = Image::scene(VideoGeometry::i420(width, height));
        for (params, along, down) in [
            ("{}", true, false),
            (r#"{"horizontal":false,"vertical":true}"#, false, true),
            (r#"{"vertical":true}"#, true, true),
        ] {
            let output = through("Mirror", params, &input);
            for plane in 0..3 {
                let (columns, rows) = input.geometry.plane_size(plane);
                let (columns, rows) = (columns as usize, rows as usize);
                for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                    let from_x = if along { columns - 1 - x } else { x };
                    let from_y = if down { rows - 1 - y } else { y };
                    assert_eq!(output.at(plane, x, y), input.at(plane, from_x, from_y));
                }
            }
            // The first of two reads one picture and writes another, the second works where it lies.
            let twice =
                pass(&mut chain(&[("a", "Mirror", params), ("b", "Mirror", params)]), &input);
            assert!((0..3).all(|p| twice.image.plane(p) == input.plane(p)), "{params}");
            assert_eq!(twice.copied, 0);
        }
    }
}

#[test]
fn parameters_speak_of_the_picture_as_it_is_shown_however_it_is_stored() {
    let shown = Image::scene(VideoGeometry::i420(160, 96));
    for (kind, params, allowed) in [
        ("Crop", r#"{"x":20,"y":10,"width":60,"height":30}"#, 0),
        ("Crop", r#"{"unit":"shares","x":0.5,"height":0.25}"#, 0),
        ("Mirror", "{}", 0),
        ("Mirror", r#"{"horizontal":false,"vertical":true}"#, 0),
        // Rows are summed before columns, whatever is up.
        ("Scale", r#"{"width":80}"#, 1),
        ("Scale", r#"{"width":100,"height":100}"#, 1),
        ("Scale", r#"{"width":100,"height":100,"fit":"cover"}"#, 1),
    ] {
        let meant = through(kind, params, &shown);
        for rotation in [0, 90, 180, 270] {
            let output = through(kind, params, &stored(&shown, rotation));
            let meant = stored(&meant, rotation);
            assert_eq!(output.geometry, meant.geometry, "{kind} {params} at {rotation}");
            for plane in 0..3 {
                let worst = output.worst(&meant, plane);
                assert!(worst <= allowed, "{kind} {params} at {rotation}: {worst} levels off");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_has_the_size_that_was_asked_for_and_lies_within_its_values(
        from in (1u16..=96, 1u16..=96),
        to in (2u16..=96, 2u16..=96),
        fit in prop_oneof![Just("contain"), Just("cover"), Just("stretch")],
        flat in any::<[u8; 3]>(),
    ) {
        let params = format!(r#"{{"width":{},"height":{},"fit":"{fit}"}}"#, to.0, to.1);
        let input = Image::flat(VideoGeometry::i420(from.0, from.1), flat);
        let output = through("Scale", &params, &input);
        prop_assert_eq!((output.geometry.width, output.geometry.height), to);
        prop_assert!(output.outside_untouched());
        for (plane, (is, bar)) in flat.into_iter().zip([16u8, 128, 128]).enumerate() {
            let samples = output.plane(plane);
            let known = |s: &u8| *s == is || (fit == "contain" && *s == bar);
            prop_assert!(samples.iter().all(known), "plane {}", plane);
            prop_assert!(samples.contains(&is), "plane {}", plane);
        }
    }
}

fn library(input: &Image, plane: usize, (width, height): (u32, u32)) -> Vec<u8> {
    let (columns, rows) = input.geometry.plane_size(plane);
    let packed = input.plane(plane);
    let from = ImageRef::new(columns, rows, &packed, PixelType::U8).unwrap();
    let mut to = Theirs::new(width, height, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize(&from, &mut to, &options).unwrap();
    to.into_vec()
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let mean = a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64;
    10.0 * (255.0f64.powi(2) / mean.max(1e-9)).log10()
}
