//! What encoders made: each unit is cut into packets once, and offered to all who view it.

use super::egress::Batch;
use super::relay::Unit;
use super::wiring::Product;
use bytes::Bytes;
use remotemedia_rtp::packetize::Packetizer;
use remotemedia_shm_schema::Flags;
use remotemedia_shm_schema::control::TaskId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Payload bytes of one packet: 1200 keeps with all headers below 1280, the least MTU of IPv6 (RFC 8200 section 5).
const PAYLOAD: usize = 1200;

/// What came of a product.
pub(super) enum Made {
    /// A frame.
    Frame(Arc<Batch>),
    /// A period of sound that is not sent: when and how long.
    Silence(u64, u64),
}

struct Stream {
    task: TaskId,
    packetizer: Packetizer,
    number: u64,
    scratch: Vec<Bytes>,
}

/// All products that come.
#[derive(Default)]
pub(super) struct Outputs {
    streams: BTreeMap<Product, Stream>,
}

impl Outputs {
    /// A product comes by this task from now on. Picture ids and frame numbers go on over generations.
    pub(super) fn open(&mut self, product: Product, task: TaskId) {
        match self.streams.get_mut(&product) {
            Some(stream) => stream.task = task,
            None => {
                let packetizer = Packetizer::new(product.codec, PAYLOAD);
                let stream = Stream { task, packetizer, number: 0, scratch: Vec::new() };
                self.streams.insert(product, stream);
            }
        }
    }

    /// It comes no more.
    pub(super) fn close(&mut self, product: &Product) {
        self.streams.remove(product);
    }

    /// What a unit is, and of what; none of a task that is not known any more.
    pub(super) fn take(&mut self, unit: &Unit) -> Option<(&Product, Made)> {
        let mut streams = self.streams.iter_mut();
        let (product, stream) = streams.find(|(_, stream)| stream.task == unit.task)?;
        let meta = unit.meta;
        if meta.flags.contains(Flags::SILENCE) || unit.payload.is_empty() {
            return Some((product, Made::Silence(meta.media_time_ns, meta.duration_ns)));
        }
        let keyframe = meta.flags.contains(Flags::KEYFRAME);
        stream.packetizer.packetize(&unit.payload, keyframe, &mut stream.scratch);
        // Frames that were dropped on the way leave a hole in the numbers, which viewers see.
        stream.number = stream.number.wrapping_add(1).wrapping_add(unit.missed);
        let batch = Batch {
            number: stream.number,
            packets: stream.scratch.drain(..).collect(),
            media_time_ns: meta.media_time_ns,
            duration_ns: meta.duration_ns,
            keyframe,
            stamps: meta.stamps,
        };
        Some((product, Made::Frame(Arc::new(batch))))
    }
}
