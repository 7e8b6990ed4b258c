//! A session's own iceoryx2 configuration, and the numbers that size its services.

use crate::header::Header;
use crate::{Fault, Service};
use iceoryx2::prelude::{
    Config, FileName, LogLevel, Node, NodeBuilder, Path as IoxPath, SemanticString,
    SignalHandlingMode, set_log_level,
};
use remotemedia_shm_schema::Contract;
use remotemedia_shm_schema::control::{ChannelSpec, Namespace};
use std::sync::Once;
use std::time::Duration;

/// Bytes of root and prefix together (FINDINGS: a Unix socket's path has 108, iceoryx2 needs the rest).
pub const MAX_ROOT_AND_PREFIX: usize = 61;
/// Bytes of a prefix: `m`, 16 hex digits, `_`.
pub(crate) const PREFIX_LEN: usize = 18;
/// Hex digits of a root folder's name. A worker under its lock opens what it can name in `/dev/shm` but lists nothing there
/// ([`crate::worker::sandbox`]), so a neighbour's root must not be found by trying: at a million tries a second, eight digits
/// would hold for an hour, twelve hold for nine years.
pub(crate) const ROOT_NAME_LEN: usize = 12;

/// Greatest channel index: the id of an event. Each drain of a wake-up looks at all ids below it (1.3 µs for 256).
pub const MAX_INDEX: u32 = 255;
/// Frames that a channel may be asked to hold (chosen; 30 s of a paced source at 30/s is 900).
pub const MAX_CAPACITY: u32 = 1024;
/// Ports that may be asked to read one channel (chosen).
pub const MAX_READERS: u32 = 64;
/// Event services that one frame may ring (chosen).
pub const MAX_WAKES: usize = 16;
/// Bytes of one payload (chosen: an 8K picture in I420 has 50 MB).
pub const MAX_PAYLOAD: u32 = 64 * 1024 * 1024;
/// Bytes of a service's name (iceoryx2 takes 255).
pub const MAX_SERVICE_NAME: usize = 200;

/// Frames that one reader may hold besides those that wait for it: the current one and the next.
pub(crate) const BORROWED: usize = 2;
/// Frames that a producer may be writing at once.
pub(crate) const LOANED: usize = 1;
/// One producer, and one that replaces it while the old one is not gone yet.
pub(crate) const MAX_PUBLISHERS: usize = 2;
/// Processes that may have a channel open besides its readers: router, producer, and dead ones.
pub(crate) const SPARE_NODES: usize = 8;
/// Listeners of a wake-up: its thread, and one that replaces it.
pub(crate) const MAX_LISTENERS: usize = 2;
/// Producers that may ring one wake-up: in the router one thread waits for all channels of a session, in up to four
/// generations of each.
pub(crate) const MAX_NOTIFIERS: usize = 1024;
/// Processes that may have a wake-up open.
pub(crate) const WAKE_NODES: usize = 64;

/// iceoryx2's own header before ours: two ids of 16 bytes, two numbers of 8, padded to our header's alignment.
const IOX_HEADER: u64 = 64;
/// What a reader's connection takes besides the frames: queues of offsets, per reader and frame, generously.
const CONNECTION: u64 = 4096;
/// What a service takes besides: its dynamic list of ports.
const SERVICE: u64 = 16 * 1024;

/// Whether a prefix has the one shape that [`super::Host`] makes.
#[must_use]
pub(crate) fn is_prefix(prefix: &str) -> bool {
    prefix.len() == PREFIX_LEN
        && prefix.starts_with('m')
        && prefix.ends_with('_')
        && prefix[1..PREFIX_LEN - 1].bytes().all(is_hex)
}

