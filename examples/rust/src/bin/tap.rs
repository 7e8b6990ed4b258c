//! Looks at what passes in a running call, and holds nobody up: `tap rm/SESSION/in/PEER/video0/raw`, until Ctrl-C.

use remotemedia_worker::{Frame, worker::Worker};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(channel) = std::env::args().nth(1) else {
        eprintln!("usage: tap CHANNEL");
        return ExitCode::from(2);
    };
    let mut seen = 0u64;
    Worker::tap("tap", &channel, move |frame: &Frame| {
        seen += 1;
        if seen % 30 == 1 {
            let (number, bytes) = (frame.meta().sequence, frame.payload().len());
            println!("frame {number}: {bytes} bytes in place, {} missed before it", frame.missed());
        }
        Ok(())
    })
}
