//! A node that comes into a running call and leaves it again: darkens the picture behind a raw channel, as in
//! `insert rm/SESSION/in/PEER/video0/raw`, until Ctrl-C.

use remotemedia_worker::{Picture, PictureMut, worker::Worker};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(channel) = std::env::args().nth(1) else {
        eprintln!("usage: insert CHANNEL");
        return ExitCode::from(2);
    };
    Worker::video("dark", |input: Picture<'_>, output: &mut PictureMut<'_>| {
        // Both are shared memory: read in place, written in place.
        for plane in 0..3 {
            for (from, to) in input.rows(plane).zip(output.rows_mut(plane)) {
                to.copy_from_slice(from);
                if plane == 0 {
                    to.iter_mut().for_each(|luma| *luma /= 2);
                }
            }
        }
        Ok(())
    })
    .insert(&channel, "dark")
}
