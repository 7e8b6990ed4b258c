//! How much a manifest may be: each bound with where it comes from. What is beyond one is a fault, never cut off.

use remotemedia_shm_schema::control::MAX_MESSAGE;
pub use remotemedia_shm_schema::manifest::{FRAME_LIMIT_MS, MAX_NODES};

/// Bytes of a manifest's text (chosen).
pub const MAX_TEXT: usize = 256 * 1024;
/// Values in a document, objects and lists among them (chosen: a quarter of what the text could hold at worst). YAML's aliases
/// count each time that they are used, so that a short text cannot become a long document.
pub const MAX_VALUES: usize = 32 * 1024;
/// How deep a document is nested (chosen: parameters begin at the fifth level, and a few levels are left to say where theirs
/// are too deep).
pub const MAX_DEPTH: usize = 24;
/// Bytes of one node's parameters as JSON (chosen).
pub const MAX_PARAMS: usize = 4 * 1024;
/// Bytes of all nodes' parameters together: a wiring is sent to its workers in one message, with ids and types beside them.
pub const MAX_PARAMS_TOTAL: usize = 32 * 1024;
const _: () = assert!(2 * MAX_PARAMS_TOTAL <= MAX_MESSAGE);
/// How deep one node's parameters are nested, the object itself counted (chosen).
pub const MAX_PARAMS_DEPTH: usize = 16;
/// Edges of one pipeline (chosen: four a node).
pub const MAX_EDGES: usize = 256;
/// Named outputs of one pipeline, `main` among them (chosen; each is encoded on its own).
pub const MAX_OUTPUTS: usize = 16;
/// Routes of one pipeline (chosen).
pub const MAX_ROUTES: usize = 64;
/// Characters of a node type's name (chosen).
pub const MAX_KIND: usize = 64;
/// Ports of one kind, in or out, of a node type (chosen).
pub const MAX_PORTS: usize = 16;
/// Letters of an output's name: its channels are called `<name>-video` and `<name>-audio`, and a channel's output has 32.
pub const MAX_OUTPUT_NAME: usize = 26;
/// Characters of the description (chosen).
pub const MAX_DESCRIPTION: usize = 256;
/// Faults that one check tells; more are not looked for.
pub const MAX_FAULTS: usize = 100;
/// The least that a manifest may allow a node for one frame, in milliseconds (chosen: half of the shortest frame).
pub const MIN_FRAME_LIMIT_MS: u32 = 10;
/// The most that a manifest may allow a node for one frame, in milliseconds (chosen).
pub const MAX_FRAME_LIMIT_MS: u32 = 60_000;
/// Frames that a node's channel may hold by a manifest's wish (chosen: 640 ms of sound in blocks of 10 ms).
pub const MAX_CAPACITY: u32 = 64;
/// The same for a node that makes pictures (chosen: 22 MB of shared memory at 720p for each reader).
pub const MAX_CAPACITY_VIDEO: u32 = 16;
/// Milliseconds of age that a channel may allow: what the `paced` contract keeps at most. 0 is no limit.
pub const MAX_AGE_MS: u32 = 30_000;

/// Bytes of a key that a path names; a longer one is told at what holds it.
pub(crate) const MAX_KEY: usize = 64;
