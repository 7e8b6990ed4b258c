//! Nodes over sound.

use crate::support::{Noise, chain, db, hear, hear_all, hear_as, id, mono, rms, room};
use remotemedia_shm_schema::AudioGeometry;
use std::f32::consts::TAU;

#[test]
fn a_gain_is_exact_and_keeps_channels_apart() {
    let input: Vec<f32> = (0..960).map(|i| if i % 2 == 0 { 0.25 } else { -0.5 }).collect();
    let stereo = AudioGeometry { rate: 48_000, channels: 2, samples: 480 };
    for (params, factor) in [
        ("{}", 1.0f32),
        (r#"{"gain_db":-20}"#, 0.1),
        (r#"{"gain_db":6}"#, 10f64.powf(0.3) as f32),
        (r#"{"gain_db":30,"mute":true}"#, 0.0),
    ] {
        let output = hear_as(&mut chain(&[("g", "Gain", params)]), stereo, &input);
        let expected: Vec<f32> = input.iter().map(|s| s * factor).collect();
        assert_eq!(output, expected, "{params}");
    }
}

#[test]
fn a_change_of_gain_is_a_ramp_and_lands_exactly() {
    let mut chain = chain(&[("g", "Gain", "{}")]);
    let ones = [1.0f32; 480];
    assert!(hear(&mut chain, &ones).iter().all(|s| *s == 1.0));
    for (params, target) in
        [(r#"{"mute":true}"#, 0.0), (r#"{"mute":false,"gain_db":-6}"#, 10f64.powf(-0.3) as f32)]
    {
        chain.set(&id("g"), params).unwrap();
        let mut last = hear(&mut chain, &[1.0])[0];
        let ramp: Vec<f32> = [hear(&mut chain, &ones), hear(&mut chain, &ones)].concat();
        for sample in &ramp {
            assert!((sample - last).abs() < 1.2 / 480.0, "a step from {last} to {sample}");
            last = *sample;
        }
        assert!(ramp[480..].iter().all(|s| *s == target), "{last} is not {target}");
    }
}

#[test]
fn a_change_in_mid_ramp_turns_from_where_it_is() {
    let mut chain = chain(&[("g", "Gain", "{}")]);
    hear(&mut chain, &[1.0; 10]);
    chain.set(&id("g"), r#"{"mute":true}"#).unwrap();
    let half = *hear(&mut chain, &[1.0; 240]).last().unwrap();
    chain.set(&id("g"), r#"{"mute":false}"#).unwrap();
    let back = hear(&mut chain, &[1.0; 960]);
    assert!((back[0] - half).abs() < 0.01 && (half - 0.5).abs() < 0.01);
    assert!(back[480..].iter().all(|s| *s == 1.0));
}

#[test]
fn a_gate_lets_speech_pass_untouched_and_silences_the_noise_between() {
    let mut chain =
        chain(&[("g", "NoiseGate", r#"{"threshold_db":-40,"hold_ms":50,"release_ms":20}"#)]);
    let mut noise = Noise(1);
    let quiet: Vec<f32> = (0..9600).map(|_| 0.003 * noise.next()).collect();
    assert!(hear_all(&mut chain, &quiet, 480).iter().all(|s| *s == 0.0));

    let tone: Vec<f32> =
        (0..9600).map(|i| 0.3 * (TAU * 200.0 * i as f32 / 48_000.0).sin()).collect();
    let heard = hear_all(&mut chain, &tone, 480);
    // Open within attack and half a wave, and then not a bit changed.
    assert_eq!(heard[480..], tone[480..]);

    let heard = hear_all(&mut chain, &quiet, 480);
    // The level falls within some ms, the hold is 50 ms: 45 ms are certain to pass, after 120 ms all is silent.
    assert_eq!(heard[..2160], quiet[..2160]);
    assert!(heard[5760..].iter().all(|s| *s == 0.0));
}

#[test]
fn a_gate_opens_and_closes_without_a_step_and_for_all_channels_at_once() {
    let params = r#"{"threshold_db":-20,"attack_ms":5,"hold_ms":0,"release_ms":10}"#;
    let mut chain = chain(&[("g", "NoiseGate", params)]);
    let stereo = AudioGeometry { rate: 48_000, channels: 2, samples: 4800 };
    // The left channel opens it; the right one is a constant that shows the gate's opening.
    let block = |left: f32| [left, 0.05].repeat(4800);
    let heard =
        [hear_as(&mut chain, stereo, &block(0.5)), hear_as(&mut chain, stereo, &block(0.0))]
            .concat();
    let right: Vec<f32> = heard.chunks(2).map(|f| f[1] / 0.05).collect();
    assert!(right.windows(2).all(|w| (w[1] - w[0]).abs() <= 1.01 / 240.0));
    assert!(right[240..4800].iter().all(|s| (*s - 1.0).abs() < 1e-6));
    assert_eq!(*right.last().unwrap(), 0.0);
}

#[test]
fn noise_goes_and_a_voice_stays() {
    let noise_alone = room(3, 0.03);
    let heard = hear_all(&mut chain(&[("n", "NoiseSuppression", "{}")]), &noise_alone, 480);
    let noise_db = db(rms(&heard[48_000..]) / rms(&noise_alone[48_000..]));
    assert!(noise_db < -15.0, "noise is changed by {noise_db} dB");

    let clean = voice(3);
    let mixed: Vec<f32> = clean.iter().zip(room(3, 0.03)).map(|(v, n)| v + n).collect();
    let heard = hear_all(&mut chain(&[("n", "NoiseSuppression", "{}")]), &mixed, 480);
    // What is left of the voice: its share in the output, 10 ms later.
    let (late, voice) = (&heard[48_480..], &clean[48_000..clean.len() - 480]);
    let product: f64 = late.iter().zip(voice).map(|(a, b)| f64::from(a * b)).sum();
    let voice_db = db(product / voice.iter().map(|v| f64::from(v * v)).sum::<f64>());
    assert!(voice_db > -6.0, "the voice is changed by {voice_db} dB");
    assert!(voice_db - noise_db > 12.0, "voice {voice_db} dB, noise {noise_db} dB");
}

#[test]
fn suppression_is_ten_milliseconds_late_and_as_much_as_its_blocks_need() {
    let mut noise = Noise(9);
    let input: Vec<f32> = (0..48_000).map(|_| noise.next()).collect();
    for (block, late) in [
        (480, 480),
        (960, 480),
        (2880, 480),
        (160, 480 + 320),
        (441, 480 + 477),
        (1, 480 + 479),
        (128, 480 + 448),
    ] {
        let mut dry = chain(&[("n", "NoiseSuppression", r#"{"strength":0}"#)]);
        let heard = hear_all(&mut dry, &input, block);
        let worst =
            heard[late..].iter().zip(&input).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 1e-6, "blocks of {block} are not {late} samples late");
        assert!(heard[..late].iter().all(|s| *s == 0.0), "blocks of {block}");
    }
}

#[test]
fn the_cleaned_and_the_untouched_part_are_mixed_in_step() {
    let input = voice(2);
    let heard = |params| hear_all(&mut chain(&[("n", "NoiseSuppression", params)]), &input, 480);
    let (dry, wet, half) = (heard(r#"{"strength":0}"#), heard("{}"), heard(r#"{"strength":0.5}"#));
    for ((dry, wet), half) in dry.iter().zip(&wet).zip(&half) {
        assert!(((dry + wet) / 2.0 - half).abs() < 1e-5);
    }
    // In step: the voice's cleaned and untouched waves add up instead of cancelling.
    let product: f64 = dry.iter().zip(&wet).map(|(a, b)| f64::from(a * b)).sum();
    assert!(product / (rms(&dry) * rms(&wet) * dry.len() as f64) > 0.9);
}

#[test]
fn blocks_of_changing_length_lose_nothing_and_repeat_nothing() {
    let input: Vec<f32> = (1..48_000).map(|i| i as f32 / 65_536.0).collect();
    let mut chain = chain(&[("n", "NoiseSuppression", r#"{"strength":0}"#)]);
    let mut heard = Vec::new();
    let mut rest = &input[..];
    for length in [480, 960, 441, 120, 480, 7, 2880, 1, 479].into_iter().cycle() {
        let Some((block, behind)) = rest.split_at_checked(length) else { break };
        heard.extend(hear(&mut chain, block));
        rest = behind;
    }
    let sounding: Vec<f32> = heard.into_iter().filter(|s| *s != 0.0).collect();
    assert!(sounding.len() + 960 + 2880 >= input.len() - rest.len());
    for (heard, sent) in sounding.iter().zip(&input) {
        assert!((heard - sent).abs() < 1e-6);
    }
}

#[test]
fn one_broken_sample_does_not_silence_a_call_for_good() {
    let params = [
        ("NoiseSuppression", "{}"),
        ("NoiseGate", "{}"),
        ("Gain", r#"{"gain_db":3}"#),
        ("HighPass", "{}"),
        ("Echo", "{}"),
        ("Limiter", "{}"),
    ];
    for (kind, params) in params {
        let mut chain = chain(&[("n", kind, params)]);
        let tone = voice(1);
        let healthy = rms(&hear_all(&mut chain, &tone, 480)[24_000..]);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut block = [0.0f32; 480];
            block[100] = broken;
            hear(&mut chain, &block);
        }
        hear(&mut chain, &[0.0; 480]);
        let after = rms(&hear_all(&mut chain, &tone, 480)[24_000..]);
        assert!((db(after / healthy)).abs() < 6.0, "{kind}: {healthy} became {after}");
    }
}

#[test]
fn suppression_refuses_a_rate_that_its_network_does_not_know() {
    let mut chain = chain(&[("n", "NoiseSuppression", "{}")]);
    let geometry = AudioGeometry { rate: 44_100, ..mono(441) };
    let failure = chain.sound(geometry, &[0.0; 441], &mut [0.0; 441], &mut |_| {}).unwrap_err();
    assert_eq!(failure.to_string(), "node n: sound has 44100 samples a second; 48000 are needed");
}

/// Like a voice: a gliding pitch with twenty overtones that fall, in syllables.
fn voice(seconds: usize) -> Vec<f32> {
    let mut phase = 0.0f32;
    (0..seconds * 48_000)
        .map(|i| {
            let t = i as f32 / 48_000.0;
            let pitch = 140.0 + 25.0 * (TAU * 1.3 * t).sin() + 6.0 * (TAU * 5.0 * t).sin();
            phase = (phase + pitch / 48_000.0).fract();
            let syllable = (0.5 - 0.5 * (TAU * 3.5 * t).cos()).powf(0.5);
            let vowel = 600.0 + 250.0 * (TAU * 1.75 * t).sin();
            let wave: f32 = (1..=20)
                .map(|n| {
                    let frequency = n as f32 * pitch;
                    let formant = 1.0 / (1.0 + ((frequency - vowel) / 200.0).powi(2))
                        + 0.4 / (1.0 + ((frequency - 1700.0) / 300.0).powi(2));
                    (0.1 / n as f32 + formant) * (TAU * phase * n as f32).sin()
                })
                .sum();
            0.15 * syllable * wave
        })
        .collect()
}
