//! The worker processes: who lives, who is spare, who serves which session, who is hung, who is started next.
//!
//! [`supervise`] decides, told of events and the time. [`process`] starts and ends processes, [`control`] speaks with
//! them, and [`pool`] is the one loop that carries between the three and the sessions. What the pool does not know:
//! media, channels, peers.

pub mod control;
mod flood;
pub mod locate;
pub mod marks;
pub mod pool;
pub mod process;
pub mod program;
pub mod supervise;

pub(crate) use flood::{Flood, cut};
pub use pool::{Autopsy, Lease, LeaseFault, Pool, WorkerEvent, WorkerView};
pub(crate) use pool::{FrameLimits, overdue};
pub use program::{Lock, Program, Programs};
pub use supervise::{Role, WorkerId};
