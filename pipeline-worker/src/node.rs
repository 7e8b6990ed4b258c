//! What a node is: it changes pictures, sound or both, and has parameters that can change while it runs.
//!
//! A node type implements [`Node`]; its parameters are a serde struct with `deny_unknown_fields`, defaults, and a JSON
//! Schema that carries their ranges, which is the one place where ranges stand. [`crate::registry::Registry`] offers
//! node types, [`crate::graph::Chain`] runs nodes one behind the other.

use crate::sound::Sound;
use remotemedia_shm_schema::VideoGeometry;
use remotemedia_worker::{Picture, PictureMut};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// What a node needs of the picture that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It leaves the picture as it is: the next node gets the same reference.
    HandsOn,
    /// It changes a picture where it lies.
    Within,
    /// It reads one picture and writes another.
    Across,
}

/// When a frame is, for nodes that show or use it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// The producer's number of it.
    pub sequence: u64,
    /// Its media time on the router's line.
    pub media_time_ns: u64,
    /// Nanoseconds since 1970, UTC.
    pub unix_ns: u64,
}

/// Why a node failed on a frame, for a person. The frame is dropped, the next one is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NodeError(String);

impl NodeError {
    /// With what went wrong.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A node type.
pub trait Node: Send + Sized + 'static {
    /// Its parameters; the default is what an empty object gives.
    type Params: Serialize + DeserializeOwned + JsonSchema + Default + Send;

    /// Its name in manifests.
    const KIND: &'static str;
    /// What it does, in one sentence.
    const SUMMARY: &'static str;
    /// Whether it takes pictures.
    const VIDEO: bool;
    /// Whether it takes sound.
    const AUDIO: bool;

    /// A node with these parameters, which are in their ranges.
    ///
    /// # Errors
    /// When they contradict each other, or what it needs cannot be had.
    fn new(params: &Self::Params) -> Result<Self, NodeError>;

    /// Other parameters from the next frame on; after an error the old ones stay in force.
    ///
    /// # Errors
    /// As [`Node::new`].
    fn configure(&mut self, params: &Self::Params) -> Result<(), NodeError>;

    /// What it needs of the next picture or block of sound (there [`Way::Within`] and [`Way::Across`] are the same, as
    /// [`Sound`] is both); it may change with its parameters.
    fn way(&self) -> Way;

    /// What it needs of a picture of this geometry: [`Node::way`], or less where there is nothing to do. A node that gives
    /// pictures another size works [`Way::Across`] on these.
    fn way_for(&self, of: &VideoGeometry) -> Way {
        let _ = of;
        self.way()
    }

    /// Width and height, as it is stored, of what it makes of a picture of this geometry.
    ///
    /// # Errors
    /// When nothing can be made of such a picture.
    fn size(&self, of: &VideoGeometry) -> Result<(u16, u16), NodeError> {
        Ok((of.width, of.height))
    }

    /// Width and height of what it makes of any picture, where that is always the same: what does not fit is then refused
    /// before the first one.
    fn size_of_any(&self) -> Option<(u16, u16)> {
        None
    }

    /// Whether it wants the picture of this moment; asked once for each, before any node works on it.
    fn admits(&mut self, moment: &Moment) -> bool {
        let _ = moment;
        true
    }

    /// Changes a picture where it lies, for [`Way::Within`].
    ///
    /// # Errors
    /// When it cannot; the picture's content is then undefined.
    fn within(&mut self, picture: &mut PictureMut<'_>, moment: &Moment) -> Result<(), NodeError> {
        let _ = (picture, moment);
        Err(NodeError::new("this node does not work within a picture"))
    }

    /// Reads a picture and writes another, of [`Node::size`], all of it; gives how many bytes it merely copied.
    ///
    /// # Errors
    /// When it cannot; the output's content is then undefined.
    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        moment: &Moment,
    ) -> Result<u64, NodeError> {
        let copied = output.copy_from(input) as u64;
        self.within(output, moment)?;
        Ok(copied)
    }

    /// Changes a block of sound.
    ///
    /// # Errors
    /// When it cannot; the block's content is then undefined.
    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError> {
        sound.hand_on();
        Ok(())
    }

    /// Whether sound would come out of it although none goes in. A period that comes empty (lost, or silent) then reaches it
    /// as zeros, else it passes all nodes by.
    fn rings(&self) -> bool {
        false
    }
}
