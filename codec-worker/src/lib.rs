//! Decode and encode: Opus, VP8, VP9, H.264.
//!
//! The codecs are a library ([`video`], [`sound`], [`picture`]) that knows neither shared memory nor processes. The worker
//! around them ([`main`]) is built on `remotemedia_worker` alone, one file of `task` for each kind of task.
//!
//! A track's way through here: an access unit lies in a received sample; [`bitstream`] reads what its headers claim, the
//! codec decodes it into a picture of its own, and that is copied once into a loaned sample. On the way back the codec
//! reads the planes where they lie in the received sample, and its access unit is copied into a loan of its length.
//! Sound is decoded into, and encoded out of and into, shared memory without a copy.

pub mod bitstream;
mod h264;
pub mod picture;
pub mod sound;
mod task;
pub mod video;
mod vp;
mod vpx;

pub use picture::Planes;
pub use sound::{OpusDecoder, OpusEncoder};
pub use task::Codecs;
pub use video::{
    DecodeError, DecodedPicture, EncodeError, EncodedUnit, VideoDecoder, VideoEncoder,
    video_decoder, video_encoder,
};

use remotemedia_shm_schema::control::Role;
use std::process::ExitCode;

/// Bytes of memory of its own that a codec worker may take (chosen: a 720p track both ways takes 35 to 88 MB; shared
/// memory does not count). Sizes in headers are read before they are decoded, but libvpx also decodes a second frame that
/// stands behind the first in one unit, whose size nobody can read before, and takes up to 800 MB for it (measured).
const MAX_MEMORY: u64 = 2 << 30;

/// The worker: serves the router that started this process, until it is drained or the router is gone.
pub fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    remotemedia_worker::worker::run(Role::Codec, "codec-worker", Codecs)
}
