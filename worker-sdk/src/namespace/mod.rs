//! Namespaces: the router makes one per session, every process of the session opens it, nothing is left of it.
//!
//! A namespace is a random, unpublished prefix of all shared-memory names, and a root folder on tmpfs for sockets and
//! service files. [`Runtime`] is the folder that the roots lie in. [`Host`] is the router's side; [`sweep_dead`] takes
//! away what a dead router left. iceoryx2's own cleaner is never used: a process that dies leaves its residue until the
//! session's end, and a replacement gets fresh services.

pub(crate) mod config;
mod ground;
mod host;
mod runtime;
mod sweep;

pub use config::{
    MAX_CAPACITY, MAX_INDEX, MAX_PAYLOAD, MAX_READERS, MAX_ROOT_AND_PREFIX, MAX_SERVICE_NAME,
    MAX_WAKES, bytes_of,
};
pub use ground::Ground;
pub use host::Host;
pub use runtime::{Runtime, RuntimeFault};
pub use sweep::{Objects, Swept, bytes_by_prefix, leftovers, objects, sweep_dead, unlink_ports};
