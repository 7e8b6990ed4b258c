//! What encoders made: each frame is read in place, cut into packets once, and offered to all who view it.

use super::egress::Batch;
use super::wiring::Product;
use bytes::Bytes;
use remotemedia_rtp::packetize::Packetizer;
use remotemedia_shm_schema::Flags;
use remotemedia_worker::Inlet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Payload bytes of one packet: 1200 keeps with all headers below 1280, the least MTU of IPv6 (RFC 8200 section 5).
const PAYLOAD: usize = 1200;
/// Frames taken from one channel before the others have their turn (chosen: what a channel holds).
const BUDGET: usize = 16;

/// What came of a product.
pub(super) enum Made {
    /// A frame.
    Frame(Arc<Batch>),
    /// A period of sound that is not sent: when and how long.
    Silence(u64, u64),
}

struct Reader {
    inlet: Inlet,
    packetizer: Packetizer,
    number: u64,
    scratch: Vec<Bytes>,
}

/// All products that the router reads.
#[derive(Default)]
pub(super) struct Outputs {
    readers: BTreeMap<Product, Reader>,
}

impl Outputs {
    /// Reads a product from this channel from now on. Picture ids and frame numbers go on over generations.
    pub(super) fn open(&mut self, product: Product, inlet: Inlet) {
        match self.readers.get_mut(&product) {
            Some(reader) => reader.inlet = inlet,
            None => {
                let packetizer = Packetizer::new(product.codec, PAYLOAD);
                let reader = Reader { inlet, packetizer, number: 0, scratch: Vec::new() };
                self.readers.insert(product, reader);
            }
        }
    }

    /// Reads it no more.
    pub(super) fn close(&mut self, product: &Product) {
        self.readers.remove(product);
    }

    /// Hands on what waits, of each channel so much at a time; returns products whose encoder must make a keyframe.
    pub(super) fn drain(&mut self, mut made: impl FnMut(&Product, Made)) -> Vec<Product> {
        let mut keyframes = Vec::new();
        for (product, reader) in &mut self.readers {
            for _ in 0..BUDGET {
                let Some(frame) = reader.inlet.receive() else { break };
                let meta = *frame.meta();
                if meta.flags.contains(Flags::SILENCE) || frame.payload().is_empty() {
                    made(product, Made::Silence(meta.media_time_ns, meta.duration_ns));
                } else {
                    let keyframe = meta.flags.contains(Flags::KEYFRAME);
                    reader.packetizer.packetize(frame.payload(), keyframe, &mut reader.scratch);
                    // Frames that the channel dropped leave a hole in the numbers, which viewers see.
                    reader.number = reader.number.wrapping_add(1 + frame.missed());
                    let batch = Batch {
                        number: reader.number,
                        packets: reader.scratch.drain(..).collect(),
                        media_time_ns: meta.media_time_ns,
                        duration_ns: meta.duration_ns,
                        keyframe,
                        stamps: meta.stamps,
                    };
                    made(product, Made::Frame(Arc::new(batch)));
                }
            }
            if reader.inlet.keyframe_wanted() {
                keyframes.push(product.clone());
            }
        }
        keyframes
    }
}
