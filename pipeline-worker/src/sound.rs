//! One block of interleaved f32 sound on its way through a node.

use remotemedia_shm_schema::AudioGeometry;

/// The most channels that a block has: [`remotemedia_shm_schema::header::MAX_CHANNELS`].
pub const MAX_CHANNELS: usize = remotemedia_shm_schema::header::MAX_CHANNELS as usize;

/// A block to change: in place, or out of a source that only may be read. A node does not see which.
#[derive(Debug)]
pub struct Sound<'a> {
    source: Option<&'a [f32]>,
    block: &'a mut [f32],
    geometry: AudioGeometry,
}

impl<'a> Sound<'a> {
    /// A block that is changed where it lies; `None` where it does not have the geometry's length.
    #[must_use]
    pub fn within(geometry: AudioGeometry, block: &'a mut [f32]) -> Option<Self> {
        (length(&geometry)? == block.len()).then_some(Self { source: None, block, geometry })
    }

    /// A block that is read from `source` and written to `block`.
    #[must_use]
    pub fn across(
        geometry: AudioGeometry,
        source: &'a [f32],
        block: &'a mut [f32],
    ) -> Option<Self> {
        let length = length(&geometry)?;
        (length == block.len() && length == source.len()).then_some(Self {
            source: Some(source),
            block,
            geometry,
        })
    }

    /// Rate, channels, samples.
    #[must_use]
    pub fn geometry(&self) -> &AudioGeometry {
        &self.geometry
    }

    /// Interleaved channels, at least one.
    #[must_use]
    pub fn channels(&self) -> usize {
        usize::from(self.geometry.channels)
    }

    /// Samples of one channel that last this long.
    #[must_use]
    pub fn samples_in(&self, milliseconds: f32) -> f32 {
        milliseconds * 0.001 * self.geometry.rate as f32
    }

    /// Changes it sample by sample; each call gets one sample of every channel.
    pub fn each(&mut self, mut change: impl FnMut(&mut [f32])) {
        let channels = self.channels();
        match self.source {
            None => self.block.chunks_exact_mut(channels).for_each(change),
            Some(source) => {
                for (to, from) in
                    self.block.chunks_exact_mut(channels).zip(source.chunks_exact(channels))
                {
                    to.copy_from_slice(from);
                    change(to);
                }
            }
        }
    }

    /// Reads it sample by sample, before it is changed.
    pub fn read(&self, read: impl FnMut(&[f32])) {
        self.source.unwrap_or(self.block).chunks_exact(self.channels()).for_each(read);
    }

    /// Copies the source where there is one, and gives how many bytes that were.
    pub fn hand_on(&mut self) -> u64 {
        match self.source {
            None => 0,
            Some(source) => {
                // Both have the geometry's length, by construction.
                self.block.copy_from_slice(source);
                size_of_val(source) as u64
            }
        }
    }
}

/// 36 dB over full scale (chosen): no sound is louder.
const LOUDEST: f32 = 64.0;

/// A sample as a node with a memory takes it: one that is no number, or endless, would stay there for good.
pub(crate) fn sane(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-LOUDEST, LOUDEST) } else { 0.0 }
}

fn length(geometry: &AudioGeometry) -> Option<usize> {
    let channels = usize::from(geometry.channels);
    if channels == 0 || channels > MAX_CHANNELS {
        return None;
    }
    (geometry.samples as usize).checked_mul(channels)
}
