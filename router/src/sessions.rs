//! Which sessions there are, who belongs to which, and how many may be: what the hub tells becomes commands to sessions.
//!
//! A named room has one session, which bears its name. A peer of the room `default` has one of its own: by its offer, or
//! by `session.create` before it. A session begins here and reports its end here; nobody else holds a list of them.

use crate::pipeline::Pipeline;
use crate::session::actor::{News, Offer, Surroundings};
use crate::session::budget::Treasury;
use crate::session::life::{Cause, Times};
use crate::session::wiring::Plan;
use crate::session::{self, Command, Handle, Joiner, Receipt};
use crate::signaling::HubHandle;
use crate::staff::Offered;
use crate::workers::Pool;
use remotemedia_manifest::{Document, Origin};
use remotemedia_peer as rtc;
use remotemedia_shm_schema::control::Operation;
use remotemedia_shm_schema::{PeerId, SessionId};
use remotemedia_signaling::message::{Code, Control, Error};
use remotemedia_signaling::{FromRouter, Room, ToRouter, Token};
use remotemedia_worker::namespace::Runtime;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// A session that does not answer within this is shown as busy.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Receipts of ended sessions that are kept for `ps` (chosen).
const RECEIPTS: usize = 32;
/// Why a session broke off is told to a creator that offers within this (chosen: what an offer may wait for its answer).
const REMEMBERED: Duration = Duration::from_secs(30);
/// Requests of the web side that may wait.
const REQUESTS: usize = 64;

/// What sessions are made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// By name.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// What manifests of peers are checked against.
    pub offered: Arc<Offered>,
    /// The one for sessions that name none.
    pub default_pipeline: String,
    /// Sessions at once.
    pub max_sessions: usize,
    /// Peers in one session.
    pub max_peers: usize,
    /// Peers in all.
    pub max_peers_total: usize,
    /// Silence and grace.
    pub times: Times,
    /// How connections are made.
    pub peer: rtc::Settings,
    /// Greatest picture.
    pub max_video: (u16, u16),
    /// Bits a second.
    pub video_bitrate: u32,
    /// Bits a second.
    pub audio_bitrate: u32,
}

/// What others ask of the sessions.
pub enum Request {
    /// All of them, for `ps` and `/api/sessions`.
    List(oneshot::Sender<Value>),
    /// How many of how many, for `/readyz` and `/metrics`.
    Load(oneshot::Sender<Load>),
    /// End them all.
    Stop(oneshot::Sender<Vec<Receipt>>),
    /// A program wants to join one.
    Attach(SessionId, Joiner, oneshot::Sender<Result<(), String>>),
    /// An operator wants something of one.
    Operate(Operation, oneshot::Sender<Result<(), String>>),
}

/// How full the router is.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Load {
    /// Sessions there are.
    pub sessions: usize,
    /// Sessions there may be.
    pub max_sessions: usize,
    /// Peers with a connection.
    pub peers: usize,
    /// Peers there may be.
    pub max_peers_total: usize,
    /// Sessions that began so far.
    pub started: u64,
    /// Sessions that ended so far.
    pub ended: u64,
}

/// A handle to the loop.
#[derive(Debug, Clone)]
pub struct Sessions {
    requests: mpsc::Sender<Request>,
}

impl Sessions {
    /// Starts the loop.
    #[must_use]
    pub fn start(
        settings: Settings,
        runtime: Arc<Runtime>,
        pool: Pool,
        hub: HubHandle,
        from_hub: mpsc::Receiver<ToRouter>,
    ) -> Self {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (tell, news) = mpsc::unbounded_channel();
        let treasury = Treasury::new("/dev/shm");
        let offered = Arc::clone(&settings.offered);
        let around = Surroundings { runtime, pool, offered, hub, treasury, news: tell };
        let registry = Registry {
            settings,
            around,
            sessions: BTreeMap::new(),
            own: BTreeMap::new(),
            peers: BTreeSet::new(),
            broken: BTreeMap::new(),
            kept: BTreeMap::new(),
            receipts: VecDeque::new(),
            started: 0,
            ended: 0,
            stopping: None,
        };
        tokio::spawn(registry.run(inbox, from_hub, news));
        Self { requests }
    }

