//! Nodes behind one another.

use crate::support::{
    Image, chain, hear, id, left, mono, odd_layout, pass, through, try_chain, try_pass,
};
use remotemedia_pipeline_worker::node::{Moment, Node, NodeError, Way};
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_pipeline_worker::sound::Sound;
use remotemedia_shm_schema::VideoGeometry;
use remotemedia_worker::PictureMut;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[test]
fn a_chain_gives_what_its_nodes_give_one_after_the_other() {
    let input = Image::scene(VideoGeometry::i420(161, 91));
    let all = [
        ("GaussianBlur", r#"{"sigma":2}"#),
        ("Overlay", r#"{"show":"text","text":"one"}"#),
        ("GaussianBlur", r#"{"sigma":1}"#),
        ("Passthrough", "{}"),
        ("Grayscale", "{}"),
        ("GaussianBlur", r#"{"sigma":0.5}"#),
        ("Overlay", r#"{"show":"text","text":"two","position":"bottom_right"}"#),
    ];
    for from in 0..all.len() {
        for to in from..=all.len() {
            let names = ["a", "b", "c", "d", "e", "f", "g"];
            let nodes: Vec<_> =
                all[from..to].iter().zip(names).map(|((k, p), n)| (n, *k, *p)).collect();
            let done = pass(&mut chain(&nodes), &input);
            let apart =
                all[from..to].iter().fold(input.clone(), |image, (k, p)| through(k, p, &image));
            for plane in 0..3 {
                assert_eq!(done.image.plane(plane), apart.plane(plane), "{nodes:?}");
            }
            assert_eq!(done.stamps, (0..nodes.len() as u8).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_size_may_change_in_the_middle_of_a_chain_and_more_than_once() {
    let input = Image::scene(VideoGeometry::i420(161, 91));
    let all = [
        ("GaussianBlur", r#"{"sigma":2}"#),
        ("Scale", r#"{"width":320}"#),
        ("Mirror", "{}"),
        ("GaussianBlur", r#"{"sigma":1}"#),
        ("Crop", r#"{"unit":"shares","x":0.25,"width":0.5}"#),
        ("GaussianBlur", r#"{"sigma":1}"#),
        ("ChromaKey", "{}"),
        ("Scale", r#"{"width":100,"height":100}"#),
        ("Grayscale", "{}"),
    ];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    for from in 0..all.len() {
        for to in from..=all.len() {
            let nodes: Vec<_> =
                all[from..to].iter().zip(names).map(|((k, p), n)| (n, *k, *p)).collect();
            let mut together = chain(&nodes);
            let apart =
                all[from..to].iter().fold(input.clone(), |image, (k, p)| through(k, p, &image));
            // The second picture finds the memory that the first one left.
            for _ in 0..2 {
                let done = pass(&mut together, &input);
                assert_eq!(done.image.geometry.width, apart.geometry.width, "{nodes:?}");
                for plane in 0..3 {
                    assert_eq!(done.image.plane(plane), apart.plane(plane), "{nodes:?}");
                }
                assert_eq!(done.stamps, (0..nodes.len() as u8).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_loan_of_another_size_than_the_chain_tells_is_refused() {
    let input = Image::scene(VideoGeometry::i420(64, 64));
    let mut nodes = chain(&[("b", "GaussianBlur", "{}"), ("s", "Scale", r#"{"width":32}"#)]);
    let failure = try_pass(&mut nodes, &input, input.geometry).err().unwrap();
    assert_eq!(failure.to_string(), "node s: no picture to write to");
    assert!(try_pass(&mut nodes, &input, VideoGeometry::i420(32, 32)).is_ok());
}

#[test]
fn a_picture_is_copied_only_where_nothing_else_writes_it() {
    let input = Image::scene(VideoGeometry::i420(320, 180));
    let whole = 320 * 180 * 3 / 2;
    let blur = ("b", "GaussianBlur", "{}");
    for (nodes, copied) in [
        (&[][..], whole),
        (&[("p", "Passthrough", "{}"), ("q", "Passthrough", "{}")], whole),
        (&[blur], 0),
        (&[blur, ("g", "Grayscale", "{}"), ("o", "Overlay", "{}")], 0),
        (&[("p", "Passthrough", "{}"), blur, ("c", "GaussianBlur", "{}")], 0),
        (&[("o", "Overlay", "{}")], whole),
        (&[("g", "Grayscale", "{}"), blur], 320 * 180),
        (&[("s", "Scale", r#"{"width":160}"#), blur], 0),
        (&[("m", "Mirror", "{}")], 0),
        (&[("k", "ChromaKey", "{}")], 0),
        (&[("a", "ColourAdjust", r#"{"contrast":2}"#)], whole / 3),
        (&[("a", "ColourAdjust", r#"{"hue":90}"#)], 320 * 180),
        (&[("c", "Crop", r#"{"width":160,"height":90}"#)], whole / 4),
    ] {
        assert_eq!(pass(&mut chain(nodes), &input).copied, copied, "{nodes:?}");
    }
}

#[test]
fn sound_is_read_by_the_first_node_and_copied_only_where_there_is_none() {
    let input = [0.5f32; 480];
    let mut stamps = Vec::new();
    let mut output = [0.0f32; 480];
    let mut through = |nodes: &[(&str, &str, &str)]| {
        stamps.clear();
        let copied = chain(nodes)
            .sound(mono(480), &input, &mut output, &mut |step| left(step, &mut stamps))
            .unwrap();
        (copied, output[0], stamps.clone())
    };
    assert_eq!(through(&[]), (1920, 0.5, vec![]));
    assert_eq!(through(&[("p", "Passthrough", "{}")]), (1920, 0.5, vec![0]));
    let gain = r#"{"gain_db":-20}"#;
    assert_eq!(through(&[("g", "Gain", gain)]), (0, 0.05, vec![0]));
    let (copied, sample, stamps) =
        through(&[("p", "Passthrough", "{}"), ("g", "Gain", gain), ("h", "Gain", gain)]);
    assert_eq!((copied, stamps), (0, vec![0, 1, 2]));
    assert!((sample - 0.005).abs() < 1e-8);
}

#[test]
fn a_block_that_is_shorter_than_it_says_is_a_fault_of_the_frame() {
    let mut gain = chain(&[("g", "Gain", "{}")]);
    for (input, output) in [(479, 480), (480, 479), (0, 480)] {
        let failed = gain.sound(mono(480), &vec![0.0; input], &mut vec![0.0; output], &mut |_| {});
        assert!(failed.is_err());
    }
    assert_eq!(hear(&mut gain, &[0.25; 480]), [0.25; 480]);
}

#[test]
fn the_size_may_change_in_mid_call() {
    let mut blurs = chain(&[("a", "GaussianBlur", "{}"), ("b", "GaussianBlur", r#"{"sigma":9}"#)]);
    let once = |width, height| {
        let mut fresh =
            chain(&[("a", "GaussianBlur", "{}"), ("b", "GaussianBlur", r#"{"sigma":9}"#)]);
        pass(&mut fresh, &Image::scene(VideoGeometry::i420(width, height))).image
    };
    for (width, height) in [(320, 180), (640, 360), (161, 91), (1, 1), (320, 180)] {
        let input = Image::scene(VideoGeometry::i420(width, height));
        assert_eq!(pass(&mut blurs, &input).image, once(width, height), "{width}x{height}");
    }
}

#[test]
fn a_node_that_fails_is_named_and_the_next_frame_is_tried_again() {
    let registry = Registry::built_in().with::<Brittle>();
    let nodes = [("ok", "Grayscale", "{}"), ("weak", "Brittle", r#"{"fail_on":2}"#)];
    let mut chain = try_chain(&nodes, &registry).unwrap();
    let input = Image::scene(VideoGeometry::i420(32, 32));
    let mut again = || try_pass(&mut chain, &input, input.geometry);
    assert!(again().is_ok());
    let failure = again().err().unwrap();
    assert_eq!((failure.node.as_str(), failure.to_string()), ("weak", "node weak: brittle".into()));
    assert!(again().is_ok());
}

#[test]
fn a_node_that_panics_is_made_anew_with_the_parameters_that_it_had() {
    let registry = Registry::built_in().with::<Brittle>();
    let mut chain = try_chain(&[("weak", "Brittle", "{}")], &registry).unwrap();
    chain.set(&id("weak"), r#"{"panic_on":3,"level":200}"#).unwrap();
    let input = Image::scene(VideoGeometry::i420(32, 32));
    let mut levels = Vec::new();
    for _ in 0..6 {
        levels.push(match try_pass(&mut chain, &input, input.geometry) {
            Ok(done) => done.image.plane(0)[0].to_string(),
            Err(failure) => failure.error.to_string(),
        });
    }
    let panicked = "it panicked and was made anew: on purpose";
    assert_eq!(levels, ["200", "200", panicked, "200", "200", panicked]);
}

#[test]
fn nodes_of_any_strides_are_the_same_picture() {
    let packed = Image::scene(VideoGeometry::i420(61, 33));
    let mut wide = Image::blank(odd_layout(61, 33, [3, 70, 1], 5));
    for plane in 0..3 {
        let samples = packed.plane(plane);
        let width = packed.geometry.plane_size(plane).0 as usize;
        wide.fill(plane, |x, y| samples[y * width + x]);
    }
    let mut nodes =
        chain(&[("b", "GaussianBlur", "{}"), ("g", "Grayscale", "{}"), ("o", "Overlay", "{}")]);
    let (a, b) = (pass(&mut nodes, &packed).image, pass(&mut nodes, &wide).image);
    assert!((0..3).all(|p| a.plane(p) == b.plane(p)));
}

/// A node that fails or panics on its n-th frame, and shows one of its parameters.
struct Brittle {
    params: BrittleParams,
    frames: u32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct BrittleParams {
    fail_on: u32,
    panic_on: u32,
    level: u8,
}

impl Node for Brittle {
    type Params = BrittleParams;
    const KIND: &'static str = "Brittle";
    const SUMMARY: &'static str = "Breaks.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &BrittleParams) -> Result<Self, NodeError> {
        Ok(Self { params: params.clone(), frames: 0 })
    }

    fn configure(&mut self, params: &BrittleParams) -> Result<(), NodeError> {
        self.params.clone_from(params);
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Within
    }

    fn within(&mut self, picture: &mut PictureMut<'_>, _: &Moment) -> Result<(), NodeError> {
        self.frames += 1;
        assert!(self.frames != self.params.panic_on, "on purpose");
        if self.frames == self.params.fail_on {
            return Err(NodeError::new("brittle"));
        }
        picture.rows_mut(0).for_each(|row| row.fill(self.params.level));
        Ok(())
    }

    fn sound(&mut self, _: &mut Sound<'_>) -> Result<(), NodeError> {
        Err(NodeError::new("brittle"))
    }
}
