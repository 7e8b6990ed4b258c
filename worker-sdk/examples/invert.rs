//! A complete video worker: gives each picture back as its negative.
//!
//! The router starts it and leaves it a control socket; run by hand it says so and ends.

use remotemedia_worker::worker::Worker;
use remotemedia_worker::{Picture, PictureMut};
use std::process::ExitCode;

fn main() -> ExitCode {
    Worker::video("invert", |input: Picture<'_>, output: &mut PictureMut<'_>| {
        for plane in 0..3 {
            for (from, to) in input.rows(plane).zip(output.rows_mut(plane)) {
                for (from, to) in from.iter().zip(to) {
                    *to = 255 - from;
                }
            }
        }
        Ok(())
    })
    .run()
}