/// Whether the last part of a root has the one shape that [`super::Host`] makes.
#[must_use]
pub(crate) fn is_root_name(name: &str) -> bool {
    name.len() == ROOT_NAME_LEN && name.bytes().all(is_hex)
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Refuses a namespace that none of our routers made: a prefix decides which files are unlinked at the end.
pub(crate) fn check(namespace: &Namespace) -> Result<(), Fault> {
    if !is_prefix(&namespace.prefix) {
        let rule = "`m`, 16 hex digits, `_`";
        return Err(Fault::invalid("namespace prefix", &namespace.prefix, rule));
    }
    let name = namespace.root.rsplit_once('/').map(|(_, name)| name);
    if !namespace.root.starts_with('/')
        || namespace.root.contains("/../")
        || !name.is_some_and(is_root_name)
    {
        let rule = "an absolute path that ends with a folder of 12 hex digits";
        return Err(Fault::invalid("namespace root", &namespace.root, rule));
    }
    let both = namespace.root.len() + namespace.prefix.len();
    if both > MAX_ROOT_AND_PREFIX {
        let rule = format!("root and prefix have {both} bytes, {MAX_ROOT_AND_PREFIX} are allowed");
        return Err(Fault::invalid("namespace root", &namespace.root, rule));
    }
    Ok(())
}

/// Refuses a channel that no contract of ours describes, before its numbers size any memory.
pub(crate) fn check_channel(spec: &ChannelSpec) -> Result<(), Fault> {
    let Contract { capacity, .. } = spec.contract;
    let wrong = |what, value: u64, most: u64| {
        Err(Fault::invalid(what, &value.to_string(), format!("{} takes 1 to {most}", spec.name)))
    };
    if spec.index.0 > MAX_INDEX {
        return wrong("channel index", u64::from(spec.index.0), u64::from(MAX_INDEX));
    }
    if !(1..=MAX_CAPACITY).contains(&capacity) {
        return wrong("channel capacity", u64::from(capacity), u64::from(MAX_CAPACITY));
    }
    if !(1..=MAX_PAYLOAD).contains(&spec.max_payload) {
        return wrong("channel payload", u64::from(spec.max_payload), u64::from(MAX_PAYLOAD));
    }
    if !(1..=MAX_READERS).contains(&spec.max_readers) {
        return wrong("number of readers", u64::from(spec.max_readers), u64::from(MAX_READERS));
    }
    if spec.wakes.len() > MAX_WAKES {
        return wrong("number of wakes", spec.wakes.len() as u64, MAX_WAKES as u64);
    }
    spec.wakes.iter().try_for_each(|wake| check_service(wake))?;
    check_service(&spec.service)
}

/// Refuses a service name that iceoryx2 would not take.
pub(crate) fn check_service(name: &str) -> Result<(), Fault> {
    if (1..=MAX_SERVICE_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let rule = format!("1 to {MAX_SERVICE_NAME} visible ASCII characters");
    Err(Fault::invalid("service name", name, rule))
}

/// Frames that a producer of this channel has memory for: those that wait, those that readers hold, the one being
/// written.
#[must_use]
pub(crate) fn samples(spec: &ChannelSpec) -> u64 {
    let waiting = u64::from(spec.contract.capacity);
    u64::from(spec.max_readers) * (waiting + BORROWED as u64) + LOANED as u64
}

/// Shared memory that a channel may take at most, with one producer and all its readers attached.
///
/// Virtual until touched; what a session may come to is the sum. A full `/dev/shm` kills whoever writes next, so this is
/// added up before anything is created.
#[must_use]
pub fn bytes_of(spec: &ChannelSpec) -> u64 {
    let align = align_of::<Header>() as u64;
    let headers = IOX_HEADER + size_of::<Header>() as u64;
    let chunk = headers + u64::from(spec.max_payload).next_multiple_of(align);
    let samples = samples(spec);
    let connection = CONNECTION + 64 * samples;
    samples * chunk + u64::from(spec.max_readers) * connection + SERVICE
}

/// The configuration of a session: never the global one, which reads files.
pub(crate) fn of(namespace: &Namespace) -> Result<Config, Fault> {
    check(namespace)?;
    let prefix = FileName::new(namespace.prefix.as_bytes())
        .map_err(|e| Fault::port("use the prefix", &namespace.prefix, e))?;
    let root = IoxPath::new(namespace.root.as_bytes())
        .map_err(|e| Fault::port("use the root", &namespace.root, e))?;
    let mut config = Config::default();
    config.global.prefix = prefix;
    config.global.set_root_path(&root);
    // Its cleaner can spin for ever on half-made objects (FINDINGS): nobody here runs it, the router sweeps.
    config.global.node.cleanup_dead_nodes_on_creation = false;
    config.global.node.cleanup_dead_nodes_on_destruction = false;
    config.global.service.cleanup_dead_nodes_on_open = false;
    // How long opening waits for an object that another process is just making.
    config.global.creation_timeout = Duration::from_millis(500);
    // 14 KB a subscriber in place of 468 KB; not below the frames that a reader may hold.
    config.defaults.publish_subscribe.subscriber_expired_connection_buffer = BORROWED;
    Ok(config)
}

/// This process's node in a session.
pub(crate) fn node(config: &Config) -> Result<Node<Service>, Fault> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| set_log_level(LogLevel::Warn));
    NodeBuilder::new()
        .config(config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<Service>()
        .map_err(|e| Fault::port("create the node in", &config.global.root_path().to_string(), e))
}
