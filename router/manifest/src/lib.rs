//! The manifest of a pipeline: read, checked against what the workers offer, drawn.
//!
//! A manifest names nodes, what leads where, and who gets what comes out:
//!
//! ```yaml
//! pipeline:
//!   nodes:
//!     - {id: soft, type: GaussianBlur, params: {sigma: 4}, on_failure: hold}
//!     - {id: mix, type: Mixer}
//!   graph:
//!     - {from: input, to: soft}
//!     - {from: soft, to: output}
//!     - {from: input.audio, to: mix}
//!     - {from: mix, to: output}
//!   routes:
//!     - {output: main, to: others}
//! description: A conference with soft pictures
//! ```
//!
//! The way of a manifest: a text goes through [`Document::parse`] (each key once, within limits), [`check()`] makes a
//! [`Graph`] of the document or tells every [`Fault`] at once, and a graph is drawn ([`Graph::text`], [`Graph::mermaid`])
//! or held against the one that runs ([`Graph::diff`]). `read` takes the document apart, `wire` leads streams from port to
//! port, `graph` is what comes of it. [`shape`] has the same shape as types, which the published schema is made of;
//! `docs/manifest.md` tells all of it to those who write manifests.
//!
//! What ends and ports mean:
//!
//! - `input` and `output` are no nodes. `input.video`, `input.audio` and `input.data` are what a peer sends; `output` is
//!   the result `main`, `output.low` another, `output.low.video` its pictures. An end without a port stands for all ports
//!   that fit, if there is only one way.
//! - A port takes one stream, unless it gathers (a mixer's) or takes messages, which merge.
//! - What comes of a peer's media is *one of each peer*; behind an input that gathers it is *one for the session*, or,
//!   where its node makes it so, *one for each listener*. Streams of peers and of listeners never come together in a node.
//!
//! Nothing here reads a file, a clock or a socket, and no text panics: a manifest may come from anybody.
//!
//! ```
//! use remotemedia_manifest::{Document, Format, Known, Media, NodeType, Origin, Port, check};
//! use std::collections::{BTreeMap, BTreeSet};
//!
//! let blur = NodeType {
//!     kind: "GaussianBlur".into(),
//!     summary: "Makes pictures soft.".into(),
//!     inputs: vec![Port::new("video", Media::Video)],
//!     outputs: vec![Port::new("video", Media::Video)],
//!     params_schema: serde_json::json!({"type": "object"}),
//! };
//! let (workers, hosts) = (BTreeMap::new(), BTreeSet::new());
//! let known = Known { own: &[blur], workers: &workers, hosts: &hosts, media_dir: false };
//!
//! let text = r#"{"pipeline": {"nodes": [{"id": "b", "type": "Bluur"}]}}"#;
//! let document = Document::parse(text, Format::Json).expect("it is JSON");
//! let faults = check(&document, known, Origin::Network).expect_err("no worker has a Bluur");
//! assert_eq!(
//!     faults.to_string(),
//!     "/pipeline/nodes/0/type: unknown node type `Bluur`; did you mean `GaussianBlur`?"
//! );
//! ```
#![forbid(unsafe_code)]

pub mod limits;
pub mod shape;

mod catalogue;
mod check;
mod diff;
mod document;
mod draw;
mod fault;
mod graph;
mod group;
mod read;
mod suggest;
mod wire;

pub use catalogue::{Known, Media, NodeType, Origin, Port};
pub use check::check;
pub use diff::Change;
pub use document::{Document, Format};
pub use fault::{Fault, Faults};
pub use graph::{
    Feed, Graph, Group, Inlet, Link, MAIN, Node, Outlet, Output, Queue, Reader, Route, Scope,
    Stream,
};
pub use read::check_changes;
pub use shape::schema;
