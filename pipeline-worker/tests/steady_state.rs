//! After the first frames no node allocates: a call's memory does not move.

#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test ends where it finds nothing")]

use remotemedia_pipeline_worker::graph::{Passed, build};
use remotemedia_pipeline_worker::node::Moment;
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::{AudioGeometry, NodeId, VideoGeometry};
use remotemedia_worker::{Picture, PictureMut};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all calls go to the system's allocator as they are; the counter is a thread's own and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|a| a.set(a.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|a| a.set(a.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn pictures_pass_all_nodes_without_an_allocation() {
    for nodes in [
        vec![("GaussianBlur", r#"{"sigma":4}"#)],
        vec![("GaussianBlur", r#"{"sigma":50}"#), ("GaussianBlur", r#"{"sigma":1}"#)],
        vec![
            ("Overlay", r#"{"show":"clock","text":"cam"}"#),
            ("GaussianBlur", "{}"),
            ("Grayscale", "{}"),
        ],
        vec![("Passthrough", "{}")],
        vec![("Grayscale", "{}"), ("Overlay", r##"{"show":"frame","colour":"#ff8000"}"##)],
        vec![("Scale", r#"{"width":200,"height":200}"#)],
        vec![("Scale", r#"{"width":640,"height":240,"fit":"cover"}"#)],
        vec![("Crop", r#"{"x":10,"y":10,"width":99,"height":77}"#)],
        vec![("Mirror", "{}"), ("Mirror", r#"{"vertical":true}"#)],
        vec![("ColourAdjust", r#"{"brightness":0.1,"contrast":1.2,"hue":20}"#)],
        vec![("ChromaKey", r#"{"spill":1}"#)],
        vec![("FrameRate", r#"{"fps":20}"#), ("Grayscale", "{}")],
        // The size changes on the way, and both scratches are used.
        vec![
            ("GaussianBlur", "{}"),
            ("Scale", r#"{"width":480}"#),
            ("ChromaKey", "{}"),
            ("Scale", r#"{"width":160}"#),
            ("GaussianBlur", "{}"),
            ("Crop", r#"{"width":100}"#),
        ],
    ] {
        let mut chain = build(&Registry::built_in(), &graph(&nodes)).unwrap();
        let geometry = VideoGeometry::i420(320, 180);
        let most = chain.shape(Passed::default(), geometry).unwrap().payload_len();
        let (input, mut output) = (vec![100u8; geometry.payload_len()], vec![0u8; most]);
        let count = steady(|frame| {
            let unix_ns = frame * 33_000_000;
            let moment = Moment { sequence: frame, media_time_ns: unix_ns, unix_ns };
            let input = Picture::over(&input, geometry).unwrap();
            let shape = chain.shape(Passed::default(), geometry).unwrap();
            let mut loan = PictureMut::over(&mut output, shape).unwrap();
            if chain.admits(&moment) {
                chain.picture(&input, &mut loan, &moment, &mut |_| {}).unwrap();
            }
        });
        assert_eq!(count, 0, "{nodes:?} made {count} allocations in 100 frames");
    }
}

#[test]
fn sound_passes_all_nodes_without_an_allocation() {
    for samples in [480, 960, 441] {
        let nodes = [
            ("HighPass", "{}"),
            ("NoiseSuppression", "{}"),
            ("NoiseGate", "{}"),
            ("Gain", r#"{"gain_db":3}"#),
            ("Echo", "{}"),
            ("Limiter", r#"{"threshold_db":-20}"#),
        ];
        let mut chain = build(&Registry::built_in(), &graph(&nodes)).unwrap();
        let geometry = AudioGeometry { rate: 48_000, channels: 2, samples };
        let input: Vec<f32> = (0..samples * 2).map(|i| (i as f32 * 0.05).sin() * 0.3).collect();
        let mut output = vec![0.0f32; input.len()];
        let count = steady(|frame| {
            // Now and then a period comes empty.
            let done = match frame % 7 {
                0 if chain.rings() => chain.silence(geometry, &mut output, &mut |_| {}),
                _ => chain.sound(geometry, &input, &mut output, &mut |_| {}),
            };
            done.unwrap();
        });
        assert_eq!(count, 0, "blocks of {samples} made {count} allocations in 100 blocks");
    }
}

/// Allocations in a hundred frames after the first ten.
fn steady(mut frame: impl FnMut(u64)) -> u64 {
    (0..10).for_each(&mut frame);
    let before = ALLOCATIONS.with(Cell::get);
    (10..110).for_each(&mut frame);
    ALLOCATIONS.with(Cell::get) - before
}

fn graph(nodes: &[(&str, &str)]) -> Vec<GraphNode> {
    nodes
        .iter()
        .zip(0u8..)
        .map(|((kind, params), number)| GraphNode {
            id: NodeId::new(format!("n{number}")).unwrap(),
            number,
            kind: (*kind).into(),
            params: (*params).into(),
            on_failure: OnFailure::Hold,
        })
        .collect()
}
