//! Nodes connected to one another, as one task runs them.
//!
//! What a manifest says and whether it can be run is decided by the router; parameters are checked here as well, with the
//! same code ([`remotemedia_shm_schema::manifest`]). What arrives here is a part of it that one thread runs: today a [`Chain`], in which
//! references go from node to node; a graph with forks and joins will stand beside it and share its nodes.

mod build;
mod chain;
mod link;
mod scratch;

pub use build::build;
pub use chain::{Chain, Passed, Step};
pub use link::Failure;
