//! One peer's media: a task that takes its packets in and sends it what it views.
//!
//! It owns the peer's jitter buffers, channels' writing ends and paced streams, so that a peer that is slow or hostile
//! holds up nobody else. The session never waits for it: commands are offered, and a member that does not take them has
//! failed.

use super::egress::{self, Batch, Egress};
use super::ingress::{self, Ingress};
use super::relay::Inflow;
use super::stages::Percentiles;
use super::wiring::Stream;
use remotemedia_peer::{Candidate, Connection, DataId, Event, ReceiverId, State};
use remotemedia_rtp::clock;
use remotemedia_shm_schema::{Codec, Media, NodeId, OutputId, PeerId};
use remotemedia_worker::monotonic_ns;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait: about 200 ms of a peer's media in both directions (chosen).
pub(super) const COMMANDS: usize = 256;
/// How often flowing media are reported to the session.
const MEDIA_REPORT_NS: u64 = 500_000_000;
/// Keyframes are asked of a sender at most this often (DESIGN: 500 ms).
const KEYFRAME_INTERVAL_NS: u64 = 500_000_000;
/// Data channels that a peer may open (chosen: two have a meaning).
const MAX_DATA_CHANNELS: usize = 16;

/// What the session asks of it.
pub(super) enum Command {
    /// A track is wired.
    Write {
        /// Which.
        kind: Media,
        /// What it carries.
        codec: Codec,
        /// The router's number of it.
        source: u64,
        /// Where its units go.
        inflow: Inflow,
    },
    /// A track is not wired any more: its units are dropped.
    Unwrite(Media),
    /// Sound of this stream does not come for now: silence takes its place until it does.
    Hush(Stream),
    /// Send this from now on.
    View(Stream, Box<Egress>),
    /// And not any more.
    Unview(Stream),
    /// A frame of something that it views.
    Media(Stream, Arc<Batch>),
    /// A period of sound that is not sent.
    Silence(Stream, u64, u64),
    /// Ask the peer for a keyframe.
    Keyframe,
    /// Tell the page.
    Notify(Arc<str>),
    /// How is it?
    Snapshot(Arc<[(u8, NodeId)]>, oneshot::Sender<Snapshot>),
}

/// What it reports.
#[derive(Debug)]
pub(super) enum Report {
    /// A track's first packet came.
    Track(Media, Codec),
    /// A viewer lost its picture.
    KeyframeWanted(Stream),
    /// A viewer allows this rate.
    Rate(Stream, u32),
    /// Media flow.
    Media,
    /// The connection is up.
    Connected,
    /// The connection says that nothing comes any more.
    Cut,
    /// The connection was closed by the other side.
    Closed,
    /// For the peer; an empty one ends them.
    Candidate(Candidate),
}

/// A member as tables show it.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(super) struct Snapshot {
    /// What it sends.
    pub(super) receives: BTreeMap<String, Incoming>,
    /// What is sent to it.
    pub(super) sends: Vec<Outgoing>,
    /// Packets that were dropped before anybody looked at them, because this task did not keep up.
    pub(super) overrun: u64,
    /// Round trip in milliseconds, where known.
    pub(super) round_trip_ms: Option<f64>,
}

/// One incoming track as tables show it.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Incoming {
    /// What it carries.
    pub(super) codec: Codec,
    /// Its counters.
    #[serde(flatten)]
    pub(super) counters: ingress::Counters,
}

/// One outgoing stream as tables show it.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Outgoing {
    /// Whose media.
    pub(super) from: PeerId,
    /// Which result of the manifest.
    pub(super) output: OutputId,
    /// `audio` or `video`.
    pub(super) kind: &'static str,
    /// As what.
    pub(super) codec: Codec,
    /// Bits a second that the viewer allows.
    pub(super) target_bitrate: u32,
    /// Its counters.
    #[serde(flatten)]
    pub(super) counters: egress::Counters,
    /// Its stages.
    pub(super) stages: BTreeMap<String, Percentiles>,
}

/// Runs until the connection's events end.
pub(super) async fn run(
    peer: PeerId,
    connection: Connection,
    mut events: mpsc::Receiver<Event>,
    mut commands: mpsc::Receiver<Command>,
    reports: mpsc::Sender<(PeerId, Report)>,
) {
    let mut member = Member {
        peer,
        connection,
        reports,
        tracks: BTreeMap::new(),
        receivers: HashMap::new(),
        views: BTreeMap::new(),
        data: HashMap::new(),
        reported_ns: 0,
        keyframe_asked_ns: 0,
        keyframe_due: false,
    };
    loop {
        let due = member.wake_at();
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(command) => member.command(command).await,
                None => break,
            },
            event = events.recv() => match event {
                Some(event) => member.event(event).await,
                None => break,
            },
            () = sleep_until(due), if due.is_some() => member.pump().await,
        }
        member.ask_keyframe().await;
    }
    member.connection.close().await;
}

