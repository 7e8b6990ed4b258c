//! The task that owns the hub.

use super::UNREAD;
use remotemedia_signaling::hub::{self, Action, ConnId, Counts, FromRouter, Input, Limits, close};
use remotemedia_signaling::message::IceServer;
use remotemedia_signaling::{Hub, ToRouter};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Events of sockets that may wait for the hub (chosen); then their readers wait.
const SOCKET_EVENTS: usize = 256;
/// Messages that may wait for the router (chosen); then sockets wait.
const TO_ROUTER: usize = 256;
/// Messages of the router that may wait for the hub (chosen); one more is dropped with a warning.
const FROM_ROUTER: usize = 4096;

/// What the hub goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The contract's, unless the config says otherwise.
    pub limits: Limits,
    /// Told to every peer.
    pub ice_servers: Vec<IceServer>,
    /// Sockets at once; one more is answered with 503.
    pub max_sockets: usize,
}

/// A way to the hub; cheap to clone.
#[derive(Debug, Clone)]
pub struct HubHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    events: mpsc::Sender<Event>,
    from_router: mpsc::Sender<FromRouter>,
    places: Arc<Semaphore>,
    next: AtomicU64,
    counts: Arc<Mutex<Counts>>,
    lost: AtomicU64,
}

/// From a socket to the hub's task.
#[derive(Debug)]
pub(super) enum Event {
    /// A socket opened: how to reach it.
    Opened {
        conn: ConnId,
        address: Option<IpAddr>,
        queue: mpsc::Sender<Frame>,
        end: oneshot::Sender<End>,
    },
    /// Something came from it, or it is gone.
    Input(Input),
    /// The router stops; told when all sockets were asked to close.
    Stop(oneshot::Sender<()>),
}

/// To a socket's writer.
#[derive(Debug)]
pub(super) enum Frame {
    Text(String),
    Ping,
}

/// Why a socket shall close.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

/// A place for one socket; dropped, it is free again.
#[derive(Debug)]
pub struct Seat {
    pub(super) conn: ConnId,
    pub(super) hub: HubHandle,
    _place: OwnedSemaphorePermit,
}

/// Starts the hub's task. It ends when every handle is gone, or the receiver of the router's messages.
#[must_use]
pub fn spawn(settings: Settings) -> (HubHandle, mpsc::Receiver<ToRouter>) {
    let (events, events_in) = mpsc::channel(SOCKET_EVENTS);
    let (from_router, from_router_in) = mpsc::channel(FROM_ROUTER);
    let (to_router, to_router_in) = mpsc::channel(TO_ROUTER);
    let counts = Arc::new(Mutex::new(Counts::default()));
    let shared = Shared {
        events,
        from_router,
        places: Arc::new(Semaphore::new(settings.max_sockets)),
        next: AtomicU64::new(1),
        counts: Arc::clone(&counts),
        lost: AtomicU64::new(0),
    };
    // A clock before 1970 shows as 1970: the time is for people to read.
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let epoch = (Instant::now(), u64::try_from(wall).unwrap_or(u64::MAX));
    let config = hub::Config { limits: settings.limits, ice_servers: settings.ice_servers, epoch };
    let task = Task {
        hub: Hub::new(config),
        sockets: BTreeMap::new(),
        backlog: VecDeque::new(),
        to_router,
        counts,
    };
    tokio::spawn(task.run(events_in, from_router_in));
    (HubHandle { shared: Arc::new(shared) }, to_router_in)
}

impl HubHandle {
    /// Tells the hub. Never waits: when 4096 messages wait already this one is lost, with a warning.
    pub fn send(&self, message: FromRouter) {
        if self.shared.from_router.try_send(message).is_err() {
            let lost = self.shared.lost.fetch_add(1, Ordering::Relaxed) + 1;
            // Warned of the first and then ever more rarely.
            if lost.is_power_of_two() && !self.shared.from_router.is_closed() {
                tracing::warn!(lost, "the hub's queue is full: a message to a peer is lost");
            }
        }
    }

