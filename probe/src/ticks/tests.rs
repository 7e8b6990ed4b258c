//! Ticks survive what a call does to sound.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::codec::{AudioDecoder, AudioEncoder};

const START: u64 = 1_000_003;

/// Sends `seconds` of ticks through `way` in blocks of `frame` samples; what was heard, and when it was due.
///
/// Block n arrives when its last sample is due, plus `delay_ns`.
fn heard_through(
    seconds: u64,
    frame: usize,
    delay_ns: u64,
    mut way: impl FnMut(&[f32]) -> Vec<f32>,
) -> (Vec<(Heard, u64)>, u64) {
    let (generator, mut detector) = (Generator::default(), Detector::default());
    let mut heard = Vec::new();
    let mut block = vec![0f32; frame];
    for n in 0..seconds * u64::from(RATE) / frame as u64 {
        let first = START + n * frame as u64;
        generator.fill(first, &mut block);
        let arrival = due_ns(first + frame as u64) + delay_ns;
        detector.push(&way(&block), arrival, |tick| {
            heard.push((tick, due_of(tick.number, tick.arrival_ns)));
        });
    }
    (heard, detector.unreadable())
}

/// Whether every tick was heard, each once and in order, and late by what was expected, in milliseconds.
fn assert_all(heard: &[(Heard, u64)], seconds: u64, expected_ms: f64, tolerance_ms: f64) {
    let sent = seconds * u64::from(RATE) / PERIOD;
    assert!(heard.len() as u64 >= sent - 2, "{} of {sent} ticks were heard", heard.len());
    for pair in heard.windows(2) {
        let step = (pair[1].1 - pair[0].1) as f64 / 1e9 * f64::from(RATE);
        assert!((step - PERIOD as f64).abs() < 0.01, "a tick is missing or double: {step}");
    }
    for (tick, due) in heard {
        let late = (tick.arrival_ns - due) as f64 / 1e6;
        assert!(
            (late - expected_ms).abs() <= tolerance_ms,
            "tick {} late by {late}, expected {expected_ms}",
            tick.number
        );
    }
}

#[test]
fn ticks_over_a_perfect_line_are_placed_within_a_twentieth_of_a_millisecond() {
    for frame in [480, 960] {
        let frame_ms = frame as f64 / 48.0;
        let (heard, unreadable) = heard_through(8, frame, 30_000_000, <[f32]>::to_vec);
        assert_all(&heard, 8, 30.0 + frame_ms, 0.05);
        assert_eq!(unreadable, 0);
    }
}

/// The codec there and back.
fn opus(frame: usize, bitrate: u32) -> impl FnMut(&[f32]) -> Vec<f32> {
    let mut encoder = AudioEncoder::new(1, bitrate).unwrap();
    assert_eq!(encoder.look_ahead().unwrap(), LOOK_AHEAD);
    let mut decoder = AudioDecoder::new(1).unwrap();
    move |block| {
        let mut out = vec![0f32; frame];
        let packet = encoder.encode(block).unwrap();
        assert_eq!(decoder.decode(packet, &mut out).unwrap(), frame);
        out
    }
}

/// Samples by which Opus delays sound: 6.5 ms.
const LOOK_AHEAD: u32 = 312;

#[test]
fn ticks_through_two_generations_of_opus_at_32_kb_tell_frame_and_look_ahead() {
    for frame in [480, 960] {
        let (mut there, mut back) = (opus(frame, 32_000), opus(frame, 32_000));
        let (heard, _) = heard_through(10, frame, 5_000_000, |block| back(&there(block)));
        let expected = 5.0 + frame as f64 / 48.0 + 2.0 * f64::from(LOOK_AHEAD) / 48.0;
        assert_most(&heard, 10, expected, 0.3);
    }
}

