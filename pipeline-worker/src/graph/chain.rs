//! Nodes one behind the other, in one thread.
//!
//! A picture is handed on by reference: the first node that works on it reads the received sample, the last one
//! that writes does so into the loan. Nodes that change a picture where it lies do so in whatever holds it then. Only a
//! chain in which two or more nodes read one picture and write another uses a second one, a scratch, in turn with the loan;
//! a third stands in for the loan as long as pictures have another size than the last one will have.
//! Sound is read from the received sample by the first node and changed in the loan by the others.

use super::link::{Failure, Link, laid_out};
use super::scratch::Scratch;
use crate::node::{Moment, NodeError, Way};
use crate::sound::Sound;
use remotemedia_shm_schema::control::OnFailure;
use remotemedia_shm_schema::manifest::{Fault, Faults, MAX_NODES};
use remotemedia_shm_schema::{AudioGeometry, NodeId, VideoGeometry};
use remotemedia_worker::{Picture, PictureMut};

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
pub struct Passed(u64);

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
    /// Bytes that a picture may have behind a node that gives it another size.
    most: usize,
    /// What the last picture was when it came.
    seen: Option<VideoGeometry>,
    scratch: [Scratch; 2],
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.links.iter().map(|l| l.id.as_str())).finish()
    }
}

/// Where the picture is while it goes along the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Input,
    Loan,
    /// In the scratch that takes turns with the loan.
    Turn,
    /// In the scratch that stands in for the loan.
    Stead,
}

impl Chain {
    pub(super) fn new(links: Vec<Link>, video: bool, audio: bool) -> Self {
        let scratch = Default::default();
        Self { links, video, audio, most: usize::MAX, seen: None, scratch }
    }

    /// No node may give a picture a size of more bytes than these: it could not be sent.
    ///
    /// # Errors
    /// When one would do so, whatever picture comes.
    pub fn within(mut self, most: usize) -> Result<Self, Faults> {
        self.most = most;
        self.fits().map_err(|failure| {
            let path = format!("{}.params", failure.node);
            Faults(vec![Fault { path, message: failure.error.to_string() }])
        })?;
        Ok(self)
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
        // What does not fit already is not this change's fault.
        let fitted = self.fits().is_ok();
        let Some(link) = self.links.iter_mut().find(|l| l.id == *node) else {
            let message = format!("no node `{node}` runs here");
            return Err(Faults(vec![Fault { path: "$".into(), message }]));
        };
        link.node.set(changes)?;
        let Some(failure) = self.fits().err().filter(|_| fitted) else { return Ok(()) };
        if let Some(link) = self.links.iter_mut().find(|l| l.id == *node) {
            link.node.unset();
        }
        let own = failure.node == *node;
        let message = if own { failure.error.to_string() } else { failure.to_string() };
        Err(Faults(vec![Fault { path: "$.params".into(), message }]))
    }

    /// Whether all sizes that can be told before the next picture are possible: by the last one, or by none.
    fn fits(&self) -> Result<(), Failure> {
        if let Some(seen) = self.seen {
            return self.shape(Passed::default(), seen).map(|_| ());
        }
        let mut known: Option<VideoGeometry> = None;
        for link in &self.links {
            known = match (link.node.size_of_any(), known) {
                (Some(size), _) => Some(link.sized(&VideoGeometry::i420(2, 2), size, self.most)?),
                (None, Some(of)) => Some(link.shape(&of, self.most)?),
                (None, None) => None,
            };
        }
        Ok(())
    }

    /// Whether the picture of this moment is wanted by all nodes; to be asked once for each, before [`Chain::picture`].
    pub fn admits(&mut self, moment: &Moment) -> bool {
        self.links.iter_mut().all(|link| link.node.admits(moment))
    }

    /// What becomes of a picture of this geometry: the size that the nodes give it, laid out as our own pictures are.
    ///
    /// # Errors
    /// When a node can make nothing of it.
    pub fn shape(&self, passed: Passed, of: VideoGeometry) -> Result<VideoGeometry, Failure> {
        let mut shape = laid_out(&of, (of.width, of.height));
        for (place, link) in self.links.iter().enumerate() {
            if !passed.has(place) {
                shape = link.shape(&shape, self.most)?;
            }
        }
        Ok(shape)
    }

    /// Passes a picture through all nodes into the loan, which has the size that [`Chain::shape`] tells. `told` hears each
    /// node's begin and end. Gives how many bytes were merely copied.
    ///
    /// A node that fails and says `bypass` is left out: the picture goes along the chain once more without it.
    ///
    /// # Errors
    /// When another node fails, or one without which the picture has another size; the loan's content is then undefined.
    pub fn picture(
        &mut self,
        input: &Picture<'_>,
        loan: &mut PictureMut<'_>,
        moment: &Moment,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        let mut passed = Passed::default();
        loop {
            match self.picture_past(passed, input, loan, moment, told) {
                Err(failure) => passed = self.pass_by(passed, failure, told)?,
                done => return done,
            }
        }
    }

