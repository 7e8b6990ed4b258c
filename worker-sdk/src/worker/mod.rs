//! The frame of a worker process: what our own workers and users' are built on.
//!
//! A worker implements [`Factory`] and [`Processor`] and calls [`run`] from its `main`; or, for one function over
//! pictures or sound, uses [`Worker`]. The main thread speaks with the router over the socket it was started with
//! (hello, catalogue, heartbeats every 100 ms, prepare and switch); each task has a thread of its own that waits for
//! frames and commands. When the router goes away the process ends at once; the router sweeps what it leaves. What it may
//! do to the machine meanwhile, [`sandbox`] tells.

mod attach;
mod beat;
mod control;
mod inbox;
mod mark;
mod output;
pub(crate) mod process;
mod processor;
mod run;
pub mod sandbox;
mod session;
mod shelf;
mod simple;
mod task;

pub use crate::schema::contract::DropReason;
pub use crate::schema::control::{
    Attach, Catalogue, KeyframeReason, NodeDescription, Role, Task, TaskKind,
};
pub use attach::{connect, connect_in};
pub(crate) use control::{Control, Router as RouterState};
pub use output::{Marker, Output};
pub use processor::{Command, Factory, Processor, TaskError};
pub use run::{attach, attach_over, run};
pub use sandbox::Limits;
pub use simple::Worker;
