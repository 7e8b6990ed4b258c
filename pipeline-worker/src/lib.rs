//! Hosts the nodes of a pipeline.
//!
//! The way of a frame: [`task`] receives it and loans memory for the result; [`graph::Chain`] passes it from node to
//! node by reference; each [`node::Node`] changes it, the last one into the loan; [`task`] publishes. The built-in nodes
//! are in [`nodes`], and [`registry::Registry`] says which there are: a program of one's own adds its nodes to it.

pub mod graph;
pub mod node;
pub mod nodes;
pub mod registry;
pub mod sound;
pub mod task;

use registry::Registry;
use remotemedia_shm_schema::control::Role;
use remotemedia_worker::worker::Limits;
use std::process::ExitCode;

/// Bytes of memory of its own that the worker with the built-in nodes may take (chosen: a 4K picture has 12 MB, and the
/// greediest node keeps six of them a task).
const MAX_MEMORY: u64 = 2 << 30;

/// The worker with the built-in nodes: serves the router that started this process, until it is drained or the router is
/// gone.
pub fn main() -> ExitCode {
    let limits = Limits { memory: Some(MAX_MEMORY), ..Limits::default() };
    serve(task::Graphs::new(Registry::built_in()).within(limits))
}

/// As [`main`], with nodes of one's own, and without a limit of memory.
pub fn main_with(registry: Registry) -> ExitCode {
    serve(task::Graphs::new(registry))
}

fn serve(graphs: task::Graphs) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    remotemedia_worker::worker::run(Role::Pipeline, "pipeline-worker", graphs)
}
