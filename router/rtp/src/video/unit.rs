//! One access unit, still in the packets' memory.

use bytes::Bytes;

/// A whole picture as its decoder takes it: a VP8 frame, VP9 frames of one picture, or H.264 in Annex B.
///
/// Its bytes lie in the packets that they came in; [`Self::write_to`] is the one copy, into the loaned sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// The RTP timestamp of its packets.
    pub rtp_time: u32,
    /// Decodable without what came before.
    pub keyframe: bool,
    /// Something is missing between the unit before and this one.
    pub discontinuity: bool,
    /// When the first of its packets arrived.
    pub first_arrival_ns: u64,
    /// Width and height in pixels, told by keyframes.
    pub size: Option<(u16, u16)>,
    pub(crate) segments: Vec<Bytes>,
    pub(crate) len: usize,
}

impl AccessUnit {
    /// Bytes of it; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is no empty one")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies it to the begin of `out`, and returns how many bytes were written: [`Self::len`], or all of `out`
    /// where that is shorter.
    pub fn write_to(&self, out: &mut [u8]) -> usize {
        let mut written = 0;
        for segment in &self.segments {
            let Some(rest) = out.get_mut(written..) else { break };
            let fits = segment.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..fits), segment.get(..fits)) {
                to.copy_from_slice(from);
            }
            written += fits;
        }
        written
    }

    /// Its bytes in one piece; for tests and tools, as it allocates.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; self.len];
        self.write_to(&mut out);
        out
    }
}

/// The first bytes of a row of segments, as many as there are.
pub(crate) fn head<const N: usize>(segments: &[Bytes]) -> ([u8; N], usize) {
    let mut out = [0; N];
    let mut have = 0;
    for byte in segments.iter().flat_map(|segment| segment.iter()).take(N) {
        if let Some(place) = out.get_mut(have) {
            *place = *byte;
            have += 1;
        }
    }
    (out, have)
}
