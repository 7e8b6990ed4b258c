#![allow(unsafe_code, reason = "iceoryx2's marker trait for what may lie in shared memory")]
//! The schema's frame header as iceoryx2's user header.

use iceoryx2::prelude::ZeroCopySend;
use remotemedia_shm_schema::FrameHeader;

/// Bytes of the header as a cache line's multiple; the payload begins behind it.
const PADDED: usize = size_of::<FrameHeader>().next_multiple_of(64);

/// The header, padded so that the payload behind it is aligned to 64.
///
/// The service's payload alignment would do the same, but iceoryx2 0.10 multiplies every *element* by it
/// (`MessageTypeDetails::chunk_layout`): 64 times the memory for a payload of bytes, 442 MB of address space for three
/// 720p frames. So the alignment is the header's.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) wire: FrameHeader,
    /// Zero.
    pad: [u8; PADDED - size_of::<FrameHeader>()],
}

const _: () = assert!(size_of::<Header>() == PADDED && align_of::<Header>() == 64);

impl Default for Header {
    fn default() -> Self {
        Self::from(FrameHeader::default())
    }
}

impl From<FrameHeader> for Header {
    fn from(wire: FrameHeader) -> Self {
        Self { wire, pad: [0; PADDED - size_of::<FrameHeader>()] }
    }
}

// SAFETY: it is `repr(C)` over a `repr(C)` `Pod` struct and bytes up to the alignment (asserted above): no pointer, no
// hidden padding, every bit pattern valid, the same layout in every process. The name is what C and Python give theirs.
unsafe impl ZeroCopySend for Header {
    unsafe fn type_name() -> &'static str {
        "FrameHeader"
    }
}
