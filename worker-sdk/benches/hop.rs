//! One hop of a frame between two processes at 30 a second, against its floors (TARGETS P1).
//!
//! | row | what passes | measured from → to |
//! |---|---|---|
//! | `event` | a bare iceoryx2 event, the floor of (a) | notify → woken |
//! | `header_480p`, `header_720p`, `header_4k` | a loaned picture, not filled; its header is read | publish → checked frame |
//! | `frame_720p` | a picture that is filled, and summed plane by plane by its reader | begin of filling → end of summing |
//! | `socket_720p` | the same through a Unix socket that copies, its reader sums what it read | the same |
//!
//! All rows take their turn within each frame's period, so that whatever the machine does meanwhile hits all of them;
//! a ratio is the median over blocks of a second of the two medians within the block.
//! `cargo bench -p remotemedia-worker --bench hop -- [--frames N] [--json]`
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![allow(missing_docs, reason = "a program")]

#[path = "../../benches/report/mod.rs"]
mod report;

use iceoryx2::prelude::*;
use remotemedia_shm_schema::control::{ChannelSpec, Namespace};
use remotemedia_shm_schema::{ChannelIndex, Content, Contract, Meta, VideoGeometry};
use remotemedia_worker::namespace::{Host, Runtime};
use remotemedia_worker::{Attachment, Inlet, Outlet, Wake, monotonic_ns};
use report::interval::{Ratio, percentile};
use report::{Row, Target};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Service = ipc_threadsafe::Service;

/// Pictures by row; `event` and the socket have none of ours.
const PICTURES: [(&str, u16, u16, bool); 4] = [
    ("header_480p", 854, 480, false),
    ("header_720p", 1280, 720, false),
    ("header_4k", 3840, 2160, false),
    ("frame_720p", 1280, 720, true),
];
const ROWS: [&str; 6] =
    ["event", "header_480p", "header_720p", "header_4k", "frame_720p", "socket_720p"];
/// Frames before those that count (chosen): ports connect and pages are touched.
const WARM_UP: usize = 60;
/// Frames in a block of the ratios (chosen): a second.
const BLOCK: usize = 30;
/// Numbers that events carry, one beside another so that two that came at once are still two.
const EVENT_IDS: u64 = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1).cloned())
    };
    if let Some(spec) = value("--reader") {
        read(&spec);
        return;
    }
    let frames = value("--frames").map_or(2_100, |n| n.parse().expect("--frames takes a number"));
    measure(frames, arguments.iter().any(|a| a == "--json"));
}

fn bare(namespace: &Namespace) -> Config {
    // A namespace of its own beside the measured one.
    let mut config = Config::default();
    config.global.prefix =
        FileName::new(namespace.prefix.replacen('m', "b", 1).as_bytes()).unwrap();
    let root = iceoryx2::prelude::Path::new(namespace.root.as_bytes()).unwrap();
    config.global.set_root_path(&root);
    config.global.node.cleanup_dead_nodes_on_creation = false;
    config.global.node.cleanup_dead_nodes_on_destruction = false;
    config.global.service.cleanup_dead_nodes_on_open = false;
    config
}

fn bare_node(namespace: &Namespace) -> Node<Service> {
    NodeBuilder::new()
        .config(&bare(namespace))
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<Service>()
        .unwrap()
}

fn spec(row: usize, name: &str, bytes: usize) -> ChannelSpec {
    ChannelSpec {
        index: ChannelIndex(row as u32),
        name: format!("rm/bench/node/{}.out/raw", name.replace('_', "-")).parse().unwrap(),
        service: name.into(),
        epoch: 1,
        generation: 1,
        contract: Contract::RAW_VIDEO,
        max_payload: bytes as u32,
        max_readers: 1,
        wakes: vec![format!("wake-{name}")],
    }
}

fn specs() -> Vec<(ChannelSpec, VideoGeometry, bool)> {
    PICTURES
        .iter()
        .enumerate()
        .map(|(row, (name, width, height, fill))| {
            let geometry = VideoGeometry::i420(*width, *height);
            (spec(row, name, geometry.payload_len()), geometry, *fill)
        })
        .collect()
}

// --- the reading process ----------------------------------------------------------------------------------------

