//! The steward's end of the stream of access units: never waits, holds a bounded number of bytes each way.

use remotemedia_shm_schema::contract::MAX_ACCESS_UNIT;
use remotemedia_shm_schema::unit::{UNIT_HEAD, UnitHead};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Bytes that wait for a router that does not read; a unit that finds no room is dropped (chosen: four of the greatest).
const MAX_UNSENT: usize = 4 * MAX_ACCESS_UNIT as usize;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// What came.
#[allow(
    clippy::large_enum_variant,
    reason = "on the stack for a moment; a box would be an allocation a frame"
)]
pub(super) enum Arrived<'a> {
    /// A whole unit.
    Unit {
        /// What it is.
        head: UnitHead,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// Not yet a whole one.
    Nothing,
    /// The router closed the stream.
    Gone,
}

/// The stream.
pub(super) struct Units {
    socket: UnixStream,
    /// Bytes that came; those before `taken` have been given out.
    came: Vec<u8>,
    taken: usize,
    unsent: VecDeque<u8>,
}

impl Units {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, came: Vec::new(), taken: 0, unsent: VecDeque::new() })
    }

    /// The next unit, read from the socket if it is not there yet.
    ///
    /// # Errors
    /// When the router sent what is no unit.
    pub(super) fn next(&mut self) -> io::Result<Arrived<'_>> {
        loop {
            let rest = self.came.get(self.taken..).unwrap_or_default();
            if let Some((head, behind)) = rest.split_first_chunk::<UNIT_HEAD>() {
                let head = UnitHead::from_bytes(head).map_err(io::Error::other)?;
                let len = head.len as usize;
                if behind.len() >= len {
                    let begin = self.taken + UNIT_HEAD;
                    self.taken = begin + len;
                    let payload = self.came.get(begin..begin + len).unwrap_or_default();
                    return Ok(Arrived::Unit { head, payload });
                }
            }
            self.came.drain(..self.taken);
            self.taken = 0;
            let had = self.came.len();
            self.came.resize(had + CHUNK, 0);
            let read = self.socket.read(self.came.get_mut(had..).unwrap_or_default());
            self.came.truncate(had + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Ok(Arrived::Gone),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Arrived::Nothing),
                Err(_) => return Ok(Arrived::Gone),
            }
        }
    }

    /// Sends a unit now or as soon as the socket takes it; whether there was room for it.
    pub(super) fn push(&mut self, head: &UnitHead, payload: &[u8]) -> bool {
        if self.unsent.len() + UNIT_HEAD + payload.len() > MAX_UNSENT {
            return false;
        }
        self.unsent.extend(head.to_bytes());
        self.unsent.extend(payload);
        // An error shows when it is read from.
        let _ = self.flush();
        true
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// When the socket is broken.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let (head, _) = self.unsent.as_slices();
            match self.socket.write(head) {
                Ok(n) => {
                    self.unsent.drain(..n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Told at the next read.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    pub(super) fn unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl AsFd for Units {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