#[test]
fn ticks_survive_noise_suppression_that_leaves_half_of_the_noise() {
    let (mut there, mut back) = (opus(480, 32_000), opus(480, 32_000));
    let mut suppressor = nnnoiseless::DenoiseState::new();
    let mut dry = [0f32; 480];
    let (heard, _) = heard_through(10, 480, 0, |block| {
        let mut middle = there(block);
        let loud: Vec<f32> = middle.iter().map(|s| s * 32_768.0).collect();
        let mut wet = [0f32; 480];
        suppressor.process_frame(&mut wet, &loud);
        // The suppressor is one frame late; so is what it is mixed with.
        let late = std::mem::replace(&mut dry, middle.as_slice().try_into().unwrap());
        for ((out, dry), wet) in middle.iter_mut().zip(late).zip(wet) {
            *out = 0.5 * dry + 0.5 * wet / 32_768.0;
        }
        back(&middle)
    });
    assert_most(&heard, 10, 10.0 + 10.0 + 13.0, 0.3);
}

#[test]
fn ticks_are_heard_at_a_hundredth_of_their_level_and_upside_down_but_not_in_noise_or_silence() {
    let (heard, _) = heard_through(5, 960, 0, |b| b.iter().map(|s| s * -0.01).collect());
    assert_all(&heard, 5, 20.0, 0.05);
    let mut seed = 1u32;
    let (heard, _) = heard_through(20, 960, 0, |block| {
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed) as f32 / u32::MAX as f32 - 0.5
        };
        block.iter().map(|_| noise()).collect()
    });
    assert!(heard.is_empty(), "noise was taken for {heard:?}");
    assert!(heard_through(5, 960, 0, |b| vec![0.0; b.len()]).0.is_empty());
}

#[test]
fn a_late_tick_is_told_apart_from_the_others_for_more_than_four_seconds() {
    for delay_ms in [0u64, 137, 999, 2_500, 4_200] {
        let (heard, _) = heard_through(6, 480, delay_ms * 1_000_000, <[f32]>::to_vec);
        assert_all(&heard, 6, delay_ms as f64 + 10.0, 0.05);
    }
}

#[test]
fn a_lost_frame_costs_its_ticks_and_shifts_no_other() {
    let mut n = 0;
    let (heard, _) = heard_through(10, 960, 1_000_000, |block| {
        n += 1;
        // Concealment keeps the time; here it is silence.
        if n % 40 == 0 { vec![0.0; block.len()] } else { block.to_vec() }
    });
    assert!(heard.len() > 80, "{}", heard.len());
    for (tick, due) in &heard {
        let late = (tick.arrival_ns - due) as f64 / 1e6;
        assert!((late - 21.0).abs() < 0.5, "{late}");
    }
}

#[test]
fn no_number_is_mistaken_for_another_when_three_tones_are_wrong() {
    let codes: Vec<_> = (0..NUMBERS as u8).map(digits).collect();
    for (n, a) in codes.iter().enumerate() {
        assert_eq!(number(*a), Some(n as u8));
        for b in codes.iter().skip(n + 1) {
            assert!(a.iter().zip(b).filter(|(x, y)| x != y).count() >= 4, "{a:?} {b:?}");
        }
    }
}

#[test]
fn the_line_and_the_clock_agree_both_ways() {
    for sample in [0u64, 1, 2, 47_999, 48_000, 123_456_789_012] {
        assert_eq!(sample_at(due_ns(sample)), sample.max(sample_at(due_ns(sample))));
        assert!(due_ns(sample_at(due_ns(sample))) >= due_ns(sample));
        assert!(sample_at(due_ns(sample)) - sample <= 1);
    }
}

/// Nineteen of twenty at least, and those in their place.
fn assert_most(heard: &[(Heard, u64)], seconds: u64, expected_ms: f64, tolerance_ms: f64) {
    let sent = (seconds * u64::from(RATE) / PERIOD) as usize;
    assert!(heard.len() * 20 >= sent * 19, "{} of {sent} ticks were heard", heard.len());
    for (tick, due) in heard {
        let late = (tick.arrival_ns - due) as f64 / 1e6;
        assert!(
            (late - expected_ms).abs() <= tolerance_ms,
            "tick {} late by {late}, expected {expected_ms}",
            tick.number
        );
    }
}
