//! Nodes over sound that remember: what was loud, what was low, what was before.

use crate::support::{Noise, chain, db, hear, hear_all, hear_as, id, rms};
use proptest::prelude::*;
use remotemedia_shm_schema::AudioGeometry;
use std::f32::consts::TAU;

/// Samples by which a limiter is late: 5 ms.
const LATE: usize = 240;

#[test]
fn below_its_threshold_a_limiter_changes_no_bit_and_is_five_milliseconds_late() {
    let mut noise = Noise(3);
    let input: Vec<f32> = (0..9600).map(|_| 0.5 * noise.next()).collect();
    for block in [480, 441, 120, 1] {
        let heard =
            hear_all(&mut chain(&[("l", "Limiter", r#"{"threshold_db":-6}"#)]), &input, block);
        assert!(heard[..LATE].iter().all(|s| *s == 0.0));
        assert_eq!(heard[LATE..], input[..heard.len() - LATE], "blocks of {block}");
    }
}

#[test]
fn a_peak_is_turned_down_before_it_comes_and_not_cut_off() {
    // A second of a quiet tone, a tenth of a loud one, and quiet again.
    let tone = |i: usize| (TAU * 400.0 * i as f32 / 48_000.0).sin();
    let loud = 48_000..52_800;
    let input: Vec<f32> =
        (0..144_000).map(|i| tone(i) * if loud.contains(&i) { 2.0 } else { 0.25 }).collect();
    let heard = hear_all(&mut chain(&[("l", "Limiter", r#"{"threshold_db":-6}"#)]), &input, 480);
    let heard = &heard[LATE..];
    let threshold = 10f32.powf(-0.3);
    assert!(heard.iter().all(|s| s.abs() <= threshold + 1e-6));
    // In the middle of the loud tone it is still that tone, at the threshold: as it was cut off it would have overtones.
    let middle = &heard[49_000..52_000];
    let (level, shape) = (rms(middle) * 2f64.sqrt(), overtones(middle, 400.0));
    assert!(db(level / f64::from(threshold)).abs() < 0.5, "{level}");
    assert!(shape < 0.03, "{shape}");
    // No step, neither at the begin nor at the end: the tone itself moves by no more than this.
    let most = threshold * TAU * 400.0 / 48_000.0 + 0.02;
    assert!(heard.windows(2).all(|w| (w[1] - w[0]).abs() <= most));
    // And a second later all is as it was.
    assert_eq!(heard[120_000..], input[120_000..heard.len()]);
}

#[test]
fn all_channels_are_turned_down_together() {
    let stereo = AudioGeometry { rate: 48_000, channels: 2, samples: 4800 };
    let input = [2.0f32, 0.01].repeat(4800);
    let heard = hear_as(&mut chain(&[("l", "Limiter", r#"{"threshold_db":0}"#)]), stereo, &input);
    for pair in heard.chunks(2).skip(LATE) {
        assert!((pair[0] - 1.0).abs() < 1e-5 && (pair[1] - 0.005).abs() < 1e-6, "{pair:?}");
    }
}

#[test]
fn a_lower_threshold_is_kept_from_the_first_sample_that_comes_after_it() {
    let mut limiter = chain(&[("l", "Limiter", r#"{"threshold_db":0}"#)]);
    let tone: Vec<f32> = (0..4800).map(|i| (TAU * 300.0 * i as f32 / 48_000.0).sin()).collect();
    hear(&mut limiter, &tone);
    limiter.set(&id("l"), r#"{"threshold_db":-20}"#).unwrap();
    let heard = hear(&mut limiter, &tone);
    assert!(heard[LATE..].iter().all(|s| s.abs() <= 0.1 + 1e-6));
    let step = heard.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    assert!(step < 0.06, "{step}");
    limiter.set(&id("l"), r#"{"threshold_db":0,"release_ms":1}"#).unwrap();
    hear(&mut limiter, &tone);
    assert!(hear(&mut limiter, &tone).iter().any(|s| s.abs() > 0.9));
}

#[test]
fn a_high_pass_takes_what_is_low_and_leaves_what_is_not() {
    let level = |hertz: f32, params: &str| {
        let tone = |i: usize| 0.5 * (TAU * hertz * i as f32 / 48_000.0).sin();
        let input: Vec<f32> = (0..96_000).map(tone).collect();
        let heard = hear_all(&mut chain(&[("h", "HighPass", params)]), &input, 480);
        db(rms(&heard[48_000..]) / rms(&input[48_000..]))
    };
    for (hertz, params, from, to) in [
        (100.0, r#"{"cutoff_hz":100}"#, -3.1, -2.9),
        // 12 dB an octave.
        (50.0, r#"{"cutoff_hz":100}"#, -12.8, -12.0),
        (25.0, r#"{"cutoff_hz":100}"#, -24.5, -24.0),
        (1000.0, r#"{"cutoff_hz":100}"#, -0.01, 0.01),
        (2000.0, r#"{"cutoff_hz":2000}"#, -3.1, -2.9),
        (10.0, r#"{"cutoff_hz":10}"#, -3.1, -2.9),
        (440.0, "{}", -0.1, 0.01),
    ] {
        let level = level(hertz, params);
        assert!((from..to).contains(&level), "{hertz} Hz through {params}: {level} dB");
    }
}

#[test]
fn constant_voltage_goes_and_channels_are_kept_apart() {
    let stereo = AudioGeometry { rate: 48_000, channels: 2, samples: 48_000 };
    let mut noise = Noise(8);
    let left: Vec<f32> = (0..48_000).map(|_| 0.1 * noise.next()).collect();
    let input: Vec<f32> = left.iter().flat_map(|s| [*s, 0.75]).collect();
    let heard = hear_as(&mut chain(&[("h", "HighPass", "{}")]), stereo, &input);
    assert!(heard[48_000..].chunks(2).all(|pair| pair[1].abs() < 1e-4));
    let alone = hear(&mut chain(&[("h", "HighPass", "{}")]), &left);
    assert!(heard.chunks(2).zip(&alone).all(|(pair, alone)| pair[0] == *alone));
}

#[test]
fn another_cutoff_is_no_click() {
    let mut filter = chain(&[("h", "HighPass", r#"{"cutoff_hz":20}"#)]);
    let tone: Vec<f32> =
        (0..9600).map(|i| 0.5 * (TAU * 200.0 * i as f32 / 48_000.0).sin()).collect();
    let mut heard = hear(&mut filter, &tone);
    for cutoff in [400, 1000, 10, 300] {
        filter.set(&id("h"), &format!(r#"{{"cutoff_hz":{cutoff}}}"#)).unwrap();
        heard.extend(hear(&mut filter, &tone));
    }
    // The tone moves by 0.013 a sample; nor does it thump.
    let step = heard.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    let loudest = heard.iter().fold(0.0, |loudest: f32, s| loudest.max(s.abs()));
    assert!(step < 0.02 && loudest < 1.1, "{step} {loudest}");
}

#[test]
fn an_echo_comes_when_it_was_asked_for_and_is_quieter_each_time() {
    let params = r#"{"delay_ms":100,"feedback":0.5,"mix":0.5}"#;
    let mut input = vec![0.0f32; 48_000];
    input[1000] = 0.8;
    let heard = hear_all(&mut chain(&[("e", "Echo", params)]), &input, 480);
    for (at, sample) in heard.iter().enumerate() {
        // Half of the sound, and half of 1, 1/2, 1/4 … of it each 4,800 samples later.
        let meant = match (at.checked_sub(1000), at.saturating_sub(1000)) {
            (Some(0), _) => 0.4,
            (Some(_), since) if since % 4800 == 0 => 0.4 * 0.5f32.powi((since / 4800) as i32 - 1),
            _ => 0.0,
        };
        assert!((sample - meant).abs() < 1e-6, "{sample} at {at}");
    }
}

#[test]
fn an_echo_alone_is_a_delay_and_none_is_the_sound_as_it_came() {
    let mut noise = Noise(4);
    let input: Vec<f32> = (0..2 * 110_000).map(|_| noise.next()).collect();
    let stereo =
        |samples: usize| AudioGeometry { rate: 48_000, channels: 2, samples: samples as u32 };
    for (ms, samples) in [("1", 48), ("33.3", 1598), ("2000", 96_000)] {
        let params = format!(r#"{{"delay_ms":{ms},"feedback":0,"mix":1}}"#);
        let heard = hear_as(&mut chain(&[("e", "Echo", &params)]), stereo(110_000), &input);
        assert!(heard[..2 * samples].iter().all(|s| *s == 0.0), "{ms} ms");
        // What is silent to the ear is silence to it.
        let same = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6;
        assert!(heard[2 * samples..].iter().zip(&input).all(same), "{ms} ms");
    }
    let heard = hear_as(&mut chain(&[("e", "Echo", r#"{"mix":0}"#)]), stereo(110_000), &input);
    assert_eq!(heard, input);
}

#[test]
fn another_delay_and_another_level_are_no_clicks() {
    let mut echo = chain(&[("e", "Echo", r#"{"delay_ms":100,"feedback":0,"mix":1}"#)]);
    let tone: Vec<f32> =
        (0..24_000).map(|i| 0.5 * (TAU * 100.0 * i as f32 / 48_000.0).sin()).collect();
    let mut heard = hear(&mut echo, &tone);
    for params in [r#"{"delay_ms":157.3}"#, r#"{"mix":0.3}"#, r#"{"feedback":0.6,"delay_ms":20}"#] {
        echo.set(&id("e"), params).unwrap();
        heard.extend(hear_all(&mut echo, &tone, 480));
    }
    // The tone moves by 0.0065 a sample, and is there up to two and a half times.
    let step = heard.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    assert!(step < 0.025, "{step}");
}

#[test]
fn sound_goes_on_coming_out_until_all_that_went_in_has_been_heard() {
    for (kind, params, late) in [
        ("Limiter", "{}", LATE),
        ("Echo", r#"{"delay_ms":100,"feedback":0,"mix":1}"#, 4800),
        ("HighPass", "{}", 0),
    ] {
        let mut node = chain(&[("n", kind, params)]);
        assert!(!node.rings(), "{kind}");
        let mut output = [0.0f32; 480];
        // An empty period before any sound is an empty one behind.
        let geometry = AudioGeometry { rate: 48_000, channels: 1, samples: 480 };
        node.silence(geometry, &mut output, &mut |_| {}).unwrap();
        assert_eq!(output, [0.0; 480]);
        let tone: Vec<f32> = (0..480).map(|i| (TAU * i as f32 / 48.0).sin() * 0.5).collect();
        let mut heard = hear(&mut node, &tone);
        let mut periods = 0;
        while node.rings() {
            node.silence(geometry, &mut output, &mut |_| {}).unwrap();
            heard.extend(output);
            periods += 1;
            assert!(periods <= 210, "{kind} rings on for two seconds");
        }
        assert!(heard.len() >= 480 + late, "{kind}");
        let power: f64 = heard.iter().map(|s| f64::from(s * s)).sum();
        let meant: f64 = tone.iter().map(|s| f64::from(s * s)).sum();
        assert!((power / meant - 1.0).abs() < 0.02, "{kind}: {power} of {meant}");
    }
    let nodes = [("g", "Gain", "{}"), ("d", "NoiseGate", "{}"), ("e", "Echo", "{}")];
    let mut mixed = chain(&nodes);
    hear(&mut mixed, &[0.5; 480]);
    assert!(mixed.rings());
    let mut plain = chain(&nodes[..2]);
    hear(&mut plain, &[0.5; 480]);
    assert!(!plain.rings());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_sample_is_louder_than_the_threshold_whatever_comes(
        blocks in proptest::collection::vec((1u32..1500, 1u8..=8), 1..12),
        seed in any::<u32>(),
        loud in 0.01f32..100.0,
        (threshold, release) in (-40.0f32..=0.0, 1.0f32..=2000.0),
        change in proptest::option::of(-40.0f32..=0.0),
    ) {
        let params = format!(r#"{{"threshold_db":{threshold},"release_ms":{release}}}"#);
        let mut limiter = chain(&[("l", "Limiter", &params)]);
        let mut most = 10f64.powf(f64::from(threshold) / 20.0) as f32;
        let mut noise = Noise(seed);
        let half = blocks.len() / 2;
        for (number, (samples, channels)) in blocks.into_iter().enumerate() {
            if let Some(change) = change.filter(|_| number == half) {
                limiter.set(&id("l"), &format!(r#"{{"threshold_db":{change}}}"#)).unwrap();
                // What came before it is kept below the threshold of then.
                most = most.max(10f64.powf(f64::from(change) / 20.0) as f32);
            }
            let geometry = AudioGeometry { rate: 48_000, channels, samples };
            let length = samples as usize * usize::from(channels);
            // Noise with peaks, and now and then whatever a float can be.
            let input: Vec<f32> = (0..length).map(|_| {
                let sample = noise.next();
                if sample.abs() > 0.999 { f32::from_bits(noise.0) } else { loud * sample.powi(5) }
            }).collect();
            let mut output = vec![f32::NAN; length];
            let passed = limiter.sound(geometry, &input, &mut output, &mut |_| {});
            prop_assert!(passed.is_ok());
            prop_assert!(output.iter().all(|s| s.abs() <= most), "beyond {}", most);
        }
    }

    #[test]
    fn an_echo_never_grows_without_end(
        delay in 1.0f32..=2000.0,
        feedback in 0.0f32..=0.95,
        mix in 0.0f32..=1.0,
    ) {
        let params = serde_json::json!({"delay_ms": delay, "feedback": feedback, "mix": mix});
        let mut echo = chain(&[("e", "Echo", &params.to_string())]);
        // All echoes of a constant, which add up to 1 / (1 - feedback).
        let most = 1.0 / (1.0 - feedback) + 1e-3;
        for _ in 0..8 {
            let heard = hear(&mut echo, &[1.0; 48_000]);
            prop_assert!(heard.iter().all(|s| (0.0..=most).contains(s)));
        }
    }
}

/// What a tone has besides itself, as a share of its amplitude.
fn overtones(samples: &[f32], hertz: f64) -> f64 {
    let whole = (samples.len() as f64 * hertz / 48_000.0).floor() * 48_000.0 / hertz;
    let samples = &samples[..whole as usize];
    let (mut sine, mut cosine) = (0.0, 0.0);
    let phase = |i: usize| std::f64::consts::TAU * hertz * i as f64 / 48_000.0;
    for (i, sample) in samples.iter().enumerate() {
        sine += f64::from(*sample) * phase(i).sin() * 2.0 / samples.len() as f64;
        cosine += f64::from(*sample) * phase(i).cos() * 2.0 / samples.len() as f64;
    }
    let rest = |(i, sample): (usize, &f32)| {
        (f64::from(*sample) - sine * phase(i).sin() - cosine * phase(i).cos()).powi(2)
    };
    let rest = samples.iter().enumerate().map(rest).sum::<f64>() / samples.len() as f64;
    (2.0 * rest).sqrt() / sine.hypot(cosine)
}
