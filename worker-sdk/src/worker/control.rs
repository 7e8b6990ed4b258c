//! The control socket, and the bounded queue of what other threads want to say through it.

use super::process::StartFault;
use nix::sys::eventfd::{EfdFlags, EventFd};
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control::{
    Encoding, FrameFault, Frames, HELLO_LEN, Hello, Role, TaskId, ToRouter, ToWorker, encode,
};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Messages of task threads that wait for the main thread (chosen: it takes them within a millisecond).
const MAX_NOTES: usize = 1024;
/// Bytes that wait for a router that does not read; above it, heartbeats and requests are held back.
const MAX_UNSENT: usize = 256 * 1024;
/// How long the router may take to greet.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// What a task's thread tells the main thread.
#[derive(Debug)]
pub(super) enum Note {
    /// For the router, as it is.
    ToRouter(ToRouter),
    /// The processor of a prepared task is made, or cannot be.
    Made { session: SessionId, epoch: u32, task: TaskId, result: Result<(), String> },
    /// The thread has ended; all that it held is dropped.
    Ended { session: SessionId, task: TaskId, serial: u64 },
}

/// The queue from task threads to the main thread.
#[derive(Debug)]
pub(super) struct Outbox {
    notes: Mutex<VecDeque<Note>>,
    bell: EventFd,
}

impl Outbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            notes: Mutex::default(),
            bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// For the router. When the queue is full it is dropped: whoever wants a keyframe asks again.
    pub(super) fn send(&self, message: ToRouter) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        // A wish that waits already need not wait twice.
        let known = matches!(message, ToRouter::KeyframeWanted { .. })
            && notes.iter().any(|note| matches!(note, Note::ToRouter(m) if *m == message));
        if known || notes.len() >= MAX_NOTES {
            return;
        }
        notes.push_back(Note::ToRouter(message));
        drop(notes);
        self.ring();
    }

    /// For the main thread; never dropped. A thread has at most two of these in its life.
    pub(super) fn note(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(note);
        self.ring();
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> VecDeque<Note> {
        let _ = self.bell.read();
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ring(&self) {
        let _ = self.bell.write(1);
    }
}

impl AsFd for Outbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// How the connection is after a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Router {
    /// Open.
    There,
    /// Closed: the router is gone.
    Gone,
}

/// The greeted control connection.
#[derive(Debug)]
pub(crate) struct Control {
    socket: UnixStream,
    encoding: Encoding,
    frames: Frames,
    unsent: VecDeque<u8>,
}

impl Control {
    /// Says hello both ways.
    ///
    /// # Errors
    /// When the other end is not a router that we understand.
    pub(crate) fn greet(
        mut socket: UnixStream,
        role: Role,
        name: &str,
        encoding: Encoding,
    ) -> Result<Self, StartFault> {
        let name: String = name.chars().filter(char::is_ascii_graphic).take(64).collect();
        let own = Hello { role, name, pid: std::process::id(), encoding };
        let io = |e: io::Error| StartFault::Socket(e);
        socket.set_nonblocking(false).map_err(io)?;
        socket.set_read_timeout(Some(HELLO_TIMEOUT)).map_err(io)?;
        socket.write_all(&own.to_bytes()).map_err(io)?;
        let mut head = [0; HELLO_LEN];
        socket.read_exact(&mut head).map_err(io)?;
        let mut body = vec![0; Hello::check_head(&head)?];
        socket.read_exact(&mut body).map_err(io)?;
        let hello = Hello::from_body(&body)?;
        if hello.role != Role::Router {
            return Err(StartFault::NotTheRouter(hello.role));
        }
        socket.set_nonblocking(true).map_err(io)?;
        Ok(Self { socket, encoding, frames: Frames::new(encoding), unsent: VecDeque::new() })
    }

    /// Reads what is there and gives each message to `take`.
    ///
    /// # Errors
    /// When the router does not speak the protocol.
    pub(crate) fn read(&mut self, mut take: impl FnMut(ToWorker)) -> Result<Router, FrameFault> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(Router::Gone),
                Ok(n) => {
                    self.frames.push(buffer.get(..n).unwrap_or_default());
                    while let Some(message) = self.frames.next()? {
                        take(message);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Router::There),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(Router::Gone),
            }
        }
    }

    /// Whether as much waits for the router that nothing should be added.
    pub(crate) fn congested(&self) -> bool {
        self.unsent.len() > MAX_UNSENT
    }

    /// Whether something waits for the socket to take it.
    pub(crate) fn unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Says something, now or as soon as the socket takes it.
    pub(crate) fn say(&mut self, message: &ToRouter) {
        match encode(self.encoding, message) {
            Ok(bytes) => self.unsent.extend(bytes),
            Err(error) => tracing::error!(%error, "a message to the router was not sent"),
        }
        self.flush();
    }

    /// Writes what the socket takes. A broken socket shows at the next read.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            let (head, _) = self.unsent.as_slices();
            match self.socket.write(head) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    self.unsent.drain(..n);
                }
            }
        }
    }

    /// Writes all, waiting for the socket; for the last words.
    pub(crate) fn finish(&mut self) {
        let _ = self.socket.set_nonblocking(false);
        let _ = self.socket.set_write_timeout(Some(Duration::from_millis(100)));
        self.flush();
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
