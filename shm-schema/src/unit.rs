//! Access units between the router and a session's steward, over a stream socket of their own.
//!
//! Each is a head of [`UNIT_HEAD`] bytes and its payload: the payload's length, the steward's task, how many frames before it
//! are missing, and the frame's header. All little endian, but the header as it stands in shared memory. The router takes
//! nothing of it for granted: what has to do with memory that a worker can write may have been written by one.

use crate::contract::MAX_ACCESS_UNIT;
use crate::control::TaskId;
use crate::header::{FrameHeader, HeaderFault};
use crate::meta::Meta;

/// Bytes before a unit's payload.
pub const UNIT_HEAD: usize = 16 + size_of::<FrameHeader>();

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitHead {
    /// Bytes of the payload.
    pub len: u32,
    /// The steward's task that it goes through.
    pub task: TaskId,
    /// Frames that are missing before it.
    pub missed: u64,
    /// What it is.
    pub meta: Meta,
}

/// Why a unit cannot be taken; the stream cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitFault {
    /// Longer than any access unit.
    #[error("a unit of {0} bytes; {MAX_ACCESS_UNIT} are allowed")]
    TooLong(u32),
    /// Its header contradicts itself.
    #[error(transparent)]
    Header(#[from] HeaderFault),
}

impl UnitHead {
    /// As it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; UNIT_HEAD] {
        let mut bytes = [0; UNIT_HEAD];
        let header = self.meta.to_wire(self.len);
        let parts: [&[u8]; 4] = [
            &self.len.to_le_bytes(),
            &self.task.0.to_le_bytes(),
            &self.missed.to_le_bytes(),
            bytemuck::bytes_of(&header),
        ];
        let mut rest = bytes.as_mut_slice();
        for part in parts {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        }
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// When nobody of ours can have sent it.
    pub fn from_bytes(bytes: &[u8; UNIT_HEAD]) -> Result<Self, UnitFault> {
        let [a, b, c, d, t0, t1, t2, t3, m0, m1, m2, m3, m4, m5, m6, m7, header @ ..] = bytes;
        let len = u32::from_le_bytes([*a, *b, *c, *d]);
        if len > MAX_ACCESS_UNIT {
            return Err(UnitFault::TooLong(len));
        }
        // By value: the bytes are not aligned for it.
        let header: FrameHeader = bytemuck::pod_read_unaligned(header);
        if header.payload_len != len {
            let (said, has) = (u64::from(header.payload_len), u64::from(len));
            return Err(HeaderFault::Length { said, has }.into());
        }
        let meta = header.check(len as usize)?;
        let task = TaskId(u32::from_le_bytes([*t0, *t1, *t2, *t3]));
        let missed = u64::from_le_bytes([*m0, *m1, *m2, *m3, *m4, *m5, *m6, *m7]);
        Ok(Self { len, task, missed, meta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Codec, Content, Flags};
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_read() {
        let mut meta = Meta::new(Content::Coded(Codec::Vp8));
        meta.flags = Flags::KEYFRAME;
        meta.media_time_ns = 77;
        let head = UnitHead { len: 1234, task: TaskId(9), missed: 3, meta };
        assert_eq!(UnitHead::from_bytes(&head.to_bytes()), Ok(head));
    }

    #[test]
    fn a_unit_longer_than_any_access_unit_is_refused() {
        let meta = Meta::new(Content::Coded(Codec::Vp8));
        let head = UnitHead { len: MAX_ACCESS_UNIT + 1, task: TaskId(0), missed: 0, meta };
        assert_eq!(
            UnitHead::from_bytes(&head.to_bytes()),
            Err(UnitFault::TooLong(MAX_ACCESS_UNIT + 1))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), UNIT_HEAD)) {
            if let Some(bytes) = bytes.first_chunk::<UNIT_HEAD>() {
                let _ = UnitHead::from_bytes(bytes);
            }
        }
    }
}