    /// Which nodes the frame passes by from now on: those of before and the one that failed, if that is what it wants.
    ///
    /// # Errors
    /// With the failure, when it does not.
    pub fn pass_by(
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

    /// As [`Chain::picture`], once, past some nodes; the loan has the size that is [`Chain::shape`] without these.
    ///
    /// # Errors
    /// When a node fails; the loan's content is then undefined.
    pub fn picture_past(
        &mut self,
        passed: Passed,
        input: &Picture<'_>,
        loan: &mut PictureMut<'_>,
        moment: &Moment,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        self.seen = Some(input.geometry);
        let end = self.shape(passed, input.geometry)?;
        if !same_size(&end, &loan.geometry)
            && let Some(link) = self.links.last()
        {
            return Err(link.failure(no_room()));
        }
        let mut writes = self.writes(passed, input.geometry)?;
        if writes == 0 {
            for (place, link) in self.links.iter().enumerate() {
                if !passed.has(place) {
                    told(Step::Leaves(link.number));
                }
            }
            return Ok(loan.copy_from(input) as u64);
        }
        let most = self.most;
        let [turn, stead] = &mut self.scratch;
        let (mut at, mut shape, mut copied) = (At::Input, input.geometry, 0);
        for (place, link) in self.links.iter_mut().enumerate() {
            if passed.has(place) {
                continue;
            }
            told(Step::Enters(link.number));
            let made = link.shape(&shape, most)?;
            match (link.node.way_for(&shape), at) {
                (Way::HandsOn, _) => {}
                (Way::Within, At::Loan) => link.work(|n| n.within(loan, moment))?,
                (Way::Within, At::Turn) => {
                    link.work(|n| n.within(&mut to(turn, shape)?, moment))?;
                }
                (Way::Within, At::Stead) => {
                    link.work(|n| n.within(&mut to(stead, shape)?, moment))?;
                }
                (Way::Across, _) | (Way::Within, At::Input) => {
                    // Counted down so that the last one goes into the loan; from turn to turn its place is another one.
                    writes = writes.saturating_sub(1);
                    let next = match writes.is_multiple_of(2) {
                        true if same_size(&made, &loan.geometry) => At::Loan,
                        true => At::Stead,
                        false => At::Turn,
                    };
                    let made = laid_out(&made, (made.width, made.height));
                    copied += link.work(|n| match (at, next) {
                        (At::Input, At::Loan) => n.across(input, loan, moment),
                        (At::Input, At::Turn) => n.across(input, &mut to(turn, made)?, moment),
                        (At::Input, At::Stead) => n.across(input, &mut to(stead, made)?, moment),
                        (At::Loan, At::Turn) => n.across(&read(loan), &mut to(turn, made)?, moment),
                        (At::Turn, At::Loan) => n.across(&from(turn, shape)?, loan, moment),
                        (At::Turn, At::Stead) => {
                            n.across(&from(turn, shape)?, &mut to(stead, made)?, moment)
                        }
                        (At::Stead, At::Turn) => {
                            n.across(&from(stead, shape)?, &mut to(turn, made)?, moment)
                        }
                        _ => Err(no_room()),
                    })?;
                    (at, shape) = (next, made);
                }
            }
            told(Step::Leaves(link.number));
        }
        self.scratch.iter_mut().for_each(Scratch::settle);
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
        self.block(geometry, Some(input), loan, told)
    }

    /// Whether sound would come out although none goes in.
    #[must_use]
    pub fn rings(&self) -> bool {
        self.links.iter().any(|link| link.node.rings())
    }

    /// As [`Chain::sound`], of a period in which none came.
    ///
    /// # Errors
    /// As there.
    pub fn silence(
        &mut self,
        geometry: AudioGeometry,
        loan: &mut [f32],
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        self.block(geometry, None, loan, told)
    }

    fn block(
        &mut self,
        geometry: AudioGeometry,
        input: Option<&[f32]>,
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
        input: Option<&[f32]>,
        loan: &mut [f32],
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, Failure> {
        if input.is_none() {
            loan.fill(0.0);
        }
        // Until a node has read it.
        let mut input = input;
        for (place, link) in self.links.iter_mut().enumerate() {
            if passed.has(place) {
                continue;
            }
            told(Step::Enters(link.number));
            if link.node.way() != Way::HandsOn {
                let sound = match input.take() {
                    Some(input) => Sound::across(geometry, input, loan),
                    None => Sound::within(geometry, loan),
                };
                link.work(|n| match sound {
                    Some(mut sound) => n.sound(&mut sound),
                    None => Err(NodeError::new("the block has another length than it says")),
                })?;
            }
            told(Step::Leaves(link.number));
        }
        let Some(input) = input else { return Ok(0) };
        let length = loan.len().min(input.len());
        if let (Some(to), Some(from)) = (loan.get_mut(..length), input.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(size_of_val(input) as u64)
    }

    /// How many nodes will write a picture other than the one that they read.
    fn writes(&self, passed: Passed, of: VideoGeometry) -> Result<usize, Failure> {
        let (mut at_input, mut shape, mut writes) = (true, of, 0);
        for (place, link) in self.links.iter().enumerate() {
            if passed.has(place) {
                continue;
            }
            match link.node.way_for(&shape) {
                Way::HandsOn => {}
                Way::Within if !at_input => {}
                Way::Within | Way::Across => {
                    at_input = false;
                    writes += 1;
                }
            }
            shape = link.shape(&shape, self.most)?;
        }
        Ok(writes)
    }
}

fn same_size(a: &VideoGeometry, b: &VideoGeometry) -> bool {
    (a.width, a.height) == (b.width, b.height)
}

fn to(scratch: &mut Scratch, shape: VideoGeometry) -> Result<PictureMut<'_>, NodeError> {
    scratch.picture(shape).ok_or_else(no_room)
}

fn from(scratch: &Scratch, shape: VideoGeometry) -> Result<Picture<'_>, NodeError> {
    scratch.read(shape).ok_or_else(no_room)
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

/// A scratch has the geometry that it is made for, so this says that the loan has another than [`Chain::shape`] told.
fn no_room() -> NodeError {
    NodeError::new("no picture to write to")
}
