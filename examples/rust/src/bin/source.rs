//! A further input of a running session, routed as the pictures of a peer `bar`: `source SESSION`, until Ctrl-C.

use remotemedia_worker::{PictureMut, worker::Worker};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(session) = std::env::args().nth(1) else {
        eprintln!("usage: source SESSION");
        return ExitCode::from(2);
    };
    let draw = |number: u64, picture: &mut PictureMut<'_>| {
        let at = (number * 4 % 320) as usize;
        for row in picture.rows_mut(0) {
            row.fill(32);
            // A bright bar that wanders.
            row.iter_mut().skip(at).take(16).for_each(|luma| *luma = 220);
        }
        picture.u.fill(128);
        picture.v.fill(128);
        Ok(())
    };
    Worker::picture_source("bar", &session, (320, 180), 30, draw)
}
