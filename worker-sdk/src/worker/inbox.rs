//! What a task's thread is told, and the descriptor that wakes it for it.

use super::Command;
use super::control::Outbox;
use crate::{Inlet, Outlet, Wake};
use nix::sys::eventfd::{EfdFlags, EventFd};
use remotemedia_shm_schema::control::{ChannelSpec, ToRouter};
use remotemedia_shm_schema::{NodeId, SessionId};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// New parameters that wait for one task; more are refused (a person moving a slider makes 60 a second).
const MAX_PARAMS: usize = 64;

/// A port as a new wiring wants it.
#[derive(Debug)]
pub(super) enum Port<P> {
    /// The same service under a new description.
    Keep(ChannelSpec),
    /// Another service, already open.
    Fresh(Box<P>),
}

/// A task's ports in a new wiring.
#[derive(Debug)]
pub(super) struct Wiring {
    pub(super) input: Option<Port<Inlet>>,
    pub(super) output: Option<Port<Outlet>>,
}

/// What a task reads, writes and is woken by.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) input: Option<Inlet>,
    pub(super) output: Option<Outlet>,
    pub(super) wake: Option<Wake>,
}

/// All that waits for a task's thread.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) stop: bool,
    /// It begins, with these.
    pub(super) start: Option<Box<Ports>>,
    /// In their order; each is the difference to the one before, so none may be left out.
    pub(super) rewire: Vec<Wiring>,
    pub(super) keyframe: bool,
    pub(super) bitrate: Option<u32>,
    pub(super) repeat: Option<u64>,
    pub(super) params: Vec<(NodeId, String, Arc<Answer>)>,
}

/// Orders for one thread: bounded, newest wins where only the newest matters.
#[derive(Debug)]
pub(super) struct Inbox {
    orders: Mutex<Orders>,
    waiting: AtomicBool,
    bell: EventFd,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            orders: Mutex::default(),
            waiting: AtomicBool::new(false),
            bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Changes what waits, and wakes the thread.
    fn put(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.waiting.store(true, Ordering::Release);
        // It can only fail when it has been rung 2^64 times.
        let _ = self.bell.write(1);
    }

    pub(super) fn stop(&self) {
        self.put(|orders| orders.stop = true);
    }

    pub(super) fn start(&self, ports: Ports) {
        self.put(|orders| orders.start = Some(Box::new(ports)));
    }

    pub(super) fn rewire(&self, wiring: Wiring) {
        self.put(|orders| orders.rewire.push(wiring));
    }

    /// The last frame is wanted once more, at this media time.
    pub(super) fn repeat(&self, media_time_ns: u64) {
        self.put(|orders| orders.repeat = Some(media_time_ns));
    }

    /// One more command; `answer` is told of how it went, for parameters.
    pub(super) fn command(&self, command: Command, answer: Option<Arc<Answer>>) {
        self.put(|orders| match command {
            Command::Keyframe => orders.keyframe = true,
            Command::Bitrate(rate) => orders.bitrate = Some(rate),
            Command::Params { node, json } => {
                let Some(answer) = answer else { return };
                if orders.params.len() < MAX_PARAMS {
                    orders.params.push((node, json, answer));
                } else {
                    answer.fail("the task is busy: too many parameter changes wait for it".into());
                }
            }
        });
    }

    /// Whether something waits; for a look between two frames.
    pub(super) fn waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> Orders {
        let _ = self.bell.read();
        // Before the lock: an order that comes after it sets the mark again.
        self.waiting.store(false, Ordering::Release);
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// The answer to one `Params`: goes to the router when the last task that it concerned has dropped it.
#[derive(Debug)]
pub(super) struct Answer {
    session: SessionId,
    request: u32,
    error: Mutex<Option<String>>,
    outbox: Arc<Outbox>,
}

impl Answer {
    pub(super) fn new(session: SessionId, request: u32, outbox: Arc<Outbox>) -> Self {
        Self { session, request, error: Mutex::default(), outbox }
    }

    /// It could not be applied; the first reason is told.
    pub(super) fn fail(&self, why: String) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.outbox.send(ToRouter::Applied {
            session: self.session.clone(),
            request: self.request,
            error: self.error.get_mut().unwrap_or_else(PoisonError::into_inner).take(),
        });
    }
}
