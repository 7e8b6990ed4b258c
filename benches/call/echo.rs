//! The floor of the network's part: two connections of the `webrtc` crate in this process, one of which sends back what
//! comes, packet by packet, as many bytes as a call. Its threads are its own, so its processor time can be told apart.

use crate::proc;
use crate::work::{AUDIO_BITRATE, FPS, VIDEO_BITRATE};
use bytes::Bytes;
use remotemedia_peer::{
    Connection, Event, Kind, OutPacket, Role, Sender, SenderSpec, Settings, State,
};
use remotemedia_rtp::packetize::Packetizer;
use remotemedia_shm_schema::Codec;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

/// Payload bytes of a packet: the router's own are about this long. They are sent as VP8; no side looks into them.
const MTU: usize = 1_100;

/// What an echo came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Echo {
    /// Milliseconds from the offer to the connection.
    pub(crate) connected_ms: f64,
    /// Milliseconds from a picture's first packet out to its last one back, sorted.
    pub(crate) round_trips_ms: Vec<f64>,
    /// Of one core: the echoing side alone.
    pub(crate) cpu_percent: f64,
}

struct Side {
    connection: Connection,
    events: mpsc::Receiver<Event>,
}

/// Threads of one side, told by their name.
fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

fn side(runtime: &Runtime, role: Role) -> Side {
    runtime.block_on(async {
        let (sender, events) = mpsc::channel(4_096);
        let settings =
            Settings { role, codecs: vec![Codec::Vp8, Codec::Opus], ..Settings::default() };
        // In a task, so that all that it starts runs on this side's threads.
        let made = tokio::spawn(async move { Connection::new(settings, sender).await });
        Side { connection: made.await.unwrap().unwrap(), events }
    })
}

/// Connects, echoes for so long, and ends; zero seconds only connects.
pub(crate) fn run(audio_frame: u32, seconds: u64) -> Echo {
    let (here, there) = (runtime("caller"), runtime("echo"));
    let (caller, echo) = (side(&here, Role::Offerer), side(&there, Role::Answerer));
    let (near, far) = (caller.connection.clone(), echo.connection.clone());
    let (connected, is_connected) = watch::channel(false);
    let sent = Arc::new(Mutex::new(BTreeMap::<u32, Instant>::new()));
    let trips = Arc::new(Mutex::new(Vec::new()));

    let senders = |connection: Connection| async move {
        let mut made = Vec::new();
        for (kind, track) in [(Kind::Video, "v"), (Kind::Audio, "a")] {
            let spec = SenderSpec { kind, stream: "main".into(), track: track.into() };
            made.push(connection.add_sender(spec).await.unwrap());
        }
        made
    };
    let outgoing = here.block_on(senders(near.clone()));
    let incoming = there.block_on(senders(far.clone()));
    let back = there.spawn(send_back(echo.events, incoming, near.clone()));
    let heard = {
        let (sent, trips) = (Arc::clone(&sent), Arc::clone(&trips));
        here.spawn(hear(caller.events, far.clone(), connected, sent, trips))
    };
    let begin = Instant::now();
    let mut waiting = is_connected;
    here.block_on(async {
        for kind in [Kind::Video, Kind::Audio] {
            near.add_receiver(kind).await.unwrap();
        }
        let offer = near.offer(false).await.unwrap();
        let answer = far.answer(&offer).await.unwrap();
        near.accept(&answer).await.unwrap();
        let wait = waiting.wait_for(|is| *is);
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap().unwrap();
    });
    let mut result = Echo { connected_ms: begin.elapsed().as_secs_f64() * 1e3, ..Echo::default() };
    if seconds > 0 {
        let cpu = || {
            let own = proc::threads(std::process::id());
            own.iter().filter(|t| t.name == "echo").map(|t| t.cpu_ns).sum::<u64>()
        };
        let (before, since) = (cpu(), Instant::now());
        here.block_on(async {
            let [video, audio] =
                <[Sender; 2]>::try_from(outgoing).unwrap_or_else(|_| panic!("two were made"));
            let video = tokio::spawn(pictures(video, seconds, sent));
            let audio = tokio::spawn(sounds(audio, audio_frame, seconds));
            video.await.unwrap();
            audio.await.unwrap();
        });
        result.cpu_percent = (cpu() - before) as f64 / since.elapsed().as_nanos() as f64 * 100.0;
    }
    here.block_on(near.close());
    there.block_on(far.close());
    back.abort();
    heard.abort();
    here.shutdown_timeout(Duration::from_secs(2));
    there.shutdown_timeout(Duration::from_secs(2));
    result.round_trips_ms = std::mem::take(&mut *trips.lock().unwrap());
    assert!(seconds == 0 || !result.round_trips_ms.is_empty(), "nothing was echoed");
    result.round_trips_ms.sort_by(f64::total_cmp);
    result
}

