//! Pictures of any size in any layout, and blocks of any length: no node panics, none touches what is not its own.

use crate::support::{Image, OUTSIDE, chain, odd_layout, try_pass};
use proptest::prelude::*;
use remotemedia_shm_schema::{AudioGeometry, VideoGeometry};

fn layout(width: u16, height: u16) -> impl Strategy<Value = VideoGeometry> {
    (proptest::array::uniform3(0u32..80), 0u32..9)
        .prop_map(move |(pads, gap)| odd_layout(width, height, pads, gap))
}

fn two_layouts() -> impl Strategy<Value = (VideoGeometry, VideoGeometry)> {
    (1u16..=64, 1u16..=64).prop_flat_map(|(w, h)| (layout(w, h), layout(w, h)))
}

fn video_node() -> impl Strategy<Value = (&'static str, String)> {
    let position =
        prop_oneof![Just("bottom_left"), Just("bottom_right"), Just("top_left"), Just("top_right")];
    prop_oneof![
        Just(("Passthrough", "{}".to_owned())),
        Just(("Grayscale", "{}".to_owned())),
        (0.1f32..50.0).prop_map(|s| ("GaussianBlur", format!(r#"{{"sigma":{s}}}"#))),
        (0.1f32..4.0).prop_map(|s| ("GaussianBlur", format!(r#"{{"sigma":{s}}}"#))),
        (position, proptest::option::of(1u8..=16), "[ -~äΩ漢]{0,64}").prop_map(|(p, s, t)| {
            let params = serde_json::json!({"show": "text", "text": t, "position": p, "scale": s});
            ("Overlay", params.to_string())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_node_writes_all_of_its_picture_and_nothing_else(
        (from, to) in two_layouts(),
        nodes in proptest::collection::vec(video_node(), 0..4),
        flat in any::<u8>(),
    ) {
        let names = ["a", "b", "c", "d"];
        let nodes: Vec<_> =
            nodes.iter().zip(names).map(|((k, p), n)| (n, *k, p.as_str())).collect();
        let mut input = Image::blank(from);
        (0..3).for_each(|plane| input.fill(plane, |_, _| flat));
        let before = input.clone();
        let done = try_pass(&mut chain(&nodes), &input, to);
        prop_assert!(input == before);
        let done = done.map_err(|f| TestCaseError::fail(f.to_string()))?;
        prop_assert!(done.image.outside_untouched());
        // A flat picture stays flat but for overlays, so every sample was written. (A level off each: a small plane
        // under a wide blur, see the node.)
        if flat.abs_diff(OUTSIDE) > 3 && nodes.iter().all(|n| n.1 != "Overlay") {
            let written = done.image.plane(0).iter().all(|s| s.abs_diff(flat) <= 3);
            prop_assert!(written, "{:?}", nodes);
        }
    }

    #[test]
    fn sound_of_any_length_and_content_passes_all_nodes(
        blocks in proptest::collection::vec((1u32..1500, 1u8..=8), 1..12),
        seed in any::<u32>(),
        gate in (-96.0f32..0.0, 0.1f32..500.0, 0.0f32..5000.0, 1.0f32..5000.0),
        gain in -60.0f32..30.0,
    ) {
        let gate = format!(
            r#"{{"threshold_db":{},"attack_ms":{},"hold_ms":{},"release_ms":{}}}"#,
            gate.0, gate.1, gate.2, gate.3
        );
        let gain = format!(r#"{{"gain_db":{gain}}}"#);
        let mut nodes = chain(&[
            ("n", "NoiseSuppression", "{}"), ("g", "NoiseGate", &gate), ("a", "Gain", &gain),
        ]);
        let mut bits = seed;
        for (samples, channels) in blocks {
            let geometry = AudioGeometry { rate: 48_000, channels, samples };
            let length = samples as usize * usize::from(channels);
            // Bit patterns: ordinary samples, and now and then whatever a float can be.
            let input: Vec<f32> = (0..length).map(|_| {
                bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if bits >> 20 == 0 { f32::from_bits(bits) } else { (bits >> 16) as f32 / 65_536.0 - 0.5 }
            }).collect();
            let mut output = vec![f32::NAN; length];
            let passed = nodes.sound(geometry, &input, &mut output, &mut |_| {});
            prop_assert!(passed.is_ok());
            prop_assert!(output.iter().all(|s| s.is_finite()));
        }
    }
}
