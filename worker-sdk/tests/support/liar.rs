#![allow(unsafe_code, reason = "it lies in a header that iceoryx2 keeps to itself")]
//! A producer that does not use our crate: it writes what it likes into a channel's samples.

use iceoryx2::port::publisher::Publisher;
use iceoryx2::prelude::{
    AllocationStrategy, BackpressureStrategy, Config, FileName, NodeBuilder, Path, SemanticString,
    SignalHandlingMode, ZeroCopySend, ipc_threadsafe::Service,
};
use remotemedia_worker::schema::FrameHeader;
use remotemedia_worker::schema::control::{ChannelSpec, Namespace};

const WORDS: usize = size_of::<FrameHeader>().next_multiple_of(64) / 8;

/// The header's bytes under the name that the services know.
#[repr(C)]
#[derive(Debug, Clone, Copy, ZeroCopySend)]
#[type_name("FrameHeader")]
pub(crate) struct Raw {
    words: [u64; WORDS],
}

impl Default for Raw {
    fn default() -> Self {
        Self { words: [0; WORDS] }
    }
}

impl From<&FrameHeader> for Raw {
    fn from(header: &FrameHeader) -> Self {
        let mut raw = Self::default();
        for (word, bytes) in raw.words.iter_mut().zip(bytemuck::bytes_of(header).chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("eight"));
        }
        raw
    }
}

pub(crate) struct Liar {
    publisher: Publisher<Service, [u8], Raw>,
}

impl Liar {
    pub(crate) fn new(namespace: &Namespace, spec: &ChannelSpec) -> Self {
        let mut config = Config::default();
        config.global.prefix = FileName::new(namespace.prefix.as_bytes()).expect("a prefix");
        config.global.set_root_path(&Path::new(namespace.root.as_bytes()).expect("a root"));
        config.global.node.cleanup_dead_nodes_on_creation = false;
        config.global.node.cleanup_dead_nodes_on_destruction = false;
        config.global.service.cleanup_dead_nodes_on_open = false;
        let node = NodeBuilder::new()
            .config(&config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<Service>()
            .expect("a node");
        let service = node
            .service_builder(&spec.service.as_str().try_into().expect("a name"))
            .publish_subscribe::<[u8]>()
            .user_header::<Raw>()
            .open()
            .expect("the channel");
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(spec.max_payload as usize)
            .allocation_strategy(AllocationStrategy::Static)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .expect("a publisher");
        Self { publisher }
    }

    /// Sends a sample of `len` bytes under this header.
    pub(crate) fn send(&self, header: &FrameHeader, len: usize) {
        let mut sample = self.publisher.loan_slice_uninit(len).expect("a loan");
        *sample.user_header_mut() = header.into();
        sample.write_from_fn(|_| 0).send().expect("sent");
    }

    /// Sends a sample that has `len` bytes and, in iceoryx2's own header, claims to have `claimed`.
    pub(crate) fn send_claiming(&self, header: &FrameHeader, len: usize, claimed: u64) {
        let mut sample = self.publisher.loan_slice_uninit(len).expect("a loan");
        *sample.user_header_mut() = header.into();
        let sample = sample.write_from_fn(|_| 0);
        let words = std::ptr::from_ref(sample.header()).cast::<u64>().cast_mut();
        let count = size_of_val(sample.header()) / 8;
        // SAFETY: the header is `repr(C)` of words, in shared memory that this process may write; the field is found by the
        // length that iceoryx2 just put there, and nothing holds a reference to it meanwhile.
        unsafe {
            let place = (0..count).map(|i| words.add(i)).find(|w| w.read_volatile() == len as u64);
            place.expect("the length is in there").write_volatile(claimed);
        }
        sample.send().expect("sent");
    }
}
