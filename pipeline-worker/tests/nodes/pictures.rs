//! Nodes over pictures.

use crate::support::{Image, Noise, chain, pass, through};
use remotemedia_shm_schema::VideoGeometry;

#[test]
fn a_passthrough_gives_the_same_picture_and_tells_that_it_copied_it_once() {
    let input = Image::scene(VideoGeometry::i420(320, 180));
    let done = pass(&mut chain(&[("p", "Passthrough", "{}")]), &input);
    assert!((0..3).all(|plane| done.image.plane(plane) == input.plane(plane)));
    assert_eq!(done.copied, 320 * 180 * 3 / 2);
}

#[test]
fn a_blur_takes_detail_and_keeps_brightness_and_colour() {
    let input = Image::scene(VideoGeometry::i420(320, 180));
    let mut before = input.detail();
    for sigma in ["0.5", "1", "2", "4", "8", "20", "50"] {
        let output = through("GaussianBlur", &format!(r#"{{"sigma":{sigma}}}"#), &input);
        assert!(output.detail() < before * 0.8, "sigma {sigma} leaves {}", output.detail());
        before = output.detail();
        for plane in 0..3 {
            let shift = output.mean(plane) - input.mean(plane);
            assert!(shift.abs() < 0.6, "sigma {sigma} shifts plane {plane} by {shift}");
        }
    }
}

#[test]
fn a_blur_is_the_gaussian_that_it_says() {
    // Noise and hard edges: what an approximation fails at.
    for (width, height) in [(200, 150), (64, 64), (17, 9), (1, 1), (130, 2)] {
        let mut input = Image::scene(VideoGeometry::i420(width, height));
        let mut noise = Noise(3);
        input.fill(0, |x, y| {
            if (x / 5 + y / 9) % 2 == 0 { 235 } else { (16.0 + 16.0 * (noise.next() + 1.0)) as u8 }
        });
        for sigma in [0.3, 1.0, 2.5, 3.5, 4.0, 7.0, 15.0, 50.0] {
            let output = through("GaussianBlur", &format!(r#"{{"sigma":{sigma}}}"#), &input);
            for (plane, sigma) in [(0, sigma), (1, sigma / 2.0)] {
                let (w, h) = input.geometry.plane_size(plane);
                let exact = gaussian(&input.plane(plane), w as usize, h as usize, sigma);
                let worst = exact
                    .iter()
                    .zip(output.plane(plane))
                    .fold(0.0f64, |worst, (exact, got)| worst.max((exact - f64::from(got)).abs()));
                // In an odd size the halved picture's last column counts twice.
                let odd = (w % 2 == 1 || h % 2 == 1) && w.min(h) >= 64;
                let allowed = if odd { 25.0 } else { 2.0 };
                assert!(worst < allowed, "{w}x{h} sigma {sigma}: {worst} levels off");
            }
        }
    }
}

#[test]
fn a_flat_picture_stays_what_it_is_under_any_blur() {
    for level in [0u8, 16, 127, 128, 235, 255] {
        let mut input = Image::blank(VideoGeometry::i420(150, 90));
        (0..3).for_each(|plane| input.fill(plane, |_, _| level));
        for sigma in [0.1, 0.3, 1.0, 3.4, 3.5, 9.9, 33.0, 50.0] {
            let output = through("GaussianBlur", &format!(r#"{{"sigma":{sigma}}}"#), &input);
            for plane in 0..3 {
                assert!(
                    output.plane(plane).iter().all(|s| *s == level),
                    "level {level} under sigma {sigma} became {:?}",
                    output.plane(plane)[0]
                );
            }
        }
    }
}

#[test]
fn the_smallest_blur_leaves_the_picture_almost_as_it_is() {
    let input = Image::scene(VideoGeometry::i420(160, 90));
    let output = through("GaussianBlur", r#"{"sigma":0.1}"#, &input);
    let worst =
        input.plane(0).iter().zip(output.plane(0)).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    assert!(worst <= 1, "{worst}");
}

#[test]
fn a_gray_picture_has_no_colour_and_the_same_brightness() {
    for (width, height) in [(320, 180), (319, 179), (1, 1)] {
        let input = Image::scene(VideoGeometry::i420(width, height));
        let done = pass(&mut chain(&[("g", "Grayscale", "{}")]), &input);
        assert_eq!(done.image.plane(0), input.plane(0));
        for plane in [1, 2] {
            assert!(done.image.plane(plane).iter().all(|s| *s == 128));
            assert!(input.mean(plane) < 125.0 || input.mean(plane) > 131.0 || width == 1);
        }
        // Chroma is not read at all.
        assert_eq!(done.copied, u64::from(width) * u64::from(height));
    }
}

#[test]
fn an_overlay_changes_its_box_only_and_stays_off_the_code_strip() {
    for (width, height) in [(1280, 720), (320, 180), (720, 1280), (64, 48), (1920, 64), (161, 91)] {
        for (position, lower) in [
            ("bottom_left", true),
            ("bottom_right", true),
            ("top_left", false),
            ("top_right", false),
        ] {
            let input = Image::scene(VideoGeometry::i420(width, height));
            let params = format!(r#"{{"show":"text","text":"Hi","position":"{position}"}}"#);
            let output = through("Overlay", &params, &input);
            let Some(changed) = changes(&input, &output) else {
                assert!(lower && (width, height) == (1920, 64), "no overlay to be seen");
                continue;
            };
            assert!(!(lower && height == 64), "no room below the strip, and yet {changed:?}");
            let (w, h) = (usize::from(width), usize::from(height));
            assert!(
                changed.right - changed.left < w / 2,
                "{width}x{height} {position} {changed:?}"
            );
            assert_eq!(
                changed.left < w / 2,
                position.ends_with("left"),
                "{width}x{height} {position}"
            );
            if lower {
                let strip = (h.div_ceil(8)).max(w / 32 * 2);
                assert!(changed.top >= strip, "{width}x{height} {position} {changed:?}");
            }
            // Letters on their backdrop, nothing else.
            let (from, rows) = (changed.left..changed.right, changed.top..changed.bottom);
            for row in output.picture().rows(0).skip(rows.start).take(rows.len()) {
                assert!(row[from.clone()].iter().all(|s| *s == 16 || *s == 235));
            }
            assert!(output.plane(0).contains(&235) || width < 100);
        }
    }
}

#[test]
fn an_overlay_shows_the_time_or_the_number_of_the_frame() {
    let input = Image::scene(VideoGeometry::i420(640, 360));
    let of = |params: &str| through("Overlay", params, &input);
    // The moment of the tests is 12:34:56.789, its number 42.
    assert_eq!(of("{}"), of(r#"{"show":"text","text":"12:34:56.789"}"#));
    assert_eq!(of(r#"{"show":"frame"}"#), of(r#"{"show":"text","text":"frame 42"}"#));
    assert_eq!(
        of(r#"{"show":"frame","text":"cam 1"}"#),
        of(r#"{"show":"text","text":"cam 1 frame 42"}"#)
    );
    assert_ne!(of("{}"), of(r#"{"show":"frame"}"#));
}

#[test]
fn an_overlay_without_text_or_without_room_changes_nothing() {
    let input = Image::scene(VideoGeometry::i420(320, 180));
    assert!(
        (0..3).all(|p| through("Overlay", r#"{"show":"text"}"#, &input).plane(p) == input.plane(p))
    );
    let tiny = Image::scene(VideoGeometry::i420(10, 10));
    assert!((0..3).all(|p| through("Overlay", "{}", &tiny).plane(p) == tiny.plane(p)));
}

#[test]
fn a_text_that_is_too_long_for_the_picture_shrinks_and_is_then_cut() {
    let input = Image::scene(VideoGeometry::i420(320, 180));
    let long = "W".repeat(64);
    let params = format!(r#"{{"show":"text","text":"{long}","scale":16}}"#);
    let changed = changes(&input, &through("Overlay", &params, &input)).unwrap();
    assert!(changed.right <= 320 && changed.bottom - changed.top <= 12, "{changed:?}");
}

#[test]
fn letters_of_several_scripts_and_signs_that_the_font_lacks_are_shown() {
    let input = Image::scene(VideoGeometry::i420(640, 360));
    let of =
        |text: &str| through("Overlay", &format!(r#"{{"show":"text","text":{text:?}}}"#), &input);
    assert_ne!(of("Köln"), of("Koln"));
    assert_ne!(of("ひ"), of("ら"));
    assert_ne!(of("漢"), of(" "));
    assert_eq!(of("a\tb"), of("a b"));
}

#[derive(Debug)]
struct Changes {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

/// The smallest box around every luma sample that changed; panics when chroma changed elsewhere.
fn changes(before: &Image, after: &Image) -> Option<Changes> {
    let within = |plane: usize| {
        let (mut found, mut changes) =
            (false, Changes { left: usize::MAX, right: 0, top: usize::MAX, bottom: 0 });
        let (before, after) = (before.picture(), after.picture());
        for (y, (a, b)) in before.rows(plane).zip(after.rows(plane)).enumerate() {
            for x in (0..a.len()).filter(|x| a[*x] != b[*x]) {
                found = true;
                changes.left = changes.left.min(x);
                changes.right = changes.right.max(x + 1);
                changes.top = changes.top.min(y);
                changes.bottom = changes.bottom.max(y + 1);
            }
        }
        found.then_some(changes)
    };
    let luma = within(0)?;
    for chroma in [1, 2].into_iter().filter_map(within) {
        assert!(
            chroma.left * 2 + 1 >= luma.left && chroma.right * 2 <= luma.right + 1,
            "{luma:?} {chroma:?}"
        );
        assert!(
            chroma.top * 2 + 1 >= luma.top && chroma.bottom * 2 <= luma.bottom + 1,
            "{luma:?} {chroma:?}"
        );
    }
    Some(luma)
}

/// The sum that the node approximates, in floating point; mirrored at the edges.
fn gaussian(samples: &[u8], width: usize, height: usize, sigma: f64) -> Vec<f64> {
    let radius = (sigma * 4.0).ceil() as isize;
    let weights: Vec<f64> =
        (-radius..=radius).map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mirror = |at: isize, length: usize| {
        let at = at.rem_euclid(2 * length as isize) as usize;
        at.min(2 * length - 1 - at)
    };
    let along = |data: &[f64], horizontal: bool| -> Vec<f64> {
        (0..width * height)
            .map(|at| {
                let (x, y) = ((at % width) as isize, (at / width) as isize);
                let sample = |distance: isize| {
                    if horizontal {
                        data[y as usize * width + mirror(x + distance, width)]
                    } else {
                        data[mirror(y + distance, height) * width + x as usize]
                    }
                };
                (-radius..=radius).zip(&weights).map(|(d, w)| w * sample(d)).sum::<f64>() / sum
            })
            .collect()
    };
    let data: Vec<f64> = samples.iter().map(|s| f64::from(*s)).collect();
    along(&along(&data, true), false)
}
