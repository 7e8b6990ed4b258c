//! The router: signaling, sessions, supervision, cleanup, command line.
mod allocator;
pub mod attach;
pub mod cli;
pub mod config;
pub mod pipeline;
pub mod registry;
pub mod serve;
pub mod session;
pub mod sessions;
pub mod signaling;
pub mod staff;
pub mod web;
pub mod workers;
