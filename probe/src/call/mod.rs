//! One call: announce, offer, trickle, send for a while, say goodbye.
//!
//! A single task carries messages between the hub, the connection and the threads that send and receive; it waits in one
//! place ([`Call::step`]). Phases follow one another: connecting, sending, a moment for what is under way, the end.

mod facts;

use crate::args::{Args, Endpoint};
use crate::processes::{self, Watch};
use crate::receive::{Outcome, Told, Track};
use crate::report::{AudioReport, CLOCK, PeerReport, Report, VideoReport};
use crate::send::{AudioPlan, Sending, Sent, VideoPlan};
use crate::signal::Signal;
use crate::sink;
use anyhow::{Context, Result, anyhow, bail};
use facts::Facts;
use remotemedia_peer::{
    Candidate, Connection, DataId, Event, IceServer, Kind, ReceiverId, Role, Sender, SenderSpec,
    Settings, State,
};
use remotemedia_shm_schema::{Codec, PeerId, SessionId};
use remotemedia_signaling::ROUTER;
use remotemedia_signaling::message::{
    Announce, AnnounceResult, Answer, CandidateMessage, Capability, Disconnect, Disconnected, Id,
    Message, Offer, Reason, RequestId, SessionCreate, SessionRef, method, params,
};
use remotemedia_worker::monotonic_ns;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// From the offer until media may flow; starting a session's processes is part of it.
const CONNECTING: Duration = Duration::from_secs(15);
/// After the last frame was sent, for what is still on its way back.
const LINGER: Duration = Duration::from_millis(400);
/// Events of the connection that may wait: two keyframes of packets.
const EVENTS: usize = 1_024;
/// Messages of the receiving threads that may wait.
const TOLD: usize = 256;
/// Tracks that are received at once; two for each of a full room's others.
const TRACKS: usize = 32;
/// Candidates that may come before the answer.
const EARLY: usize = 64;
/// Label of the channel that carries the router's notifications.
const NOTIFICATIONS: &str = "events";

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) video: Option<VideoPlan>,
    pub(crate) audio: Option<AudioPlan>,
}

/// Where the call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Sending,
    Lingering,
    Over,
}

/// A track that the router sends.
struct Returned {
    receiver: ReceiverId,
    stream: String,
    track: Track,
}

struct Call<'a> {
    args: &'a Args,
    endpoint: Endpoint,
    signal: Option<Signal>,
    connection: Connection,
    events: mpsc::Receiver<Event>,
    tell: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    request_id: RequestId,
    /// The request that carried the offer.
    offer_id: Option<u64>,
    /// Set once the answer is in force; candidates wait for it.
    answered: bool,
    early: Vec<Candidate>,
    notifications: DataId,
    media: Media,
    senders: Vec<Sender>,
    sending: Vec<(Kind, Sending)>,
    sent: BTreeMap<&'static str, Sent>,
    tracks: Vec<Returned>,
    saves: (Option<std::path::PathBuf>, Option<std::path::PathBuf>),
    facts: Facts,
    watch: Watch,
    phase: Phase,
    deadline: Instant,
    offered_ns: u64,
    connected_ns: Option<u64>,
    first_picture_ns: Option<u64>,
    fault: Option<String>,
}

