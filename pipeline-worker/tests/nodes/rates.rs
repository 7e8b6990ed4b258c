//! Nodes that let fewer pictures pass.

use crate::support::{Noise, chain, id};
use proptest::prelude::*;
use remotemedia_pipeline_worker::graph::Chain;
use remotemedia_pipeline_worker::node::Moment;

#[test]
fn of_a_cameras_pictures_every_second_or_third_passes_although_its_times_are_not_even() {
    for (fps, every) in [(15, 2), (10, 3), (5, 6), (30, 1), (60, 1)] {
        let mut noise = Noise(11);
        // Up to 3 ms off, ten minutes long.
        let times =
            (0..18_000).map(|n| at(n, 30.0) + (3e6 * (1.0 + f64::from(noise.next()))) as u64);
        let passed = passes(&mut limit(f64::from(fps)), times);
        for (number, passed) in passed.iter().enumerate() {
            assert_eq!(*passed, number % every == 0, "picture {number} at {fps}");
        }
    }
}

#[test]
fn pictures_at_almost_the_limit_are_not_lost_in_a_flurry() {
    // A camera's 30.01 and a limit of 30, some ms off: one in a hundred seconds is one too many.
    let mut noise = Noise(5);
    let times = (0..30_010).map(|n| at(n, 30.01) + (3e6 * (1.0 + f64::from(noise.next()))) as u64);
    let passed = passes(&mut limit(30.0), times);
    let lost = passed.iter().filter(|passed| !**passed).count();
    assert!((9..=11).contains(&lost), "{lost}");
}

#[test]
fn after_a_pause_and_after_time_was_set_back_pictures_pass_at_once() {
    let mut limiter = limit(10.0);
    let second = passes(&mut limiter, (0..30).map(|n| at(n, 30.0)));
    assert_eq!(second.iter().filter(|passed| **passed).count(), 10);
    // Ten seconds of nothing are not made up for: two more than usual at most.
    let behind = (0..30).map(|n| 11_000_000_000 + at(n, 30.0));
    let second = passes(&mut limiter, behind);
    let count = second.iter().filter(|passed| **passed).count();
    assert!(second[0] && (10..=12).contains(&count), "{count}");
    let before = passes(&mut limiter, (0..30).map(|n| at(n, 30.0)));
    assert!(before[0] && !before[1] && !before[2] && before[3]);
}

#[test]
fn a_changed_limit_is_in_force_with_the_next_picture() {
    let mut limiter = limit(30.0);
    assert!(passes(&mut limiter, (0..30).map(|n| at(n, 30.0))).iter().all(|passed| *passed));
    limiter.set(&id("r"), r#"{"fps":7.5}"#).unwrap();
    let slow = passes(&mut limiter, (30..150).map(|n| at(n, 30.0)));
    let count = slow.iter().filter(|passed| **passed).count();
    assert!((29..=31).contains(&count), "{count}");
    let why = limiter.set(&id("r"), r#"{"fps":0}"#).unwrap_err().to_string();
    assert_eq!(why, "$.params.fps: is 0; allowed is 0.1 to 240");
}

#[test]
fn of_two_limits_the_lower_one_is_kept() {
    let nodes = [("a", "FrameRate", r#"{"fps":15}"#), ("b", "FrameRate", r#"{"fps":5}"#)];
    let passed = passes(&mut chain(&nodes), (0..300).map(|n| at(n, 30.0)));
    let count = passed.iter().filter(|passed| **passed).count();
    assert!((49..=51).contains(&count), "{count}");
}

proptest! {
    #[test]
    fn pictures_are_left_out_evenly_and_their_number_does_not_drift(
        source in 1.0f64..120.0,
        fps in 0.5f64..120.0,
    ) {
        let numbers = 0..3000u64;
        let passed = passes(&mut limit(fps), numbers.map(|n| at(n, source)));
        let places: Vec<usize> =
            passed.iter().enumerate().filter(|(_, passed)| **passed).map(|(at, _)| at).collect();
        let ratio = (source / fps).max(1.0);
        for pair in places.windows(2) {
            let gap = (pair[1] - pair[0]) as f64;
            let (least, most) = ((ratio - 1e-3).floor(), (ratio + 1e-3).ceil());
            prop_assert!(least <= gap && gap <= most, "{} of {}", gap, ratio);
        }
        let expected = 2999.0 / ratio + 1.0;
        prop_assert!((places.len() as f64 - expected).abs() <= 2.0, "{} {}", places.len(), expected);
    }

    #[test]
    fn no_order_of_times_stops_it(
        times in proptest::collection::vec(any::<u64>(), 1..200),
    ) {
        let last = *times.last().unwrap();
        let mut limiter = limit(30.0);
        let passed = passes(&mut limiter, times.into_iter());
        prop_assert!(passed[0]);
        // And the account is a sound one: what comes at its time passes.
        let behind = (1..=3).map(|n| last.saturating_add(n * 1_000_000_000));
        prop_assert!(last > u64::MAX / 2 || passes(&mut limiter, behind).iter().all(|passed| *passed));
    }
}

/// The time of a picture, in nanoseconds.
fn at(number: u64, fps: f64) -> u64 {
    (number as f64 * 1e9 / fps) as u64
}

fn limit(fps: f64) -> Chain {
    chain(&[("r", "FrameRate", &format!(r#"{{"fps":{fps}}}"#))])
}

fn passes(chain: &mut Chain, times: impl Iterator<Item = u64>) -> Vec<bool> {
    times
        .zip(0..)
        .map(|(media_time_ns, sequence)| {
            chain.admits(&Moment { sequence, media_time_ns, unix_ns: 0 })
        })
        .collect()
}
