//! Pictures of any size in any layout, and blocks of any length: no node panics, none touches what is not its own.

use crate::support::{Image, OUTSIDE, chain, odd_layout, try_pass};
use proptest::prelude::*;
use remotemedia_pipeline_worker::graph::Passed;
use remotemedia_shm_schema::{AudioGeometry, ColourMatrix, ColourRange, VideoGeometry};

/// What lies between rows and planes.
fn padding() -> impl Strategy<Value = ([u32; 3], u32)> {
    (proptest::array::uniform3(0u32..80), 0u32..9)
}

fn geometry() -> impl Strategy<Value = VideoGeometry> {
    let colours = (
        prop_oneof![Just(ColourMatrix::Unspecified), Just(ColourMatrix::Bt709)],
        prop_oneof![Just(ColourRange::Limited), Just(ColourRange::Full)],
    );
    let rotation = prop_oneof![Just(0u16), Just(90), Just(180), Just(270)];
    (1u16..=64, 1u16..=64, padding(), colours, rotation).prop_map(
        |(width, height, (pads, gap), (matrix, range), rotation)| VideoGeometry {
            matrix,
            range,
            rotation,
            ..odd_layout(width, height, pads, gap)
        },
    )
}

/// Parameters that leave a flat picture flat.
fn flat_node() -> impl Strategy<Value = (&'static str, String)> {
    let side = || proptest::option::of(2u16..=96);
    let share = || proptest::option::of(0.5f32..=1.0);
    prop_oneof![
        Just(("Passthrough", "{}".to_owned())),
        Just(("FrameRate", "{}".to_owned())),
        (any::<bool>(), any::<bool>()).prop_map(|(h, v)| {
            let params = serde_json::json!({"horizontal": h, "vertical": v});
            ("Mirror", params.to_string())
        }),
        (side(), side(), prop_oneof![Just("cover"), Just("stretch")]).prop_map(|(w, h, fit)| {
            let params = serde_json::json!({"width": w, "height": h, "fit": fit});
            ("Scale", params.to_string())
        }),
        (0.0f32..=0.4, 0.0f32..=0.4, share(), share()).prop_map(|(x, y, w, h)| {
            let params =
                serde_json::json!({"unit": "shares", "x": x, "y": y, "width": w, "height": h});
            ("Crop", params.to_string())
        }),
    ]
}

fn video_node() -> impl Strategy<Value = (&'static str, String)> {
    let position =
        prop_oneof![Just("bottom_left"), Just("bottom_right"), Just("top_left"), Just("top_right")];
    prop_oneof![
        4 => flat_node(),
        1 => Just(("Grayscale", "{}".to_owned())),
        1 => (0.1f32..50.0).prop_map(|s| ("GaussianBlur", format!(r#"{{"sigma":{s}}}"#))),
        1 => (0.1f32..4.0).prop_map(|s| ("GaussianBlur", format!(r#"{{"sigma":{s}}}"#))),
        1 => (position, proptest::option::of(1u8..=16), "[ -~äΩ漢]{0,64}").prop_map(|(p, s, t)| {
            let params = serde_json::json!({
                "show": "text", "text": t, "position": p, "scale": s, "colour": "#10a0c0",
            });
            ("Overlay", params.to_string())
        }),
        1 => (2u16..=96, 2u16..=96).prop_map(|(w, h)| {
            ("Scale", format!(r#"{{"width":{w},"height":{h}}}"#))
        }),
        1 => (-1.0f32..=1.0, 0.0f32..=4.0, -180.0f32..=180.0).prop_map(|(b, s, h)| {
            let params = serde_json::json!({"brightness": b, "saturation": s, "hue": h});
            ("ColourAdjust", params.to_string())
        }),
        1 => (0.0f32..=1.0, 0.0f32..=1.0, 0.0f32..=1.0).prop_map(|(a, b, c)| {
            let params = serde_json::json!({"similarity": a, "smoothness": b, "spill": c});
            ("ChromaKey", params.to_string())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_node_writes_all_of_its_picture_and_nothing_else(
        from in geometry(),
        (pads, gap) in padding(),
        nodes in proptest::collection::vec(video_node(), 0..5),
        flat in any::<u8>(),
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let nodes: Vec<_> =
            nodes.iter().zip(names).map(|((k, p), n)| (n, *k, p.as_str())).collect();
        let input = Image::flat(from, [flat; 3]);
        let before = input.clone();
        let mut chain = chain(&nodes);
        let shape = chain.shape(Passed::default(), from);
        let shape = shape.map_err(|f| TestCaseError::fail(f.to_string()))?;
        prop_assert_eq!(
            (shape.matrix, shape.range, shape.rotation), (from.matrix, from.range, from.rotation)
        );
        let laid = odd_layout(shape.width, shape.height, pads, gap);
        let to = VideoGeometry { matrix: from.matrix, range: from.range, ..laid };
        let done = try_pass(&mut chain, &input, VideoGeometry { rotation: from.rotation, ..to });
        prop_assert!(input == before);
        let done = done.map_err(|f| TestCaseError::fail(f.to_string()))?;
        prop_assert!(done.image.outside_untouched());
        // A flat picture stays flat but for some nodes, so every sample was written. (A level off each: a small plane
        // under a wide blur, see the node.)
        let paints = |node: &(&str, &str, &str)| {
            let bars = node.1 == "Scale" && !node.2.contains("fit");
            bars || ["Overlay", "ColourAdjust", "ChromaKey"].contains(&node.1)
        };
        if flat.abs_diff(OUTSIDE) > 6 && !nodes.iter().any(paints) {
            let written = done.image.plane(0).iter().all(|s| s.abs_diff(flat) <= 6);
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
            ("h", "HighPass", "{}"), ("e", "Echo", r#"{"delay_ms":20,"feedback":0.9}"#),
            ("l", "Limiter", "{}"),
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
