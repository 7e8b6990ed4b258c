//! A picture besides the loan, where a chain needs one.

use remotemedia_shm_schema::VideoGeometry;
use remotemedia_worker::{Picture, PictureMut};

/// Memory for a picture, kept from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    memory: Vec<u8>,
    /// Bytes of the greatest picture since [`Scratch::settle`].
    used: usize,
}

impl Scratch {
    /// A picture of this geometry to write, with whatever was there before in it.
    pub(super) fn picture(&mut self, geometry: VideoGeometry) -> Option<PictureMut<'_>> {
        let length = geometry.payload_len();
        self.used = self.used.max(length);
        if self.memory.len() < length {
            self.memory = vec![0; length];
        }
        PictureMut::over(self.memory.get_mut(..length)?, geometry)
    }

    /// The picture of this geometry that was written last.
    pub(super) fn read(&self, geometry: VideoGeometry) -> Option<Picture<'_>> {
        Picture::over(self.memory.get(..geometry.payload_len())?, geometry)
    }

    /// A frame is done: memory that it did not need, as after a greater picture, is given back.
    pub(super) fn settle(&mut self) {
        if self.used < self.memory.len() {
            self.memory.truncate(self.used);
            self.memory.shrink_to_fit();
        }
        self.used = 0;
    }
}
