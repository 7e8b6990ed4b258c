#![allow(
    unsafe_code,
    reason = "one fixed view of memory whose length another process could change"
)]
//! A received frame: a checked description, and its payload where the producer wrote it.

use crate::header::Header;
use crate::{Picture, Service};
use iceoryx2::prelude::PayloadHeader;
use iceoryx2::sample::Sample;
use remotemedia_shm_schema::{Content, FrameHeader, Meta};
use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// A frame, borrowed from the channel until it is dropped. A reader may hold two at once.
#[derive(Debug)]
pub struct Frame {
    meta: Meta,
    missed: u64,
    begin: NonNull<u8>,
    len: usize,
    // Keeps the memory behind `begin` from being used again.
    sample: ManuallyDrop<Sample<Service, [u8], Header>>,
}

// SAFETY: `begin` points into a mapping of shared memory that `sample` keeps, and that any thread may read; the sample
// itself is `Send`.
unsafe impl Send for Frame {}

/// A sample with its header copied and its payload's place taken down, both exactly once.
pub(crate) struct Taken {
    pub(crate) header: FrameHeader,
    begin: NonNull<u8>,
    has: usize,
    sample: Sample<Service, [u8], Header>,
}

impl Taken {
    /// Takes the header's copy; nothing after this reads it, or iceoryx2's length, again. `None` when the sample claims
    /// to be longer than its channel allows.
    pub(crate) fn new(sample: Sample<Service, [u8], Header>, max: usize) -> Option<Self> {
        // Opaque, so that no later use of the copy becomes a second look into memory that may have changed since.
        let header = black_box(sample.user_header().wire);
        let has = black_box(sample.header().number_of_elements());
        let has = usize::try_from(has).ok().filter(|has| *has <= max)?;
        let begin = NonNull::new(sample.payload().as_ptr().cast_mut())?;
        Some(Self { header, begin, has, sample })
    }

    /// Bytes of the sample.
    pub(crate) fn has(&self) -> usize {
        self.has
    }

    /// As a frame; `meta` is the header's, checked against [`Taken::has`].
    pub(crate) fn into_frame(self, meta: Meta, missed: u64) -> Frame {
        let len = (self.header.payload_len as usize).min(self.has);
        Frame { meta, missed, begin: self.begin, len, sample: ManuallyDrop::new(self.sample) }
    }
}

impl Frame {
    /// Its checked description.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Its bytes, in place.
    ///
    /// The producer's process could still write to them: let no decision rest on reading a byte twice.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        // SAFETY: `begin` is where iceoryx2 says the payload is; `len` is within the channel's greatest payload, for which
        // the producer's segment was made; `sample` keeps the chunk until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.begin.as_ptr(), self.len) }
    }

    /// Its planes, when it is a picture with a payload.
    #[must_use]
    pub fn picture(&self) -> Option<Picture<'_>> {
        match self.meta.content {
            Content::Picture(geometry) => Picture::over(self.payload(), geometry),
            Content::Sound(_) | Content::Coded(_) | Content::Data => None,
        }
    }

    /// Its interleaved samples, when it is sound with a payload.
    #[must_use]
    pub fn sound(&self) -> Option<&[f32]> {
        match self.meta.content {
            Content::Sound(_) if self.len > 0 => bytemuck::try_cast_slice(self.payload()).ok(),
            Content::Sound(_) | Content::Picture(_) | Content::Coded(_) | Content::Data => None,
        }
    }

    /// How many frames of the producer are missing between the one before this, as this reader got them, and this.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and `self` is not used afterwards.
        let sample = unsafe { ManuallyDrop::take(&mut self.sample) };
        // iceoryx2 panics when the queue that the frame goes back through was damaged by another process; the inlet finds
        // out by itself at its next read.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sample)));
    }
}
