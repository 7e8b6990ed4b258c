#![allow(unsafe_code, reason = "iceoryx2 gives the listener's descriptor as a bare number")]
//! What a reading thread waits on: a descriptor that becomes readable when a frame was published.

use crate::{Attachment, Fault, Service};
use iceoryx2::port::listener::Listener;
use iceoryx2::prelude::FileDescriptorBased;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remotemedia_shm_schema::ChannelIndex;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Drains of one call: a producer that rings without pause must not keep its reader from reading.
const MAX_DRAINS: usize = 4;

/// One thread's wake-up.
///
/// Its descriptor becomes readable when a frame was published to one of the channels that ring it; it works with `poll`
/// and with tokio's `AsyncFd`. After it did, call [`Wake::drain`] first and read the inlets then. A producer that dies
/// while it rings may take one wake-up with it: drain and look at the inlets every 100 ms in any case.
#[derive(Debug)]
pub struct Wake {
    listener: Listener<Service>,
    service: String,
}

impl Wake {
    pub(crate) fn open(attachment: &Attachment, service: &str) -> Result<Self, Fault> {
        let fault = |what| move |e: &dyn std::fmt::Debug| Fault::port(what, service, e);
        let event =
            attachment.named(service)?.event().open().map_err(|e| fault("open the wake-up")(&e))?;
        let listener = {
            // iceoryx2 0.10 narrows the process's umask while it binds a listener's socket: of two at once the second
            // would restore the first's narrow one, and every folder made later would have mode 0600.
            static BINDING: Mutex<()> = Mutex::new(());
            let _alone = BINDING.lock().unwrap_or_else(PoisonError::into_inner);
            event.listener_builder().create().map_err(|e| fault("listen to the wake-up")(&e))?
        };
        let wake = Self { listener, service: service.to_owned() };
        // The first try makes the descriptor non-blocking.
        wake.drain(|_| ());
        Ok(wake)
    }

    /// Its service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Takes what rang, and tells each channel once or more; never blocks.
    pub fn drain(&self, mut rang: impl FnMut(ChannelIndex)) {
        for _ in 0..MAX_DRAINS {
            if !self.drain_once(&mut rang) {
                return;
            }
        }
    }

    /// One step of [`Wake::drain`]: whether something rang. For loops that count microseconds, which read their inlets
    /// after each step and wait only after one that gave false.
    ///
    /// One step is not enough before waiting: a producer that rings between the two halves of iceoryx2's own drain has
    /// its datagram taken, but stays marked as having rung, and would not ring again (read in its `drain_events`).
    pub fn drain_once(&self, mut rang: impl FnMut(ChannelIndex)) -> bool {
        let drained = self.listener.try_wait(|event| {
            rang(ChannelIndex(u32::try_from(event.id.as_value()).unwrap_or(u32::MAX)));
        });
        match drained {
            Ok(events) => events > 0,
            Err(error) => {
                tracing::debug!(%error, wake = self.service, "a wake-up could not be drained");
                false
            }
        }
    }

    /// Waits until something rang; false when the time is over before. Draining is the caller's.
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let limit = match timeout {
            // Up to the next whole millisecond: zero would spin.
            Some(limit) => {
                PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        loop {
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, limit) {
                Ok(ready) => return Ok(ready > 0),
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsRawFd for Wake {
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: the number is used as long as `self`, which owns the listener, is borrowed, and nobody closes it.
        unsafe { self.listener.file_descriptor().native_handle() }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the listener, which lives as long as this borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}
