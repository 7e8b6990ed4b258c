//! The one picture besides the loan that a chain may need.

use remotemedia_shm_schema::VideoGeometry;
use remotemedia_worker::PictureMut;

/// Memory for a picture, kept from frame to frame and made anew only for another size.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    memory: Vec<u8>,
}

impl Scratch {
    /// A picture of this geometry, with whatever was there before in it.
    pub(super) fn picture(&mut self, geometry: VideoGeometry) -> Option<PictureMut<'_>> {
        let length = geometry.payload_len();
        if self.memory.len() != length {
            // Exactly the size: after a smaller picture the greater one's memory is given back.
            self.memory = vec![0; length];
        }
        PictureMut::over(&mut self.memory, geometry)
    }
}