async fn sleep_until(due: Option<u64>) {
    if let Some(due) = due {
        tokio::time::sleep(Duration::from_nanos(due.saturating_sub(monotonic_ns()))).await;
    }
}

struct Member {
    peer: PeerId,
    connection: Connection,
    reports: mpsc::Sender<(PeerId, Report)>,
    tracks: BTreeMap<Media, Ingress>,
    receivers: HashMap<ReceiverId, Media>,
    views: BTreeMap<Stream, Egress>,
    data: HashMap<DataId, String>,
    reported_ns: u64,
    keyframe_asked_ns: u64,
    keyframe_due: bool,
}

impl Member {
    fn wake_at(&self) -> Option<u64> {
        let tracks = self.tracks.values().filter_map(Ingress::wake_at);
        let views = self.views.values().filter_map(Egress::wake_at);
        let keyframe = self.keyframe_due.then(|| self.keyframe_asked_ns + KEYFRAME_INTERVAL_NS);
        tracks.chain(views).chain(keyframe).min()
    }

    async fn report(&mut self, report: Report) {
        // The session outlives its members, and drains this queue in every state.
        let _ = self.reports.send((self.peer.clone(), report)).await;
    }

    async fn pump(&mut self) {
        let now = monotonic_ns();
        for track in self.tracks.values_mut() {
            track.pump(now);
        }
        let mut stuck = Vec::new();
        for (stream, view) in &mut self.views {
            if view.pump(now).await {
                stuck.push(stream.clone());
            }
        }
        for stream in stuck {
            self.report(Report::KeyframeWanted(stream)).await;
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Write { kind, codec, source, inflow } => {
                let track = self
                    .tracks
                    .entry(kind)
                    .and_modify(|track| {
                        if track.codec() != codec {
                            *track = Ingress::new(codec, source);
                        }
                    })
                    .or_insert_with(|| Ingress::new(codec, source));
                track.connect(Some(inflow));
            }
            Command::Unwrite(kind) => {
                if let Some(track) = self.tracks.get_mut(&kind) {
                    track.connect(None);
                }
            }
            Command::Hush(stream) => {
                if let Some(view) = self.views.get_mut(&stream) {
                    view.hush();
                }
            }
            Command::View(stream, mut egress) => {
                egress.go_on();
                self.views.insert(stream, *egress);
            }
            Command::Unview(stream) => {
                self.views.remove(&stream);
            }
            Command::Media(stream, batch) => {
                let wanted = match self.views.get_mut(&stream) {
                    Some(view) => view.push(&batch).await,
                    None => false,
                };
                if wanted {
                    self.report(Report::KeyframeWanted(stream)).await;
                }
            }
            Command::Silence(stream, media_time_ns, duration_ns) => {
                if let Some(view) = self.views.get_mut(&stream) {
                    view.silence(media_time_ns, duration_ns);
                }
            }
            Command::Keyframe => {
                if let Some(track) = self.tracks.get_mut(&Media::Video) {
                    track.want_keyframe();
                }
            }
            Command::Notify(text) => {
                let events: Vec<DataId> = self
                    .data
                    .iter()
                    .filter(|(_, label)| *label == "events")
                    .map(|(id, _)| *id)
                    .collect();
                for id in events {
                    // A page whose buffer is full misses a notification; the next one tells the same and more.
                    let _ = self.connection.send_text(id, &text).await;
                }
            }
            Command::Snapshot(nodes, reply) => {
                let _ = reply.send(self.snapshot(&nodes).await);
            }
        }
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Rtp { receiver, packet } => {
                let kind = self.receivers.get(&receiver);
                if let Some(track) = kind.and_then(|kind| self.tracks.get_mut(kind)) {
                    track.push(packet);
                }
                let now = monotonic_ns();
                if now.saturating_sub(self.reported_ns) >= MEDIA_REPORT_NS {
                    self.reported_ns = now;
                    self.report(Report::Media).await;
                }
            }
            Event::Track { receiver, codec, .. } => {
                let kind = Media::of(codec);
                self.receivers.insert(receiver, kind);
                let known = self.tracks.get(&kind).is_some_and(|track| track.codec() == codec);
                if !known {
                    // Its packets wait in the jitter buffer's place until the session has wired it.
                    self.tracks.insert(kind, Ingress::new(codec, 0));
                    self.report(Report::Track(kind, codec)).await;
                }
            }
            Event::TrackEnded(receiver) => {
                self.receivers.remove(&receiver);
            }
            Event::SenderReport { receiver, ntp, rtp_time, .. } => {
                let kind = self.receivers.get(&receiver);
                if let Some(track) = kind.and_then(|kind| self.tracks.get_mut(kind)) {
                    track.clock().sender_report(ntp, rtp_time);
                    let mut clocks: Vec<_> = self.tracks.values_mut().map(Ingress::clock).collect();
                    clock::align(&mut clocks);
                }
            }
            Event::KeyframeWanted(sender) => {
                let stream = self.views.iter().find(|(_, view)| view.sender().id() == sender);
                if let Some((stream, _)) = stream {
                    let stream = stream.clone();
                    self.report(Report::KeyframeWanted(stream)).await;
                }
            }
            Event::ReceiverReport { sender, fraction_lost, round_trip, .. } => {
                let now = monotonic_ns();
                let round_trip =
                    round_trip.map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
                if let (Some(ns), Some(track)) = (round_trip, self.tracks.get_mut(&Media::Video)) {
                    track.set_round_trip(ns);
                }
                let view = self.views.iter_mut().find(|(_, view)| view.sender().id() == sender);
                if let Some((stream, view)) = view {
                    let (before, stream) = (view.target(), stream.clone());
                    let target = view.report(now, fraction_lost, round_trip);
                    if target != before {
                        self.report(Report::Rate(stream, target)).await;
                    }
                }
            }
            Event::State(State::Connected) => {
                self.report(Report::Connected).await;
                self.keyframe_due = true;
            }
            Event::State(State::Disconnected | State::Failed) => self.report(Report::Cut).await,
            Event::State(State::Closed) => self.report(Report::Closed).await,
            Event::State(_) => {}
            Event::Candidate(candidate) => self.report(Report::Candidate(candidate)).await,
            Event::CandidatesDone => self.report(Report::Candidate(Candidate::default())).await,
            Event::DataOpen { id, label } => {
                if self.data.len() < MAX_DATA_CHANNELS {
                    self.data.insert(id, label);
                }
            }
            Event::Data { id, text, payload } => {
                if self.data.get(&id).is_some_and(|label| label == "echo") {
                    let _ = if text {
                        let text = String::from_utf8_lossy(&payload);
                        self.connection.send_text(id, &text).await
                    } else {
                        self.connection.send_binary(id, payload).await
                    };
                }
            }
            Event::DataClosed(id) => {
                self.data.remove(&id);
            }
            Event::Transport(_) => {}
        }
    }

    /// Asks the peer for a keyframe where one of its tracks needs it, coalesced.
    async fn ask_keyframe(&mut self) {
        if let Some(track) = self.tracks.get_mut(&Media::Video) {
            self.keyframe_due |= track.take_keyframe_request();
        }
        let now = monotonic_ns();
        if !self.keyframe_due || now.saturating_sub(self.keyframe_asked_ns) < KEYFRAME_INTERVAL_NS {
            return;
        }
        let receiver =
            self.receivers.iter().find(|(_, kind)| **kind == Media::Video).map(|(id, _)| *id);
        // Before its first packet a sender cannot be asked; its first frame is a keyframe anyway.
        if let Some(receiver) = receiver {
            self.keyframe_due = false;
            self.keyframe_asked_ns = now;
            let _ = self.connection.request_keyframe(receiver).await;
        } else {
            self.keyframe_asked_ns = now;
        }
    }

    async fn snapshot(&mut self, nodes: &[(u8, NodeId)]) -> Snapshot {
        let receives = self.tracks.iter().map(|(kind, track)| {
            let incoming = Incoming { codec: track.codec(), counters: track.counters() };
            (kind.name().to_owned(), incoming)
        });
        let sends = self.views.iter().map(|(stream, view)| Outgoing {
            from: stream.source.peer.clone(),
            output: stream.output.clone(),
            kind: stream.source.kind.name(),
            codec: view.codec(),
            target_bitrate: view.target(),
            counters: view.counters(),
            stages: view.stages(nodes),
        });
        Snapshot {
            receives: receives.collect(),
            sends: sends.collect(),
            overrun: self.connection.dropped(),
            round_trip_ms: self.connection.round_trip().await.map(|t| t.as_secs_f64() * 1e3),
        }
    }
}
