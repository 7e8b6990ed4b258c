//! A node in its place in a chain.

use crate::node::{NodeError, Way};
use crate::registry::Running;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::header::MAX_SIDE;
use remotemedia_shm_schema::{NodeId, VideoGeometry};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A node, and what the manifest says about it.
pub(super) struct Link {
    pub(super) id: NodeId,
    pub(super) number: u8,
    on_failure: OnFailure,
    pub(super) node: Box<dyn Running>,
}

/// A node failed on a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node}: {error}")]
pub struct Failure {
    /// Which.
    pub node: NodeId,
    /// What becomes of the frame.
    pub on_failure: OnFailure,
    /// Why.
    pub error: NodeError,
}

impl Link {
    pub(super) fn new(of: &GraphNode, node: Box<dyn Running>) -> Self {
        Self { id: of.id.clone(), number: of.number, on_failure: of.on_failure, node }
    }

    pub(super) fn failure(&self, error: NodeError) -> Failure {
        Failure { node: self.id.clone(), on_failure: self.on_failure, error }
    }

    /// Lets the node work. One that panics has lost its state, not its parameters: it is made anew with those that are
    /// in force, and the frame counts as failed.
    pub(super) fn work<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Running) -> Result<T, NodeError>,
    ) -> Result<T, Failure> {
        let node = &mut *self.node;
        // Unwind safety: after a panic nothing of the node is used but its parameters.
        let done = catch_unwind(AssertUnwindSafe(|| call(node))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().map(ToString::to_string);
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            let said = said.unwrap_or_else(|| "no text".into());
            match self.node.renew() {
                Ok(()) => Err(NodeError::new(format!("it panicked and was made anew: {said}"))),
                Err(e) => Err(NodeError::new(format!(
                    "it panicked ({said}) and cannot be made anew: {e}"
                ))),
            }
        });
        done.map_err(|error| self.failure(error))
    }

    /// The geometry of what the node makes of a picture of this one. It may have `most` bytes where it is another.
    pub(super) fn shape(&self, of: &VideoGeometry, most: usize) -> Result<VideoGeometry, Failure> {
        let size = self.node.size(of).map_err(|error| self.failure(error))?;
        if size == (of.width, of.height) {
            return Ok(*of);
        }
        if self.node.way_for(of) != Way::Across {
            let why = "it gives pictures another size, and does not write them anew";
            return Err(self.failure(NodeError::new(why)));
        }
        self.sized(of, size, most)
    }

    /// A picture of another size, laid out as our own are; it may have `most` bytes.
    pub(super) fn sized(
        &self,
        of: &VideoGeometry,
        (width, height): (u16, u16),
        most: usize,
    ) -> Result<VideoGeometry, Failure> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            let why =
                format!("it makes {width}x{height}; 1x1 to {MAX_SIDE}x{MAX_SIDE} are allowed");
            return Err(self.failure(NodeError::new(why)));
        }
        let shape = laid_out(of, (width, height));
        let bytes = shape.payload_len();
        if bytes > most {
            let why = format!(
                "it makes {width}x{height}, which has {bytes} bytes; `max_video` leaves room for {most}"
            );
            return Err(self.failure(NodeError::new(why)));
        }
        Ok(shape)
    }
}

/// A picture of this size and of another's colours, laid out as our own are.
pub(super) fn laid_out(of: &VideoGeometry, (width, height): (u16, u16)) -> VideoGeometry {
    VideoGeometry {
        matrix: of.matrix,
        range: of.range,
        rotation: of.rotation,
        ..VideoGeometry::i420(width, height)
    }
}