    /// All sessions with all that is known of them.
    pub async fn list(&self) -> Value {
        self.ask(Request::List).await.unwrap_or_default()
    }

    /// How full the router is.
    pub async fn load(&self) -> Load {
        self.ask(Request::Load).await.unwrap_or_default()
    }

    /// Ends all sessions; their receipts.
    pub async fn stop(&self) -> Vec<Receipt> {
        self.ask(Request::Stop).await.unwrap_or_default()
    }

    /// Hands a program to the session that it wants to join.
    ///
    /// # Errors
    /// When there is no such session.
    pub async fn attach(&self, session: SessionId, joiner: Joiner) -> Result<(), String> {
        let asked = self.ask(|reply| Request::Attach(session, joiner, reply)).await;
        asked.unwrap_or_else(|| Err("the router is stopping".into()))
    }

    /// Does what an operator wants.
    ///
    /// # Errors
    /// When it cannot be done, with the reason.
    pub async fn operate(&self, operation: Operation) -> Result<(), String> {
        let asked = self.ask(|reply| Request::Operate(operation, reply)).await;
        asked.unwrap_or_else(|| Err("the router is stopping".into()))
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// By what a session is made.
enum Wish {
    /// A pipeline of the config; none is the default one.
    Pipeline(Option<String>),
    /// A peer's own manifest.
    Manifest(Value),
}

/// What tables call the pipeline of a session that a peer's own manifest made.
const MANIFEST: &str = "(manifest)";

struct Entry {
    handle: Handle,
    room: Room,
    pipeline: String,
    max_peers: usize,
    /// Who asked for it, of those who may offer to it.
    creator: Option<PeerId>,
}

struct Registry {
    settings: Settings,
    around: Surroundings,
    sessions: BTreeMap<SessionId, Entry>,
    /// Sessions of peers of the room `default`.
    own: BTreeMap<PeerId, SessionId>,
    /// Peers that have offered, with the session that they are in.
    peers: BTreeSet<(Room, PeerId)>,
    /// Peers whose session broke off before they offered, and why: the next offer is told, for a session of another
    /// pipeline is not what they asked for.
    broken: BTreeMap<(Room, PeerId), (Instant, String)>,
    /// Offers that came after the last look of a session that ends, until it has ended.
    kept: BTreeMap<SessionId, Vec<Offer>>,
    receipts: VecDeque<Receipt>,
    started: u64,
    ended: u64,
    stopping: Option<(oneshot::Sender<Vec<Receipt>>, Vec<Receipt>)>,
}

impl Registry {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut from_hub: mpsc::Receiver<ToRouter>,
        mut news: mpsc::UnboundedReceiver<News>,
    ) {
        loop {
            tokio::select! {
                Some(news) = news.recv() => self.news(news),
                Some(request) = requests.recv() => self.request(request),
                Some(message) = from_hub.recv() => self.hub(message),
                else => return,
            }
            let over = self.sessions.is_empty();
            if let Some((reply, receipts)) = self.stopping.take_if(|_| over) {
                let _ = reply.send(receipts);
                return;
            }
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Joined(room, peer) => {
                self.peers.insert((room, peer));
            }
            News::Left(room, peer) => {
                self.peers.remove(&(room, peer));
            }
            News::Ended(receipt, offers) => self.closed(receipt, offers),
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Load(reply) => {
                let _ = reply.send(self.load());
            }
            Request::List(reply) => self.list(reply),
            Request::Attach(session, joiner, reply) => {
                let _ = reply.send(self.command(&session, Command::Attach(joiner)));
            }
            Request::Operate(operation, reply) => {
                let session = match &operation {
                    Operation::Restart { session, .. }
                    | Operation::Detach { session, .. }
                    | Operation::Close { session } => session.clone(),
                };
                let (done, answer) = oneshot::channel();
                match self.command(&session, Command::Operate(operation, done)) {
                    Err(why) => {
                        let _ = reply.send(Err(why));
                    }
                    Ok(()) => {
                        tokio::spawn(async move {
                            let done = answer.await;
                            let _ = reply.send(done.unwrap_or_else(|_| Err("it ended".into())));
                        });
                    }
                }
            }
            Request::Stop(reply) => {
                self.stopping = Some((reply, Vec::new()));
                for entry in self.sessions.values() {
                    let (receipt, _) = oneshot::channel();
                    send(&entry.handle, Command::Close(Cause::Stopping, receipt));
                }
            }
        }
    }

    /// A command to a session by its id, for those who are told what became of it.
    fn command(&self, session: &SessionId, command: Command) -> Result<(), String> {
        let Some(entry) = self.sessions.get(session) else {
            let all: Vec<&str> = self.sessions.keys().map(SessionId::as_str).collect();
            let there = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            return Err(format!("there is no session {session}; there are: {there}"));
        };
        entry.handle.commands.try_send(command).map_err(|_| format!("session {session} is busy"))
    }

    fn load(&self) -> Load {
        Load {
            sessions: self.sessions.len(),
            max_sessions: self.settings.max_sessions,
            peers: self.peers.len(),
            max_peers_total: self.settings.max_peers_total,
            started: self.started,
            ended: self.ended,
        }
    }

    fn list(&self, reply: oneshot::Sender<Value>) {
        let handles: Vec<Handle> = self.sessions.values().map(|e| e.handle.clone()).collect();
        let receipts = json!(self.receipts);
        let load = json!(self.load());
        let pool = self.around.pool.clone();
        let memory = json!(self.around.treasury.sums());
        tokio::spawn(async move {
            let mut sessions = Vec::new();
            for handle in handles {
                sessions.push(describe(&handle).await);
            }
            let workers = pool.view().await;
            let _ = reply.send(json!({
                "load": load, "sessions": sessions, "workers": workers, "receipts": receipts,
                "shared_memory": memory,
            }));
        });
    }

    fn hub(&mut self, message: ToRouter) {
        match message {
            ToRouter::Offer { peer, room, request_id, sdp, .. } => {
                self.offer(room, Offer { peer, request_id, sdp });
            }
            ToRouter::Answer { peer, room, request_id, sdp, .. } => {
                self.forward(&room, &peer.clone(), Command::Answer { peer, request_id, sdp });
            }
            ToRouter::Candidate { peer, room, candidate, .. } => {
                let candidate = rtc::Candidate {
                    candidate: candidate.candidate,
                    sdp_mid: candidate.sdp_mid,
                    sdp_m_line_index: candidate.sdp_m_line_index,
                    user_fragment: candidate.user_fragment,
                };
                self.forward(&room, &peer.clone(), Command::Candidate(peer, candidate));
            }
            ToRouter::Unanswered { peer, room, request_id } => {
                self.forward(&room, &peer.clone(), Command::Unanswered { peer, request_id });
            }
            ToRouter::Disconnect { peer, room, .. } => self.leave(&room, peer),
            ToRouter::SocketGone { peer, room } => {
                self.forward(&room, &peer.clone(), Command::SocketGone(peer));
            }
            ToRouter::SocketBack { peer, room } => {
                self.forward(&room, &peer.clone(), Command::SocketBack(peer));
            }
            // The registration is over, the media may live on: the session knows when it has been gone for too long.
            ToRouter::Left { peer, room, .. } => {
                self.broken.remove(&(room, peer));
            }
            ToRouter::State { .. } => {}
            ToRouter::Create {
                token,
                peer,
                room,
                pipeline,
                manifest,
                session_id,
                max_peers,
                control,
            } => {
                self.broken.remove(&(room.clone(), peer.clone()));
                let wish = manifest.map_or(Wish::Pipeline(pipeline), Wish::Manifest);
                let result = self.create(&room, Some(&peer), wish, session_id, max_peers, control);
                let result = result.map(|id| json!({ "session_id": id }));
                self.around.hub.send(FromRouter::Reply { token, result });
            }
            ToRouter::List { token, sessions } => self.list_for(token, &sessions),
            ToRouter::Describe { token, session } => self.describe_for(token, &session),
            ToRouter::Close { token, session } => self.close_for(token, &session),
            ToRouter::Act { token, session, node, act } => {
                let entry = self.sessions.get(&session);
                self.answer(token, entry.ok_or_else(|| not_found(&session)), |reply| {
                    Command::Act(node, act, reply)
                });
            }
            ToRouter::Update { token, session, manifest } => {
                let entry = self.sessions.get(&session).ok_or_else(|| not_found(&session));
                match entry.and_then(|entry| Ok((entry, self.pipeline(manifest)?))) {
                    Ok((entry, pipeline)) => {
                        self.answer(token, Ok(entry), |reply| Command::Update(pipeline, reply))
                    }
                    Err(error) => {
                        self.around.hub.send(FromRouter::Reply { token, result: Err(error) });
                    }
                }
            }
            ToRouter::Subscribe { token, peer, room, wish } => {
                let entry = self.session_of(&room, &peer).ok_or_else(|| {
                    let text = "this peer is in no session; it offers to `router` first";
                    Error::new(Code::SessionNotFound, text, Value::Null)
                });
                self.answer(token, entry, |reply| Command::Subscribe(peer, wish, reply));
            }
        }
    }

    // --- peers --------------------------------------------------------------------------------------------------

    fn session_of(&self, room: &Room, peer: &PeerId) -> Option<&Entry> {
        let id = match room {
            Room::Default => self.own.get(peer)?,
            Room::Session(id) => id,
        };
        self.sessions.get(id)
    }

    fn forward(&self, room: &Room, peer: &PeerId, command: Command) {
        if let Some(entry) = self.session_of(room, peer) {
            send(&entry.handle, command);
        }
    }

    fn leave(&mut self, room: &Room, peer: PeerId) {
        self.peers.remove(&(room.clone(), peer.clone()));
        self.forward(room, &peer.clone(), Command::Left(peer));
    }

    fn offer(&mut self, room: Room, offer: Offer) {
        let broken = self.broken.remove(&(room.clone(), offer.peer.clone()));
        if let Some((_, why)) = broken.filter(|(at, _)| at.elapsed() < REMEMBERED) {
            self.refuse(room, offer, broken_off(&why));
            return;
        }
        if let Err(error) = self.admit(&room, &offer.peer) {
            self.refuse(room, offer, error);
            return;
        }
        let Some(entry) = self.session_of(&room, &offer.peer) else { return };
        let (id, handle) = (entry.handle.id.clone(), entry.handle.clone());
        let place = (room.clone(), offer.peer.clone());
        match handle.commands.try_send(Command::Offer(offer)) {
            Ok(()) => {
                self.peers.insert(place);
            }
            // It ends: the next session of this name is for the offer.
            Err(TrySendError::Closed(Command::Offer(offer))) => {
                self.kept.entry(id).or_default().push(offer);
            }
            Err(TrySendError::Full(Command::Offer(offer))) => {
                let error = no_capacity(
                    "commands of this session",
                    session::actor::QUEUE,
                    session::actor::QUEUE,
                );
                self.refuse(room, offer, error);
            }
            Err(_) => {}
        }
    }

    fn refuse(&self, room: Room, Offer { peer, request_id, .. }: Offer, error: Error) {
        self.around.hub.send(FromRouter::Refused { peer, room, request_id, error });
    }

    /// Makes sure that there is a session for this peer, and room in it.
    fn admit(&mut self, room: &Room, peer: &PeerId) -> Result<(), Error> {
        let known = self.peers.contains(&(room.clone(), peer.clone()));
        if !known && self.peers.len() >= self.settings.max_peers_total {
            return Err(no_capacity("peers", self.settings.max_peers_total, self.peers.len()));
        }
        match self.session_of(room, peer) {
            Some(entry) => {
                let members = self.peers.iter().filter(|(r, _)| *r == entry.room).count();
                let full = matches!(entry.room, Room::Session(_)) && members >= entry.max_peers;
                if full && !known {
                    let text = format!("the session takes {} peers", entry.max_peers);
                    let data = json!({ "max_peers": entry.max_peers });
                    return Err(Error::new(Code::SessionFull, text, data));
                }
                Ok(())
            }
            None => {
                let session_id = room.session().cloned();
                let wish = Wish::Pipeline(None);
                self.create(room, Some(peer), wish, session_id, None, Control::default())
                    .map(|_| ())
            }
        }
    }

    // --- sessions -----------------------------------------------------------------------------------------------

    fn create(
        &mut self,
        room: &Room,
        creator: Option<&PeerId>,
        graph: Wish,
        session_id: Option<SessionId>,
        max_peers: Option<usize>,
        control: Control,
    ) -> Result<SessionId, Error> {
        let settings = &self.settings;
        let (pipeline, graph) = match graph {
            Wish::Manifest(manifest) => (MANIFEST.to_owned(), self.pipeline(manifest)?),
            Wish::Pipeline(name) => {
                let name = name.unwrap_or_else(|| settings.default_pipeline.clone());
                let Some(graph) = settings.pipelines.get(&name).cloned() else {
                    let known: Vec<&str> = settings.pipelines.keys().map(String::as_str).collect();
                    let known = known.join(", ");
                    let text = format!("there is no pipeline {name:?}; there are: {known}");
                    return Err(Error::invalid_params("/pipeline", &text));
                };
                (name, graph)
            }
        };
        let Pipeline { stages, outputs } = graph;
        let max_peers = max_peers.unwrap_or(settings.max_peers);
        if max_peers == 0 || max_peers > settings.max_peers {
            let text = format!("max_peers is 1 to {}", settings.max_peers);
            return Err(Error::invalid_params("/max_peers", &text));
        }
        let alone = session_id.is_none();
        let id = match session_id {
            Some(id) => id,
            None => SessionId::new(uuid::Uuid::new_v4().to_string())
                .map_err(|error| Error::internal(&error.to_string()))?,
        };
        if self.sessions.contains_key(&id) {
            let text = format!("the session {id} exists already");
            return Err(Error::invalid_params("/session_id", &text));
        }
        self.room_for_one_more()?;
        // A peer that makes another session of its own leaves the one before.
        if alone
            && let Some(peer) = creator
            && let Some(before) = self.own.remove(peer)
            && let Some(entry) = self.sessions.get(&before)
        {
            let (receipt, _) = oneshot::channel();
            send(&entry.handle, Command::Close(Cause::Left, receipt));
        }
        let members = if alone { Room::Default } else { Room::Session(id.clone()) };
        let settings = session::Settings {
            room: members.clone(),
            pipeline: pipeline.clone(),
            plan: Plan {
                session: id.clone(),
                stages,
                outputs,
                former: BTreeMap::new(),
                max_video: self.settings.max_video,
                video_bitrate: self.settings.video_bitrate,
                audio_bitrate: self.settings.audio_bitrate,
            },
            times: self.settings.times,
            peer: self.settings.peer.clone(),
            alone,
        };
        let handle = tokio::task::block_in_place(|| {
            session::spawn(id.clone(), settings, self.around.clone())
        })
        .map_err(|error| {
            tracing::error!(session = %id, "cannot start: {error:#}");
            if let Some(no_room) = error.downcast_ref() {
                return session::describe::no_room(no_room);
            }
            let text = format!("the session's namespace cannot be made: {error:#}");
            Error::new(
                Code::NoCapacity,
                text,
                json!({ "what": "namespace", "limit": 0, "in_use": self.sessions.len() }),
            )
        })?;
        tracing::info!(session = %id, %room, pipeline, "begins");
        self.started += 1;
        if alone && let Some(peer) = creator {
            self.own.insert(peer.clone(), id.clone());
        }
        self.around.hub.send(FromRouter::SessionStarted {
            session: id.clone(),
            room: room.clone(),
            creator: creator.cloned(),
            control,
        });
        let creator = creator.filter(|_| *room == members).cloned();
        self.sessions
            .insert(id.clone(), Entry { handle, room: members, pipeline, max_peers, creator });
        Ok(id)
    }

    /// What a peer wrote: checked like the config's, but it names files and hosts within what the config allows only.
    fn pipeline(&self, manifest: Value) -> Result<Pipeline, Error> {
        let offered = &self.settings.offered;
        let checked =
            Document::from_value(manifest).and_then(|d| offered.check(&d, Origin::Network));
        let graph = checked.map_err(|faults| {
            let text = format!("the manifest cannot be run: {}", faults.list());
            Error::new(Code::InvalidParams, text, json!({ "path": "/manifest", "errors": faults }))
        })?;
        offered.pipeline(&graph).map_err(|lacks| {
            let errors: Vec<Value> =
                lacks.0.iter().map(|lack| json!({ "path": "", "message": lack })).collect();
            let text = format!("the manifest cannot be run: {lacks}");
            Error::new(Code::InvalidParams, text, json!({ "path": "/manifest", "errors": errors }))
        })
    }

    fn room_for_one_more(&self) -> Result<(), Error> {
        let settings = &self.settings;
        if self.stopping.is_some() {
            return Err(no_capacity("sessions (the router is stopping)", 0, self.sessions.len()));
        }
        if self.sessions.len() >= settings.max_sessions {
            return Err(no_capacity("sessions", settings.max_sessions, self.sessions.len()));
        }
        Ok(())
    }

    fn closed(&mut self, receipt: Receipt, mut offers: Vec<Offer>) {
        offers.extend(self.kept.remove(&receipt.session_id).unwrap_or_default());
        let Some(entry) = self.sessions.remove(&receipt.session_id) else { return };
        self.ended += 1;
        let id = &receipt.session_id;
        let failed = receipt.failed.is_some().then(|| receipt.cause.clone());
        if let (Some(why), Some(creator)) = (&failed, entry.creator) {
            let place = (entry.room.clone(), creator);
            let offered = offers.iter().any(|offer| offer.peer == place.1);
            if !offered && !self.peers.contains(&place) {
                self.broken.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
                self.broken.insert(place, (Instant::now(), why.clone()));
            }
        }
        match &entry.room {
            Room::Default => {
                let owners: Vec<PeerId> = self
                    .own
                    .iter()
                    .filter(|(_, session)| *session == id)
                    .map(|(peer, _)| peer.clone())
                    .collect();
                for peer in owners {
                    self.own.remove(&peer);
                    self.peers.remove(&(Room::Default, peer));
                }
            }
            Room::Session(_) => self.peers.retain(|(room, _)| *room != entry.room),
        }
        tracing::info!(
            session = %id, pipeline = entry.pipeline, took_ms = receipt.took_ms, workers = receipt.workers_reaped,
            objects = receipt.objects_removed, bytes = receipt.bytes, "ended: {}", receipt.cause
        );
        self.around.hub.send(FromRouter::SessionEnded { session: id.clone() });
        if let Some((_, receipts)) = &mut self.stopping {
            receipts.push(receipt.clone());
        }
        self.receipts.push_back(receipt);
        if self.receipts.len() > RECEIPTS {
            self.receipts.pop_front();
        }
        for offer in offers {
            match &failed {
                Some(why) => self.refuse(entry.room.clone(), offer, broken_off(why)),
                None => self.offer(entry.room.clone(), offer),
            }
        }
    }

    // --- questions ----------------------------------------------------------------------------------------------

    fn list_for(&self, token: Token, wanted: &[SessionId]) {
        let sessions: Vec<Value> = wanted
            .iter()
            .filter_map(|id| self.sessions.get(id).map(|entry| (id, entry)))
            .map(|(id, entry)| {
                let peers = self.peers.iter().filter(|(room, _)| *room == entry.room).count();
                let peers = if entry.room == Room::Default { peers.min(1) } else { peers };
                json!({ "session_id": id, "pipeline": entry.pipeline, "peers": peers,
                        "max_peers": entry.max_peers })
            })
            .collect();
        let result = Ok(json!({ "sessions": sessions }));
        self.around.hub.send(FromRouter::Reply { token, result });
    }

    fn describe_for(&self, token: Token, session: &SessionId) {
        let hub = self.around.hub.clone();
        let Some(entry) = self.sessions.get(session) else {
            hub.send(FromRouter::Reply { token, result: Err(not_found(session)) });
            return;
        };
        let handle = entry.handle.clone();
        tokio::spawn(async move {
            let result = Ok(describe(&handle).await);
            hub.send(FromRouter::Reply { token, result });
        });
    }

    /// Hands what a session is asked to it, and its answer to the hub.
    fn answer(
        &self,
        token: Token,
        entry: Result<&Entry, Error>,
        command: impl FnOnce(oneshot::Sender<Result<Value, Error>>) -> Command,
    ) {
        let hub = self.around.hub.clone();
        let handle = match entry {
            Ok(entry) => entry.handle.clone(),
            Err(error) => {
                hub.send(FromRouter::Reply { token, result: Err(error) });
                return;
            }
        };
        let (reply, answer) = oneshot::channel();
        send(&handle, command(reply));
        tokio::spawn(async move {
            // A session that ends or is busy drops the question.
            let result = answer.await.unwrap_or_else(|_| Err(not_found(&handle.id)));
            hub.send(FromRouter::Reply { token, result });
        });
    }

    fn close_for(&self, token: Token, session: &SessionId) {
        let hub = self.around.hub.clone();
        let Some(entry) = self.sessions.get(session) else {
            hub.send(FromRouter::Reply { token, result: Err(not_found(session)) });
            return;
        };
        let (reply, receipt) = oneshot::channel();
        send(&entry.handle, Command::Close(Cause::Closed, reply));
        let session = session.clone();
        tokio::spawn(async move {
            let result = match receipt.await {
                Ok(receipt) => Ok(json!(receipt)),
                Err(_) => Err(not_found(&session)),
            };
            hub.send(FromRouter::Reply { token, result });
        });
    }
}

fn send(handle: &Handle, command: Command) {
    match handle.commands.try_send(command) {
        Ok(()) => {}
        // An end that was asked for must come.
        Err(TrySendError::Full(close @ Command::Close(..))) => {
            let commands = handle.commands.clone();
            tokio::spawn(async move { commands.send(close).await });
        }
        // Its queue is full or it just ended: what was asked does not happen, and its end is told.
        Err(_) => tracing::debug!(session = %handle.id, "takes no command"),
    }
}

async fn describe(handle: &Handle) -> Value {
    let (reply, answer) = oneshot::channel();
    send(handle, Command::Describe(reply));
    match tokio::time::timeout(DESCRIBE_TIMEOUT, answer).await {
        Ok(Ok(value)) => value,
        _ => json!({ "session_id": handle.id, "state": "busy" }),
    }
}

fn not_found(session: &SessionId) -> Error {
    let text = format!("there is no session {session}");
    Error::new(Code::SessionNotFound, text, json!({ "session_id": session }))
}

fn broken_off(cause: &str) -> Error {
    let text = format!("the session that was made for this peer is over: {cause}");
    Error::new(Code::Internal, text, json!({ "cause": cause }))
}

fn no_capacity(what: &str, limit: usize, in_use: usize) -> Error {
    let text = format!("no capacity for more {what}: {in_use} of {limit} are in use");
    Error::new(Code::NoCapacity, text, json!({ "what": what, "limit": limit, "in_use": in_use }))
}
