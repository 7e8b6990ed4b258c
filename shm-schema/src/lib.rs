//! What crosses a process boundary, and nothing else.
//!
//! A frame is an iceoryx2 sample: a payload of bytes behind a [`FrameHeader`] of fixed layout. Channels have names
//! ([`ChannelName`]) and contracts ([`Contract`]). The router and its workers speak [`control`] messages over a Unix
//! socket. This crate has no I/O, no threads and no clock; whoever reads memory or bytes of another process goes
//! through [`FrameHeader::check`] or [`control::Frames`], which accept any bytes without panicking.

pub mod channel;
pub mod contract;
pub mod control;
pub mod header;
pub mod ids;
pub mod manifest;
pub mod mark;
pub mod meta;
pub mod unit;

pub use channel::ChannelName;
pub use contract::{Contract, WhenFull};
pub use header::{ABI_VERSION, FrameHeader, HeaderFault};
pub use ids::{ChannelIndex, NodeId, OutputId, PeerId, PortId, SessionId, TierId, TrackId};
pub use meta::{
    AudioGeometry, Codec, ColourMatrix, ColourRange, Content, Flags, Media, Meta, Plane, Stage,
    Stamp, Stamps, VideoGeometry,
};
