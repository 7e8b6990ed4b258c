//! How a process attaches to named channels, loans, publishes, receives, beats and drains.
//!
//! The only crate that names iceoryx2. The router makes a session's namespace and services with [`namespace::Host`];
//! every process of the session opens them through an [`Attachment`]. A producer loans memory from its [`Outlet`], fills
//! it and publishes it with a [`Meta`](remotemedia_shm_schema::Meta); whoever reads waits on its [`Wake`] and takes
//! [`Frame`]s from its [`Inlet`]: the same memory, borrowed, never copied. [`worker`] is the frame of a worker process
//! around these, and what our own workers are built on.
//!
//! What this crate does not know: codecs, nodes, RTP, and what a session looks like as a whole.

mod attachment;
mod clock;
mod fault;
mod frame;
mod header;
mod inlet;
pub mod namespace;
mod outlet;
mod picture;
pub mod steward;
mod wake;
pub mod worker;

pub use attachment::Attachment;
pub use clock::monotonic_ns;
pub use fault::{Fault, SendFault};
pub use frame::Frame;
pub use inlet::{Inlet, InletCounters};
pub use outlet::{Loan, Outlet, OutletCounters};
pub use picture::{Picture, PictureMut};
pub use remotemedia_shm_schema as schema;
pub use wake::Wake;

/// The iceoryx2 service behind all ports: its ports may be moved and shared between threads, and they speak with
/// single-threaded ones and with Python's.
pub(crate) type Service = iceoryx2::prelude::ipc_threadsafe::Service;
