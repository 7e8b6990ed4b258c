//! Two connections in one process, over real sockets on loopback, and what stories need to tell.

use remotemedia_peer::{
    Candidate, Connection, Event, Kind, OutPacket, ReceiverId, Role, Sender, SenderSpec, Settings,
    State,
};
use remotemedia_rtp::Packet;
use remotemedia_shm_schema::Codec;
use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc;

/// Ends what hangs; nothing is asserted about how long anything takes.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub(crate) fn settings(role: Role, codecs: &[Codec]) -> Settings {
    Settings { role, codecs: codecs.to_vec(), ..Settings::default() }
}

pub(crate) const ALL: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Opus];

/// One end, with its events as they are read.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    events: mpsc::Receiver<Event>,
    seen: VecDeque<Event>,
    /// Candidates of ours, for the other end.
    pub(crate) candidates: mpsc::UnboundedReceiver<Candidate>,
}

impl Side {
    pub(crate) async fn new(settings: Settings) -> Self {
        // RUST_LOG=rtc=debug shows what the stack does.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let (sender, mut raw) = mpsc::channel(512);
        let connection = Connection::new(settings, sender).await.unwrap();
        let (forward, events) = mpsc::channel(65_536);
        let (tell, candidates) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = raw.recv().await {
                match event {
                    Event::Candidate(candidate) => drop(tell.send(candidate)),
                    event => drop(forward.send(event).await),
                }
            }
        });
        Self { connection, events, seen: VecDeque::new(), candidates }
    }

    pub(crate) async fn offerer() -> Self {
        Self::new(settings(Role::Offerer, &ALL)).await
    }

    pub(crate) async fn answerer() -> Self {
        Self::new(settings(Role::Answerer, &ALL)).await
    }

    /// The next event that `wanted` takes; those before it stay for later.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        if let Some(at) = self.seen.iter().position(|e| wanted(e).is_some()) {
            return wanted(&self.seen.remove(at).unwrap()).unwrap();
        }
        in_time(what, async {
            loop {
                let event = self.events.recv().await.expect("the connection still tells events");
                if let Some(found) = wanted(&event) {
                    return found;
                }
                self.seen.push_back(event);
            }
        })
        .await
    }

    pub(crate) async fn state(&mut self, state: State) {
        self.until(&format!("{state:?}"), |e| (*e == Event::State(state)).then_some(())).await;
    }

    pub(crate) async fn track(&mut self, kind: Kind) -> (ReceiverId, Codec, String, String) {
        self.until("a track", |e| match e {
            Event::Track { receiver, kind: k, codec, stream, track, .. } if *k == kind => {
                Some((*receiver, *codec, stream.clone(), track.clone()))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn packet(&mut self, from: ReceiverId) -> Packet {
        self.until("a packet", |e| match e {
            Event::Rtp { receiver, packet } if *receiver == from => Some(packet.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn sender(&self, kind: Kind, track: &str) -> Sender {
        let spec = SenderSpec { kind, stream: "main".into(), track: track.into() };
        self.connection.add_sender(spec).await.unwrap()
    }
}

/// Carries one side's candidates to the other for as long as both live.
pub(crate) fn trickle(from: &mut Side, to: &Side) {
    let mut candidates = std::mem::replace(&mut from.candidates, mpsc::unbounded_channel().1);
    let to = to.connection.clone();
    tokio::spawn(async move {
        while let Some(candidate) = candidates.recv().await {
            if to.add_candidate(candidate).await.is_err() {
                return;
            }
        }
    });
}

/// Offer and answer.
pub(crate) async fn negotiate(offerer: &Side, answerer: &Side) {
    let offer = offerer.connection.offer(false).await.unwrap();
    let answer = answerer.connection.answer(&offer).await.unwrap();
    offerer.connection.accept(&answer).await.unwrap();
}

/// Negotiates and waits until media may flow.
pub(crate) async fn connect(offerer: &mut Side, answerer: &mut Side) {
    trickle(offerer, answerer);
    trickle(answerer, offerer);
    negotiate(offerer, answerer).await;
    offerer.state(State::Connected).await;
    answerer.state(State::Connected).await;
}

pub(crate) fn packet(sequence: u16, payload: impl Into<bytes::Bytes>) -> OutPacket {
    OutPacket {
        payload_type: None,
        sequence,
        timestamp: u32::from(sequence) * 3000,
        marker: true,
        media_time_ns: None,
        payload: payload.into(),
    }
}
