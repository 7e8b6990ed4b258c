//! Where a processor puts its frames, and what else it has to say about them.

use super::control::Outbox;
use super::mark::Place;
use crate::{Loan, Outlet, SendFault};
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::{ChannelSpec, Counters, KeyframeReason, ToRouter};
use remotemedia_shm_schema::{Meta, NodeId, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The same wish is said again after so long only (the router asks a sender at most every 500 ms).
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(250);
/// Errors of one node are told at most so often.
const NODE_ERROR_INTERVAL: Duration = Duration::from_secs(1);
/// Nodes whose last error is remembered; a session has at most 256.
const MAX_NODES: usize = 256;
/// Bytes of an error's text.
const MAX_ERROR: usize = 1024;

/// What a task tells besides its frames; lives as long as its thread.
#[derive(Debug)]
pub(super) struct Notes {
    session: SessionId,
    outbox: Arc<Outbox>,
    pub(super) counters: Counters,
    asked: Option<Instant>,
    told: BTreeMap<NodeId, Instant>,
}

impl Notes {
    pub(super) fn new(session: SessionId, outbox: Arc<Outbox>) -> Self {
        let counters = Counters::default();
        Self { session, outbox, counters, asked: None, told: BTreeMap::new() }
    }

    /// Asks the router for a keyframe on `input`, unless it was asked a moment ago.
    pub(super) fn want_keyframe(&mut self, input: &ChannelSpec, reason: KeyframeReason) {
        let now = Instant::now();
        if self.asked.is_some_and(|asked| now.duration_since(asked) < KEYFRAME_INTERVAL) {
            return;
        }
        self.asked = Some(now);
        self.outbox.send(ToRouter::KeyframeWanted {
            session: self.session.clone(),
            channel: input.index,
            epoch: input.epoch,
            reason,
        });
    }

    pub(super) fn count_drop(&mut self, reason: DropReason) {
        if let Some(counter) = self.counters.dropped.get_mut(reason.index()) {
            *counter += 1;
        }
    }

    fn node_error(&mut self, node: &NodeId, error: &str) {
        let now = Instant::now();
        let recent = |at: &Instant| now.duration_since(*at) < NODE_ERROR_INTERVAL;
        let known = self.told.get(node);
        if known.is_some_and(recent) || (known.is_none() && self.told.len() >= MAX_NODES) {
            return;
        }
        self.told.insert(node.clone(), now);
        self.outbox.send(ToRouter::NodeError {
            session: self.session.clone(),
            node: node.clone(),
            error: error.chars().take(MAX_ERROR).collect(),
        });
    }
}

/// What [`super::Processor::process`] puts its results into.
#[derive(Debug)]
pub struct Output<'a> {
    pub(super) outlet: Option<&'a mut Outlet>,
    pub(super) notes: &'a mut Notes,
    pub(super) input: Option<&'a ChannelSpec>,
    pub(super) place: &'a Place,
}

/// Tells which node works, for whoever looks after a crash what it was.
#[derive(Debug, Clone, Copy)]
pub struct Marker<'a>(&'a Place);

impl Marker<'_> {
    /// The node with this number in the session begins.
    pub fn node(self, number: u8) {
        self.0.enter(Some(number));
    }
}

impl<'a> Output<'a> {
    fn outlet(&mut self) -> Result<&mut Outlet, SendFault> {
        self.outlet.as_deref_mut().ok_or(SendFault::Nowhere)
    }

    /// Memory for a result; see [`Outlet::loan`].
    ///
    /// # Errors
    /// As there, and when the task makes no frames.
    pub fn loan(&mut self, len: usize) -> Result<Loan<'_>, SendFault> {
        self.outlet()?.loan(len)
    }

    /// The greatest loan that the channel has, for encoders; see [`Loan::publish_len`].
    ///
    /// # Errors
    /// As [`Outlet::loan`].
    pub fn loan_max(&mut self) -> Result<Loan<'_>, SendFault> {
        self.outlet()?.loan_max()
    }

    /// A frame without payload; see [`Outlet::publish_empty`].
    ///
    /// # Errors
    /// As there.
    pub fn publish_empty(&mut self, meta: Meta) -> Result<(), SendFault> {
        self.outlet()?.publish_empty(meta)
    }

    /// The channel that is written, if there is one.
    #[must_use]
    pub fn spec(&self) -> Option<&ChannelSpec> {
        self.outlet.as_deref().map(Outlet::spec)
    }

    /// To mark which node works.
    #[must_use]
    pub fn marker(&self) -> Marker<'a> {
        Marker(self.place)
    }

    /// Asks for a keyframe on the task's input; several wishes within 250 ms are one.
    pub fn want_keyframe(&mut self, reason: KeyframeReason) {
        if let Some(input) = self.input {
            self.notes.want_keyframe(input, reason);
        }
    }

    /// A frame was dropped.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.notes.count_drop(reason);
    }

    /// Bytes were copied beyond reading and writing in place.
    pub fn count_copied(&mut self, bytes: usize) {
        self.notes.counters.copied_bytes += bytes as u64;
    }

    /// A frame was made up because one was lost.
    pub fn count_concealed(&mut self) {
        self.notes.counters.concealed += 1;
    }

    /// A keyframe was made. Those that come in are counted without this.
    pub fn count_keyframe(&mut self) {
        self.notes.counters.keyframes += 1;
    }

    /// A node failed on a frame: counted as dropped by it, and told to the router at most once a second and node.
    pub fn node_error(&mut self, node: &NodeId, error: &str) {
        self.notes.count_drop(DropReason::NodeError);
        self.notes.node_error(node, error);
    }
}
