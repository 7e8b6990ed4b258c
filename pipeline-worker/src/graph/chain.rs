//! Nodes one behind the other, in one thread.
//!
//! A picture is handed on by reference: the first node that works on it reads the received sample, the last one
//! that writes does so into the loan. Nodes that change a picture where it lies do so in whatever holds it then. Only a
//! chain in which two or more nodes read one picture and write another uses a second one, the scratch, in turn with the loan.
//! Sound is read from the received sample by the first node and changed in the loan by the others.

use super::scratch::Scratch;
use crate::node::{Moment, NodeError, Way};
use crate::registry::Running;
use crate::sound::Sound;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::manifest::{Fault, Faults, MAX_NODES};
use remotemedia_shm_schema::{AudioGeometry, NodeId};
use remotemedia_worker::{Picture, PictureMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A node in its place.
pub(super) struct Link {
    id: NodeId,
    number: u8,
    on_failure: OnFailure,
    node: Box<dyn Running>,
}

impl Link {
    pub(super) fn new(of: &GraphNode, node: Box<dyn Running>) -> Self {
        Self { id: of.id.clone(), number: of.number, on_failure: of.on_failure, node }
    }

    /// Lets the node work. One that panics has lost its state, not its parameters: it is made anew with those that are
    /// in force, and the frame counts as failed.
    fn work<T>(
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
        done.map_err(|error| Failure { node: self.id.clone(), on_failure: self.on_failure, error })
    }
}

/// Where a frame is on its way along the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The node with this number begins.
    Enters(u8),
    /// It is done.
    Leaves(u8),
    /// It failed, and the chain goes on without it, as its policy says.
    Passes(&'a Failure),
}

/// Nodes that a frame passes by, by their places; a chain has no more than [`MAX_NODES`].
#[derive(Debug, Clone, Copy, Default)]
struct Passed(u64);

const _: () = assert!(MAX_NODES <= u64::BITS as usize);

impl Passed {
    fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
}

/// A chain of nodes for one kind of media; without nodes it hands frames on.
pub struct Chain {
    links: Vec<Link>,
    video: bool,
    audio: bool,
    scratch: Scratch,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.links.iter().map(|l| l.id.as_str())).finish()
    }
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

/// Where the picture is while it goes along the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Input,
    Loan,
    Scratch,
}

impl Chain {
    pub(super) fn new(links: Vec<Link>, video: bool, audio: bool) -> Self {
        Self { links, video, audio, scratch: Scratch::default() }
    }

    /// Whether pictures may pass.
    #[must_use]
    pub fn takes_video(&self) -> bool {
        self.video
    }

    /// Whether sound may pass.
    #[must_use]
    pub fn takes_audio(&self) -> bool {
        self.audio
    }

    /// Whether it has this node.
    #[must_use]
    pub fn has(&self, node: &NodeId) -> bool {
        self.links.iter().any(|l| l.id == *node)
    }

    /// Gives a node other parameters, a JSON object of those that change, from the next frame on.
    ///
    /// # Errors
    /// Every fault, with its path; the old parameters stay in force.
    pub fn set(&mut self, node: &NodeId, changes: &str) -> Result<(), Faults> {
        match self.links.iter_mut().find(|l| l.id == *node) {
            Some(link) => link.node.set(changes),
            None => {
                let message = format!("no node `{node}` runs here");
                Err(Faults(vec![Fault { path: "$".into(), message }]))
            }
        }
    }

    /// Passes a picture through all nodes into the loan, which has the same size. `told` hears each node's begin and end.
    /// Gives how many bytes were merely copied.
    ///
    /// A node that fails and says `bypass` is left out: the picture goes along the chain once more without it.
    ///
    /// # Errors
    /// When another node fails; the loan's content is then undefined.
    pub fn picture(
        &mut self,
        input: &Picture<'_>,
        loan: &mut PictureMut<'_>,
        moment: &Moment,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        let mut passed = Passed::default();
        loop {
            match self.pass_picture(passed, input, loan, moment, told) {
                Err(failure) => passed = self.pass_by(passed, failure, told)?,
                done => return done,
            }
        }
    }

