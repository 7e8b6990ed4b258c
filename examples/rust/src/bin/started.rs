//! A worker that the router starts, for it stands in the config; here one over sound, which turns it down.
//!
//! ```toml
//! [workers.quiet]
//! command = "/path/to/started"
//! [pipelines.quiet]
//! nodes = [{ id = "quiet", type = "Quiet", worker = "quiet" }]
//! ```

use remotemedia_worker::{schema::AudioGeometry, worker::Worker};
use std::process::ExitCode;

fn main() -> ExitCode {
    Worker::audio("Quiet", |input: &[f32], _: AudioGeometry, output: &mut [f32]| {
        for (from, to) in input.iter().zip(output) {
            *to = from / 4.0;
        }
        Ok(())
    })
    .run()
}