/// Of all bytes, as fast as they can be read: a slow sum would hide the hop in both rows of (b).
fn sum(bytes: &[u8]) -> u64 {
    const BYTES: u64 = 0x00ff_00ff_00ff_00ff;
    // Four lanes of 16 bits; 128 words of twice 255 at most are what a lane holds.
    let block = |words: &[[u8; 8]]| {
        let lanes = words.iter().map(|word| u64::from_ne_bytes(*word));
        let lanes = lanes.fold(0, |sum, word| sum + (word & BYTES) + (word >> 8 & BYTES));
        (0..4).map(|lane| lanes >> (16 * lane) & 0xffff).sum::<u64>()
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chunks(128).map(block).chain(rest).sum()
}

/// Set when the writing process has sent its last, or is gone.
static DONE: AtomicBool = AtomicBool::new(false);
/// How long the reader waits for something that was sent when the end was told (chosen).
const REST: Duration = Duration::from_millis(300);

/// When each numbered thing came.
type Seen = Vec<(u64, u64)>;

/// Prints `row number ns` for everything that came, once its input ends.
fn read(argument: &str) {
    let namespace: Namespace = serde_json::from_str(argument).unwrap();
    let attachment = Attachment::open(&namespace).unwrap();
    let mut threads = Vec::new();
    for (spec, _, fill) in specs() {
        let wake = attachment.wake(&spec.wakes[0]).unwrap();
        let inlet = attachment.inlet(&spec).unwrap();
        threads.push(std::thread::spawn(move || frames(&wake, inlet, fill)));
    }
    let event_namespace = namespace.clone();
    threads.push(std::thread::spawn(move || events(&event_namespace)));
    let socket = format!("{}/socket", namespace.root);
    threads.push(std::thread::spawn(move || socket_frames(&socket)));
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
    DONE.store(true, Ordering::Relaxed);
    let mut out = std::io::stdout().lock();
    let names = PICTURES.iter().map(|p| p.0).chain(["event", "socket_720p"]);
    for (thread, name) in threads.into_iter().zip(names) {
        for (number, ns) in thread.join().unwrap() {
            writeln!(out, "{name} {number} {ns}").unwrap();
        }
    }
}

fn frames(wake: &Wake, mut inlet: Inlet, fill: bool) -> Seen {
    let mut seen = Seen::new();
    loop {
        if wake.wait(Some(REST)).unwrap() {
            wake.drain(|_| {});
        } else if DONE.load(Ordering::Relaxed) {
            return seen;
        }
        while let Some(frame) = inlet.receive() {
            if fill {
                let picture = frame.picture().unwrap();
                let planes = (0..3).map(|p| sum(picture.plane(p))).sum::<u64>();
                std::hint::black_box(planes);
            }
            seen.push((frame.meta().source, monotonic_ns()));
        }
    }
}

fn events(namespace: &Namespace) -> Seen {
    let node = bare_node(namespace);
    let service = node.service_builder(&"bare".try_into().unwrap()).event().open().unwrap();
    let listener = service.listener_builder().create().unwrap();
    let (mut seen, mut next) = (Seen::new(), 0u64);
    loop {
        let mut ids = [None; EVENT_IDS as usize];
        let mut count = 0;
        let woken = listener.timed_wait(
            |event| {
                ids[count % ids.len()] = Some(event.id.as_value() as u64);
                count += 1;
            },
            REST,
        );
        let now = monotonic_ns();
        if woken.unwrap() == 0 && DONE.load(Ordering::Relaxed) {
            return seen;
        }
        let mut numbers: Vec<u64> = ids
            .into_iter()
            .flatten()
            .map(|id| next + (id + EVENT_IDS - next % EVENT_IDS) % EVENT_IDS)
            .collect();
        numbers.sort_unstable();
        for number in numbers {
            seen.push((number, now));
            next = number + 1;
        }
    }
}

fn socket_frames(path: &str) -> Seen {
    let mut stream = UnixStream::connect(path).unwrap();
    let bytes = VideoGeometry::i420(1280, 720).payload_len();
    let mut frame = vec![0u8; bytes];
    let mut seen = Seen::new();
    while stream.read_exact(&mut frame).is_ok() {
        std::hint::black_box(sum(&frame));
        seen.push((seen.len() as u64, monotonic_ns()));
    }
    seen
}

// --- the writing process ----------------------------------------------------------------------------------------

fn measure(frames: usize, json: bool) {
    let folder = tempfile::Builder::new().prefix("rmb").tempdir_in("/dev/shm").unwrap();
    let runtime = Runtime::open(&folder.path().join("run")).unwrap();
    let mut host = Host::create(&runtime).unwrap();
    for (spec, ..) in specs() {
        host.create_wake(&spec.wakes[0]).unwrap();
        host.create_channel(&spec).unwrap();
    }
    let namespace = host.namespace().clone();
    let node = bare_node(&namespace);
    let event = node.service_builder(&"bare".try_into().unwrap()).event().create().unwrap();
    let socket = UnixListener::bind(Path::new(&namespace.root).join("socket")).unwrap();
    let mut reader = Command::new(std::env::current_exe().unwrap())
        .arg("--reader")
        .arg(serde_json::to_string(&namespace).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let (mut stream, _) = socket.accept().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let mut outlets: Vec<(Outlet, VideoGeometry, bool)> = specs()
        .into_iter()
        .map(|(spec, geometry, fill)| (host.attachment().outlet(&spec).unwrap(), geometry, fill))
        .collect();
    let notifier = event.notifier_builder().create().unwrap();
    let mut picture = vec![0x55u8; VideoGeometry::i420(1280, 720).payload_len()];

    let mut sent: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let slot = Duration::from_nanos(1_000_000_000 / 30 / ROWS.len() as u64);
    for number in 0..frames + WARM_UP {
        for turn in 0..ROWS.len() {
            // Another order each time: what a row leaves in caches and clocks is not always the same row's burden.
            let row = ROWS[(turn + number) % ROWS.len()];
            std::thread::sleep(slot);
            let begin = match row {
                "event" => {
                    let begin = monotonic_ns();
                    let id = EventId::new(number % EVENT_IDS as usize);
                    notifier.notify_with_custom_event_id(id).unwrap();
                    begin
                }
                "socket_720p" => {
                    let begin = monotonic_ns();
                    picture.fill(number as u8);
                    stream.write_all(&picture).unwrap();
                    begin
                }
                _ => {
                    let at = PICTURES.iter().position(|p| p.0 == row).unwrap();
                    publish(&mut outlets[at], number)
                }
            };
            sent.entry(row).or_default().push(begin);
        }
    }
    drop(stream);
    drop(reader.stdin.take());
    // Microseconds by row and number; what was lost on its way is in no row.
    let mut hops: BTreeMap<String, BTreeMap<usize, f64>> = BTreeMap::new();
    for line in lines {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let row = words.next().unwrap();
        let number: usize = words.next().unwrap().parse().unwrap();
        let at: u64 = words.next().unwrap().parse().unwrap();
        if number >= WARM_UP
            && let Some(begin) = sent[row].get(number)
        {
            let hop = at.saturating_sub(*begin) as f64 / 1e3;
            hops.entry(row.into()).or_default().insert(number, hop);
        }
    }
    reader.wait().unwrap();
    drop((outlets, notifier, event, node));
    let prefix = namespace.prefix.replacen('m', "b", 1);
    for entry in std::fs::read_dir("/dev/shm").unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let swept = host.sweep();
    assert!(swept.left.is_empty(), "left: {:?}", swept.left);
    report::print(&[target(&hops)], json);
}

fn publish((outlet, geometry, fill): &mut (Outlet, VideoGeometry, bool), number: usize) -> u64 {
    let mut meta = Meta::new(Content::Picture(*geometry));
    meta.source = number as u64;
    let begin = monotonic_ns();
    let mut loan = outlet.loan(geometry.payload_len()).unwrap();
    if *fill {
        loan.payload_mut().fill(number as u8);
        loan.publish(meta).unwrap();
        return begin;
    }
    let begin = monotonic_ns();
    loan.publish(meta).unwrap();
    begin
}

fn target(hops: &BTreeMap<String, BTreeMap<usize, f64>>) -> Target {
    let figures = |row: &str| {
        let mut sorted: Vec<f64> = hops[row].values().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share| percentile(&sorted, share).unwrap();
        vec![("p50", at(0.5)), ("p99", at(0.99))]
    };
    // Only numbers that came in both rows are a pair.
    let ratio = |over: &str, under: &str| {
        let (over, under): (Vec<f64>, Vec<f64>) = hops[over]
            .iter()
            .filter_map(|(number, hop)| Some((*hop, *hops[under].get(number)?)))
            .unzip();
        Ratio::paired(&over, &under, BLOCK)
    };
    let row = |name: &str, of: &str| Row {
        name: name.into(),
        unit: "us",
        ours: figures(of),
        samples: hops[of].len() as u64,
        ..Row::default()
    };
    let event = |name, of| Row {
        floor: figures("event"),
        floor_is: "a bare iceoryx2 event to a thread that waits for it",
        ratio: ratio(of, "event"),
        ratio_is: "(a) ours / floor, wanted at most 1.2; 4K / 480p, wanted 0.9 to 1.1; (b) rival / ours, wanted at least 2.5",
        ..row(name, of)
    };
    let filled = Row {
        rival: figures("socket_720p"),
        rival_is: "a Unix socket that copies the frame, which its writer fills and its reader sums",
        ratio: ratio("socket_720p", "frame_720p"),
        ..row("(b) 720p, filled and summed", "frame_720p")
    };
    let sizes =
        Row { ratio: ratio("header_4k", "header_480p"), ..row("(a) 4K over 480p", "header_4k") };
    Target {
        number: "P1",
        what: "one hop of a raw frame between two processes, 30 a second",
        rows: vec![
            event("(a) 720p, notify and header", "header_720p"),
            event("(a) 480p, notify and header", "header_480p"),
            event("(a) 4K, notify and header", "header_4k"),
            sizes,
            filled,
        ],
    }
}