/// The echoing side: each packet goes back as it came.
async fn send_back(mut events: mpsc::Receiver<Event>, senders: Vec<Sender>, near: Connection) {
    let mut ways = BTreeMap::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Candidate(candidate) => drop(near.add_candidate(candidate).await),
            Event::Track { receiver, kind, .. } => {
                ways.insert(receiver, usize::from(kind == Kind::Audio));
            }
            Event::Rtp { receiver, packet } => {
                let Some(sender) = ways.get(&receiver).and_then(|way| senders.get(*way)) else {
                    continue;
                };
                let out = OutPacket {
                    payload_type: None,
                    sequence: packet.sequence,
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    media_time_ns: None,
                    payload: packet.payload,
                };
                let _ = sender.send(out).await;
            }
            _ => {}
        }
    }
}

/// The caller: notes when a picture's last packet is back.
async fn hear(
    mut events: mpsc::Receiver<Event>,
    far: Connection,
    connected: watch::Sender<bool>,
    sent: Arc<Mutex<BTreeMap<u32, Instant>>>,
    trips: Arc<Mutex<Vec<f64>>>,
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Candidate(candidate) => drop(far.add_candidate(candidate).await),
            Event::State(State::Connected) => drop(connected.send(true)),
            // Sound's marker is never set here.
            Event::Rtp { packet, .. } if packet.marker => {
                if let Some(begin) = sent.lock().unwrap().remove(&packet.timestamp) {
                    trips.lock().unwrap().push(begin.elapsed().as_secs_f64() * 1e3);
                }
            }
            _ => {}
        }
    }
}

async fn pictures(sender: Sender, seconds: u64, sent: Arc<Mutex<BTreeMap<u32, Instant>>>) {
    let unit = vec![0x11u8; (VIDEO_BITRATE / FPS / 8) as usize];
    let mut packetizer = Packetizer::new(Codec::Vp8, MTU);
    let (mut parts, mut sequence) = (Vec::new(), 0u16);
    let mut ticks = tokio::time::interval(Duration::from_nanos(1_000_000_000 / u64::from(FPS)));
    for number in 0..seconds * u64::from(FPS) {
        ticks.tick().await;
        parts.clear();
        packetizer.packetize(&unit, number == 0, &mut parts);
        let timestamp = number as u32 * (90_000 / FPS);
        sent.lock().unwrap().insert(timestamp, Instant::now());
        let last = parts.len().saturating_sub(1);
        for (place, payload) in parts.drain(..).enumerate() {
            send(&sender, &mut sequence, timestamp, place == last, payload).await;
        }
    }
}

async fn sounds(sender: Sender, frame_ms: u32, seconds: u64) {
    let unit = Bytes::from(vec![0x11u8; (AUDIO_BITRATE * frame_ms / 8_000) as usize]);
    let mut sequence = 0u16;
    let mut ticks = tokio::time::interval(Duration::from_millis(frame_ms.into()));
    for number in 0..seconds * 1_000 / u64::from(frame_ms) {
        ticks.tick().await;
        let timestamp = number as u32 * 48 * frame_ms;
        send(&sender, &mut sequence, timestamp, false, unit.clone()).await;
    }
}

async fn send(sender: &Sender, sequence: &mut u16, timestamp: u32, marker: bool, payload: Bytes) {
    let packet = OutPacket {
        payload_type: None,
        sequence: *sequence,
        timestamp,
        marker,
        media_time_ns: None,
        payload,
    };
    *sequence = sequence.wrapping_add(1);
    let _ = sender.send(packet).await;
}