/// Makes the call and tells how it was. `stop` ends it early, in order.
///
/// An error is a call that never came about; one that broke off is a report with `error`.
pub(crate) async fn make(
    args: &Args,
    endpoint: Endpoint,
    media: Media,
    mut stop: mpsc::Receiver<()>,
) -> Result<Report> {
    let mut signal = Signal::connect(&endpoint).await?;
    let announced = announce(args, &mut signal).await?;
    let (events_in, events) = mpsc::channel(EVENTS);
    let (tell, told) = mpsc::channel(TOLD);
    let connection = Connection::new(settings(args, &signal, &announced), events_in).await?;
    let mut senders = Vec::new();
    for (kind, sends) in
        [(Kind::Audio, media.audio.is_some()), (Kind::Video, media.video.is_some())]
    {
        if sends {
            let name = if kind == Kind::Audio { "audio" } else { "video" };
            let (stream, track) = (announced.peer_id.to_string(), name.to_owned());
            senders.push(connection.add_sender(SenderSpec { kind, stream, track }).await?);
        }
        connection.add_receiver(kind).await?;
    }
    let notifications = connection.open_data(NOTIFICATIONS).await?;
    let request_id = RequestId::new(format!("{:016x}", RandomState::new().hash_one("request")))?;
    let mut call = Call {
        args,
        endpoint,
        signal: Some(signal),
        connection,
        events,
        tell,
        told,
        request_id,
        offer_id: None,
        answered: false,
        early: Vec::new(),
        notifications,
        media,
        senders,
        sending: Vec::new(),
        sent: BTreeMap::new(),
        tracks: Vec::new(),
        saves: args.save.as_deref().map(sink::names).unwrap_or_default(),
        facts: Facts::default(),
        watch: Watch::default(),
        phase: Phase::Connecting,
        deadline: Instant::now() + CONNECTING,
        offered_ns: monotonic_ns(),
        connected_ns: None,
        first_picture_ns: None,
        fault: None,
    };
    call.find_router().await;
    let mut result = call.offer().await;
    while result.is_ok() && call.phase != Phase::Over {
        result = tokio::select! {
            step = call.step() => step,
            Some(()) = stop.recv() => call.stop_sending().await,
        };
    }
    let connected = call.connected_ns.is_some();
    let report = call.end(result.as_ref().err().map(ToString::to_string)).await;
    match result {
        Err(error) if !connected => Err(error),
        _ => Ok(report),
    }
}

async fn announce(args: &Args, signal: &mut Signal) -> Result<AnnounceResult> {
    let peer_id = match &args.peer_id {
        Some(id) => id.clone(),
        None => PeerId::new(format!("probe-{:08x}", RandomState::new().hash_one("peer") as u32))?,
    };
    let announce = Announce {
        peer_id,
        capabilities: vec![Capability::Audio, Capability::Video, Capability::Data],
        user_data: None,
        session_id: args.session.clone(),
        device_id: None,
        role: None,
        token: None,
        session_key: None,
    };
    let reply = signal.request(method::ANNOUNCE, &announce).await?;
    let announced =
        serde_json::from_value(reply).context("the router's answer to peer.announce")?;
    if args.pipeline.is_some() {
        let create = SessionCreate {
            pipeline: args.pipeline.clone(),
            session_id: args.session.clone(),
            ..SessionCreate::default()
        };
        signal.request(method::SESSION_CREATE, &create).await?;
    }
    Ok(announced)
}

fn settings(args: &Args, signal: &Signal, announced: &AnnounceResult) -> Settings {
    let local = signal.local_address();
    let ice_servers = announced
        .ice_servers
        .iter()
        .filter(|_| !local.is_loopback())
        .map(|server| IceServer {
            urls: server.urls.clone(),
            username: server.username.clone().unwrap_or_default(),
            credential: server.credential.clone().unwrap_or_default(),
        })
        .collect();
    Settings {
        // The address that reaches the hub reaches the router.
        bind: vec![SocketAddr::new(local, 0)],
        ice_servers,
        codecs: vec![args.codec, Codec::Opus],
        role: Role::Offerer,
        tracks: TRACKS,
        ..Settings::default()
    }
}