    /// Without the node that failed, if that is what it wants.
    fn pass_by(
        &self,
        passed: Passed,
        failure: Failure,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<Passed, Failure> {
        let place = self.links.iter().position(|link| link.id == failure.node);
        match (failure.on_failure, place) {
            (OnFailure::Bypass, Some(place)) if !passed.has(place) => {
                told(Step::Passes(&failure));
                Ok(Passed(passed.0 | 1 << place))
            }
            _ => Err(failure),
        }
    }

    fn pass_picture(
        &mut self,
        passed: Passed,
        input: &Picture<'_>,
        loan: &mut PictureMut<'_>,
        moment: &Moment,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        let mut writes = self.writes(passed);
        if writes == 0 {
            for link in &self.links {
                told(Step::Leaves(link.number));
            }
            return Ok(loan.copy_from(input) as u64);
        }
        // Only a second write needs it; until then it may stay empty.
        let mut scratch = if writes > 1 { self.scratch.picture(loan.geometry) } else { None };
        let mut at = At::Input;
        let mut copied = 0;
        for (place, link) in self.links.iter_mut().enumerate() {
            if passed.has(place) {
                continue;
            }
            told(Step::Enters(link.number));
            let way = link.node.way();
            match (way, at) {
                (Way::HandsOn, _) => {}
                (Way::Within, At::Loan) => link.work(|n| n.within(loan, moment))?,
                (Way::Within, At::Scratch) => link.work(|n| match &mut scratch {
                    Some(scratch) => n.within(scratch, moment),
                    None => Err(no_scratch()),
                })?,
                (Way::Across, _) | (Way::Within, At::Input) => {
                    // Counted down so that the last one goes into the loan.
                    writes = writes.saturating_sub(1);
                    let to = if writes.is_multiple_of(2) { At::Loan } else { At::Scratch };
                    copied += link.work(|n| match (at, to, &mut scratch) {
                        (At::Input, At::Loan, _) => n.across(input, loan, moment),
                        (At::Input, At::Scratch, Some(s)) => n.across(input, s, moment),
                        (At::Loan, At::Scratch, Some(s)) => n.across(&read(loan), s, moment),
                        (At::Scratch, At::Loan, Some(s)) => n.across(&read(s), loan, moment),
                        _ => Err(no_scratch()),
                    })?;
                    at = to;
                }
            }
            told(Step::Leaves(link.number));
        }
        Ok(copied)
    }

    /// Passes a block of sound through all nodes into the loan, which has the same length. As [`Chain::picture`].
    ///
    /// # Errors
    /// When a node fails, or the lengths differ; the loan's content is then undefined.
    pub fn sound(
        &mut self,
        geometry: AudioGeometry,
        input: &[f32],
        loan: &mut [f32],
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        let mut passed = Passed::default();
        loop {
            match self.pass_sound(passed, geometry, input, loan, told) {
                Err(failure) => passed = self.pass_by(passed, failure, told)?,
                done => return done,
            }
        }
    }

    fn pass_sound(
        &mut self,
        passed: Passed,
        geometry: AudioGeometry,
        input: &[f32],
        loan: &mut [f32],
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        let mut at = At::Input;
        for (place, link) in self.links.iter_mut().enumerate() {
            if passed.has(place) {
                continue;
            }
            told(Step::Enters(link.number));
            if link.node.way() != Way::HandsOn {
                let sound = match at {
                    At::Input => Sound::across(geometry, input, loan),
                    At::Loan | At::Scratch => Sound::within(geometry, loan),
                };
                at = At::Loan;
                link.work(|n| match sound {
                    Some(mut sound) => n.sound(&mut sound),
                    None => Err(NodeError::new("the block has another length than it says")),
                })?;
            }
            told(Step::Leaves(link.number));
        }
        if at == At::Input {
            let length = loan.len().min(input.len());
            if let (Some(to), Some(from)) = (loan.get_mut(..length), input.get(..length)) {
                to.copy_from_slice(from);
            }
            return Ok(size_of_val(input) as u64);
        }
        Ok(0)
    }

    /// How many nodes will write a picture other than the one that they read.
    fn writes(&self, passed: Passed) -> usize {
        let mut at_input = true;
        let mut writes = 0;
        for (place, link) in self.links.iter().enumerate() {
            if passed.has(place) {
                continue;
            }
            match link.node.way() {
                Way::HandsOn => {}
                Way::Within if !at_input => {}
                Way::Within | Way::Across => {
                    at_input = false;
                    writes += 1;
                }
            }
        }
        writes
    }
}

/// A picture that was written, to be read by the next node.
fn read<'p>(picture: &'p PictureMut<'_>) -> Picture<'p> {
    Picture {
        y: picture.y,
        u: picture.u,
        v: picture.v,
        strides: picture.strides,
        geometry: picture.geometry,
    }
}

/// The scratch has the loan's geometry, so this says that a loan was smaller than its own geometry.
fn no_scratch() -> NodeError {
    NodeError::new("no picture to write to")
}
