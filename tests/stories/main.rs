//! Stories: what people who use the router see, told with real processes, real sockets and real codecs.
//!
//! Each test starts a router of its own on a free port with a runtime folder of its own, and ends it; [`router::Router`]
//! then looks for what may be left: processes, shared memory, folders, the port. [`router::turn`] lets one story run at a
//! time, so whatever appeared in /dev/shm meanwhile is its own.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]
#![allow(unreachable_pub, reason = "a program; its modules speak with one another")]

mod attached;
mod browser;
mod call;
mod chromium;
mod floods;
mod hostile;
mod kills;
mod lifecycle;
mod loss;
mod media;
mod memory;
mod outputs;
mod outside;
mod pipelines;
mod python;
mod recovery;
mod refusals;
mod relay;
mod rooms;
mod router;
mod soak;
mod socket;