impl Call<'_> {
    async fn offer(&mut self) -> Result<()> {
        self.offered_ns = monotonic_ns();
        let sdp = self.connection.offer(false).await?;
        let offer = Offer {
            from: None,
            from_device: None,
            to: Some(router()?),
            to_device: None,
            sdp,
            can_trickle_ice_candidates: true,
            request_id: self.request_id.clone(),
        };
        // Candidates follow at once; they do not wait for the reply.
        let signal = self.signal.as_mut().context("the router is gone")?;
        self.offer_id = Some(signal.ask(method::OFFER, &offer).await?);
        Ok(())
    }

    /// The router's own process, when it is on this machine.
    async fn find_router(&mut self) {
        let port = self.endpoint.authority.rsplit(':').next().and_then(|p| p.parse().ok());
        let here = self.signal.as_ref().is_some_and(|s| s.local_address().is_loopback());
        if let Some(port) = port.filter(|_| here) {
            let found = tokio::task::spawn_blocking(move || processes::listener_on(port)).await;
            if let Ok(Some(pid)) = found {
                self.watch.add("router", pid);
            }
        }
    }

    /// Waits for whatever comes next, and does what follows from it.
    async fn step(&mut self) -> Result<()> {
        tokio::select! {
            Some(event) = self.events.recv() => self.event(event).await,
            Some(told) = self.told.recv() => self.told(told).await,
            message = next(&mut self.signal) => match message {
                Ok(Some(message)) => self.message(message).await,
                // Media lives on without the socket, as it does for any peer.
                Ok(None) | Err(_) if self.connected_ns.is_some() => {
                    self.signal = None;
                    Ok(())
                }
                Ok(None) => bail!("the router closed the socket before the call was connected"),
                Err(error) => Err(error),
            },
            () = sleep_until(self.deadline) => self.deadline().await,
        }
    }

    async fn deadline(&mut self) -> Result<()> {
        match self.phase {
            Phase::Connecting => bail!(
                "not connected within {CONNECTING:?}; is UDP between here and the router blocked?"
            ),
            Phase::Sending => self.stop_sending().await,
            Phase::Lingering | Phase::Over => {
                self.phase = Phase::Over;
                Ok(())
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Rtp { receiver, packet } => {
                if let Some(to) = self.tracks.iter_mut().find(|t| t.receiver == receiver) {
                    to.track.push(packet);
                }
            }
            Event::Candidate(candidate) => self.trickle(candidate).await?,
            Event::CandidatesDone => self.trickle(Candidate::default()).await?,
            Event::State(State::Connected) if self.phase == Phase::Connecting => {
                self.connected_ns = Some(monotonic_ns());
                self.start_sending().await?;
            }
            Event::State(State::Failed) => bail!("the connection failed"),
            Event::State(State::Closed) => bail!("the router closed the connection"),
            Event::State(State::Connecting | State::Connected | State::Disconnected) => {}
            Event::Track { receiver, codec, stream, .. } => {
                if self.tracks.len() < TRACKS {
                    // The first of a kind is the one that is saved.
                    let saves = &mut self.saves;
                    let save = if codec.is_audio() { saves.1.take() } else { saves.0.take() };
                    let tell = self.tell.clone();
                    let track = Track::start(self.tracks.len(), codec, save, tell);
                    self.tracks.push(Returned { receiver, stream, track });
                }
            }
            Event::KeyframeWanted(id) => {
                let video = self.senders.iter().any(|s| s.id() == id && s.kind() == Kind::Video);
                for (_, sending) in self.sending.iter().filter(|(k, _)| video && *k == Kind::Video)
                {
                    sending.want_keyframe();
                }
            }
            Event::Data { id, payload, .. } if id == self.notifications => {
                self.facts.event(&payload, &mut self.watch);
            }
            Event::TrackEnded(_)
            | Event::SenderReport { .. }
            | Event::ReceiverReport { .. }
            | Event::Transport(_)
            | Event::DataOpen { .. }
            | Event::Data { .. }
            | Event::DataClosed(_) => {}
        }
        Ok(())
    }

    async fn told(&mut self, told: Told) -> Result<()> {
        match told {
            Told::FirstPicture(at) => {
                let first = self.first_picture_ns.get_or_insert(at);
                *first = at.min(*first);
            }
            Told::KeyframeWanted(number) => {
                let Some(from) = self.tracks.get(number) else { return Ok(()) };
                let receiver = from.receiver;
                if let Err(error) = self.connection.request_keyframe(receiver).await {
                    tracing::debug!(%error, "the keyframe was not asked for");
                }
            }
        }
        Ok(())
    }

    async fn message(&mut self, message: Message) -> Result<()> {
        let Message::Call { method: name, params: given, .. } = message else {
            return self.reply(message);
        };
        match name.as_str() {
            method::ANSWER if !self.answered => {
                let answer: Answer = params(given)?;
                self.connection.accept(&answer.sdp).await?;
                self.answered = true;
                for candidate in std::mem::take(&mut self.early) {
                    self.candidate(candidate).await;
                }
            }
            method::OFFER => self.answer(params(given)?).await?,
            method::CANDIDATE => {
                let c: CandidateMessage = params(given)?;
                let candidate = Candidate {
                    candidate: c.candidate,
                    sdp_mid: c.sdp_mid,
                    sdp_m_line_index: c.sdp_m_line_index,
                    user_fragment: c.user_fragment,
                };
                if self.answered {
                    self.candidate(candidate).await;
                } else if self.early.len() < EARLY {
                    self.early.push(candidate);
                }
            }
            method::DISCONNECTED => {
                let gone: Disconnected = params(given)?;
                if gone.from.as_str() == ROUTER {
                    let why = gone.details.unwrap_or_else(|| wire_name(&gone.reason));
                    bail!("the router hung up: {why}");
                }
            }
            method::TIMEOUT => bail!("the router did not answer the offer in time"),
            _ => {}
        }
        Ok(())
    }

    fn reply(&mut self, message: Message) -> Result<()> {
        let Message::Reply { id, result } = message else { return Ok(()) };
        match result {
            Ok(value) => self.facts.describe(&value, &mut self.watch),
            Err(error) => {
                let offer = matches!((&id, self.offer_id), (Id::Number(n), Some(of)) if n.as_u64() == Some(of));
                if offer || id == Id::Null {
                    bail!("{}: {error}", method::OFFER);
                }
                tracing::debug!(%error, "the router refused something");
            }
        }
        Ok(())
    }

    /// The router has something new to send: in a room, another peer's tracks. It yields in a glare, so
    /// an offer that crosses ours is not for us to answer.
    async fn answer(&mut self, offer: Offer) -> Result<()> {
        if !self.answered || offer.from.as_ref().map(PeerId::as_str) != Some(ROUTER) {
            return Ok(());
        }
        let sdp = self.connection.answer(&offer.sdp).await?;
        let answer = Answer {
            from: None,
            to: Some(router()?),
            sdp,
            can_trickle_ice_candidates: true,
            request_id: offer.request_id,
        };
        if let Some(signal) = &mut self.signal {
            signal.ask(method::ANSWER, &answer).await?;
        }
        Ok(())
    }

    async fn candidate(&self, candidate: Candidate) {
        // One bad candidate of several is no reason to end a call.
        if let Err(error) = self.connection.add_candidate(candidate).await {
            tracing::debug!(%error, "a candidate of the router is of no use");
        }
    }

    async fn trickle(&mut self, candidate: Candidate) -> Result<()> {
        let message = CandidateMessage {
            from: None,
            to: Some(router()?),
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_m_line_index: candidate.sdp_m_line_index,
            user_fragment: candidate.user_fragment,
            request_id: self.request_id.clone(),
        };
        match &mut self.signal {
            Some(signal) => signal.notify(method::CANDIDATE, &message).await,
            None => Ok(()),
        }
    }

    async fn start_sending(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Handle::current();
        for sender in &self.senders {
            let negotiated = sender.codec();
            match sender.kind() {
                Kind::Video => {
                    let codec = negotiated.map(|n| n.codec).ok_or_else(|| {
                        anyhow!("the router takes no {}; try another --codec", self.args.codec)
                    })?;
                    if let Some(plan) = self.media.video.take() {
                        let sending = plan.start(sender.clone(), codec, runtime.clone());
                        self.sending.push((Kind::Video, sending));
                    }
                }
                Kind::Audio => {
                    negotiated.context("the router takes no Opus")?;
                    if let Some(plan) = self.media.audio.take() {
                        let sending = plan.start(sender.clone(), runtime.clone());
                        self.sending.push((Kind::Audio, sending));
                    }
                }
            }
        }
        self.phase = Phase::Sending;
        self.deadline = Instant::now() + self.args.seconds;
        // For the pids of the workers, which a short call would end before the first notification.
        self.ask_description().await;
        Ok(())
    }

    async fn stop_sending(&mut self) -> Result<()> {
        if !matches!(self.phase, Phase::Sending) {
            // Stopped before it was connected, or a second time: nothing is on its way back.
            self.phase = Phase::Over;
            return Ok(());
        }
        self.join_senders();
        self.phase = Phase::Lingering;
        self.deadline = Instant::now() + LINGER;
        self.ask_description().await;
        // Reading memory maps takes milliseconds, in which packets would wait.
        let mut watch = std::mem::take(&mut self.watch);
        let sampled = tokio::task::spawn_blocking(move || {
            watch.sample();
            watch
        });
        self.watch = sampled.await.unwrap_or_default();
        Ok(())
    }

    /// The reply is worth having, but not worth an error.
    async fn ask_description(&mut self) {
        let told = self.facts.session_id.as_deref().and_then(|id| SessionId::new(id).ok());
        let session_id = self.args.session.clone().or(told);
        if let Some(signal) = &mut self.signal {
            let _ = signal.ask(method::SESSION_DESCRIBE, &SessionRef { session_id }).await;
        }
    }

    fn join_senders(&mut self) {
        self.sending.iter().for_each(|(_, sending)| sending.stop());
        for (kind, sending) in self.sending.drain(..) {
            let sent = sending.join();
            if let Some(fault) = &sent.fault {
                self.fault.get_or_insert_with(|| fault.clone());
            }
            if sent.skipped > 0 {
                tracing::warn!(
                    skipped = sent.skipped,
                    "this machine is too slow to send all frames"
                );
            }
            self.sent.insert(if kind == Kind::Video { "video" } else { "audio" }, sent);
        }
    }

    /// Says goodbye, frees everything, and sums up.
    async fn end(mut self, error: Option<String>) -> Report {
        self.join_senders();
        if let Some(mut signal) = self.signal.take() {
            let goodbye = async {
                let disconnect = Disconnect {
                    from: None,
                    to: router()?,
                    reason: if error.is_some() { Reason::Error } else { Reason::UserRequested },
                    details: None,
                    request_id: Some(self.request_id.clone()),
                };
                signal.notify(method::DISCONNECT, &disconnect).await
            };
            // A router that is gone needs no goodbye.
            let _ = timeout(Duration::from_millis(500), goodbye).await;
            signal.close().await;
        }
        self.connection.close().await;
        let tracks = std::mem::take(&mut self.tracks);
        let finish = move || -> Vec<(String, Outcome)> {
            tracks.into_iter().map(|t| (t.stream, t.track.finish())).collect()
        };
        let outcomes = tokio::task::spawn_blocking(finish).await.unwrap_or_default();
        self.sum_up(outcomes, error)
    }

    fn sum_up(&self, outcomes: Vec<(String, Outcome)>, error: Option<String>) -> Report {
        let since = |ns: Option<u64>| {
            let ns = ns?.saturating_sub(self.offered_ns);
            Some((ns as f64 / 1e4).round() / 100.0)
        };
        let mut fault = error.or_else(|| self.fault.clone());
        let mut streams: Vec<(String, PeerReport)> = Vec::new();
        for (stream, outcome) in outcomes {
            let at = streams.iter().position(|(id, _)| *id == stream).unwrap_or_else(|| {
                streams.push((stream.clone(), PeerReport::default()));
                streams.len() - 1
            });
            let Some((_, peer)) = streams.get_mut(at) else { continue };
            match outcome {
                // A track that began anew with another codec: the one that showed more is the one to tell of.
                Outcome::Video(v)
                    if peer.video.as_ref().is_none_or(|o| o.received < v.received) =>
                {
                    peer.video = Some(v);
                }
                Outcome::Audio(a)
                    if peer.audio.as_ref().is_none_or(|o| o.received < a.received) =>
                {
                    peer.audio = Some(a);
                }
                Outcome::Video(_) | Outcome::Audio(_) => {}
                Outcome::Fault(text) => fault = fault.or(Some(text)),
            }
        }
        let sent = |kind| self.sent.get(kind).map_or(0, |sent| sent.frames);
        let first_video = streams.iter().find_map(|(_, peer)| peer.video.clone());
        let first_audio = streams.iter().find_map(|(_, peer)| peer.audio.clone());
        let frame_ms = self.args.audio_frame;
        let video = VideoReport { sent: sent("video"), ..first_video.unwrap_or_default() };
        let audio = AudioReport {
            sent: sent("audio"),
            stages: self.facts.audio.clone(),
            ..first_audio.unwrap_or_else(|| AudioReport { frame_ms, ..AudioReport::default() })
        };
        let named = self.args.session.is_some() || streams.len() > 1;
        Report {
            setup_ms: since(self.connected_ns),
            first_frame_ms: since(self.first_picture_ns),
            video,
            audio,
            peers: if named { streams.into_iter().collect() } else { BTreeMap::new() },
            stages: self.facts.video.clone(),
            processes: self.watch.report(),
            session_id: self.facts.session_id.clone(),
            error: fault,
            clock: CLOCK,
        }
    }
}

/// The hub's next message; waits for ever once the socket is gone.
async fn next(signal: &mut Option<Signal>) -> Result<Option<Message>> {
    match signal {
        Some(signal) => signal.next().await,
        None => std::future::pending().await,
    }
}

fn router() -> Result<PeerId> {
    Ok(PeerId::new(ROUTER)?)
}

fn wire_name(reason: &Reason) -> String {
    match serde_json::to_value(reason) {
        Ok(Value::String(name)) => name,
        _ => "unknown".into(),
    }
}
