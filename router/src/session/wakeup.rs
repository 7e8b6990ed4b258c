//! The listener's descriptor in tokio's event loop.
#![allow(
    unsafe_code,
    reason = "tokio wants the promise that a registered descriptor stays open and the same"
)]

use remotemedia_worker::Wake;
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Readable when something came for this session.
///
/// # Errors
/// When the event loop does not take it.
pub(super) fn register(wake: Wake) -> io::Result<AsyncFd<Wake>> {
    // SAFETY: `AsyncFd` owns the `Wake` from here to its drop, nothing gets it out mutably, and a `Wake` gives the same
    // descriptor as long as it lives: that of the one listener it owns.
    unsafe { AsyncFd::register_with_interest(wake, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}