    /// How much there is, as of the last event.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more socket; none when all are taken.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let place = Arc::clone(&self.shared.places).try_acquire_owned().ok()?;
        let conn = ConnId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        Some(Seat { conn, hub: self.clone(), _place: place })
    }

    /// Asks every socket to close with 1001; returns when they were asked.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.shared.events.send(Event::Stop(done)).await.is_ok() {
            // An error is the task's end, which closes the sockets as well.
            let _ = stopped.await;
        }
    }

    pub(super) async fn event(&self, event: Event) {
        // An error is the task's end: there is nobody to tell.
        let _ = self.shared.events.send(event).await;
    }
}

struct Socket {
    queue: mpsc::Sender<Frame>,
    end: oneshot::Sender<End>,
}

struct Task {
    hub: Hub,
    sockets: BTreeMap<ConnId, Socket>,
    /// For the router, while its queue is full.
    backlog: VecDeque<ToRouter>,
    to_router: mpsc::Sender<ToRouter>,
    counts: Arc<Mutex<Counts>>,
}

impl Task {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut from_router: mpsc::Receiver<FromRouter>,
    ) {
        let to_router = self.to_router.clone();
        loop {
            let wake = self.hub.wake_at();
            let waiting = !self.backlog.is_empty();
            tokio::select! {
                // In this order: what the router says frees places, what sockets say takes them.
                biased;
                permit = to_router.reserve(), if waiting => match permit {
                    Ok(permit) => {
                        if let Some(message) = self.backlog.pop_front() {
                            permit.send(message);
                        }
                    }
                    Err(_) => return,
                },
                Some(message) = from_router.recv() => self.input(Input::Router(message)),
                event = events.recv(), if !waiting => match event {
                    Some(event) => self.event(event),
                    None => return,
                },
                () = sleep_until(wake) => self.input(Input::Tick),
            }
            if to_router.is_closed() {
                return;
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened { conn, address, queue, end } => {
                self.sockets.insert(conn, Socket { queue, end });
                // 128 bits from the thread's cryptographic generator: nobody guesses a session key.
                let key = format!("{:032x}", rand::random::<u128>());
                self.input(Input::Connected { conn, key, address });
            }
            Event::Input(input) => {
                if let Input::Closed { conn } = input {
                    self.sockets.remove(&conn);
                }
                self.input(input);
            }
            Event::Stop(done) => {
                self.input(Input::Stop);
                // An error is a caller that does not wait.
                let _ = done.send(());
            }
        }
    }

    fn input(&mut self, input: Input) {
        let now = Instant::now();
        self.hub.handle(now, input);
        while let Some(action) = self.hub.poll() {
            self.act(now, action);
        }
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.hub.counts();
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Send { conn, text } => self.queue(now, conn, Frame::Text(text)),
            Action::Ping { conn } => self.queue(now, conn, Frame::Ping),
            Action::Close { conn, code, reason } => {
                if let Some(socket) = self.sockets.remove(&conn) {
                    tracing::debug!(conn = conn.0, code, reason, "closes a signaling socket");
                    // An error is a socket that is gone already.
                    let _ = socket.end.send(End { code, reason });
                }
            }
            Action::Router(message) => {
                if !self.backlog.is_empty() {
                    self.backlog.push_back(message);
                } else if let Err(mpsc::error::TrySendError::Full(message)) =
                    self.to_router.try_send(message)
                {
                    self.backlog.push_back(message);
                }
            }
        }
    }

    fn queue(&mut self, now: Instant, conn: ConnId, frame: Frame) {
        let Some(socket) = self.sockets.get(&conn) else { return };
        match socket.queue.try_send(frame) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::info!(conn = conn.0, "{UNREAD} messages are unread: closes the socket");
                self.hub.handle(now, Input::Overrun { conn });
            }
            // Its reader tells of the end.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Close codes that a writer sends without flushing what is queued: the client does not read.
pub(super) fn hopeless(code: u16) -> bool {
    code == close::TRY_AGAIN
}
