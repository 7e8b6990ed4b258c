//! A peer inside of the bench that calls, waits until its media are wired, and closes its session by request.
//!
//! It sends no media and asks for the end over the same socket, so a cycle costs a connection and a session and nothing
//! besides: no process, no codec, and no polling while anything is timed but the wiring seen from outside.

use crate::watched::LIMIT;
use futures_util::{SinkExt, StreamExt};
use remotemedia_peer::{Candidate, Connection, Event, Kind, Role, SenderSpec, Settings, State};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How often the session is asked whether it is wired (chosen: below what is to be seen, above what a question costs).
const ASK: Duration = Duration::from_millis(5);
/// Events of the connection that may wait; nothing is sent to it but candidates and states.
const EVENTS: usize = 1024;

/// What one cycle took at this side of the sockets, and what the router freed.
pub(crate) struct Cycle {
    /// From the offer's sending to the answer.
    pub(crate) answered_ms: f64,
    /// From the offer's sending to the encrypted connection.
    pub(crate) connected_ms: f64,
    /// From the offer's sending until the session said that it is wired: not before the connection stands, which is
    /// when it is first asked.
    pub(crate) wired_ms: f64,
    /// From asking for the end to the receipt.
    pub(crate) closed_ms: f64,
    /// The router's own account.
    pub(crate) receipt: Value,
}

/// One whole cycle; an error is a call that did not come about, or that could not be closed.
pub(crate) async fn cycle(router: SocketAddr, peer: String) -> Result<Cycle, String> {
    let whole = Guest::cycle(router, &peer);
    let ended = tokio::time::timeout(LIMIT, whole).await;
    ended.unwrap_or_else(|_| Err(format!("{peer}: not over within {LIMIT:?}")))
}

struct Guest {
    socket: WebSocketStream<TcpStream>,
    connection: Connection,
    events: mpsc::Receiver<Event>,
    /// Of the last request.
    id: u64,
}

impl Guest {
    async fn cycle(router: SocketAddr, peer: &str) -> Result<Cycle, String> {
        let stream = TcpStream::connect(router).await.map_err(text)?;
        let url = format!("ws://{router}/");
        let (socket, _) = client_async(url.as_str(), stream).await.map_err(text)?;
        let (tell, events) = mpsc::channel(EVENTS);
        let settings = Settings { role: Role::Offerer, ..Settings::default() };
        let connection = Connection::new(settings, tell).await.map_err(text)?;
        let mut guest = Self { socket, connection, events, id: 0 };
        let times = guest.times(peer).await;
        // Whatever became of it: nothing of it goes on.
        guest.connection.close().await;
        let _ = guest.socket.close(None).await;
        times
    }

    async fn times(&mut self, peer: &str) -> Result<Cycle, String> {
        for kind in [Kind::Audio, Kind::Video] {
            let spec = SenderSpec { kind, stream: peer.to_owned(), track: format!("{kind:?}") };
            self.connection.add_sender(spec).await.map_err(text)?;
            self.connection.add_receiver(kind).await.map_err(text)?;
        }
        let announce = json!({ "peer_id": peer, "capabilities": ["audio", "video", "data"] });
        self.request("peer.announce", announce).await?;
        let sdp = self.connection.offer(false).await.map_err(text)?;
        let offer = json!({
            "to": "router", "sdp": sdp, "can_trickle_ice_candidates": true, "request_id": "one",
        });
        let offered = Instant::now();
        self.ask("peer.offer", offer).await?;
        let (answered, connected) = self.connect().await?;
        let wired = loop {
            let session = self.request("session.describe", json!({})).await?;
            if session["epoch"].as_u64() >= Some(1) {
                break Instant::now();
            }
            tokio::time::sleep(ASK).await;
        };
        let closing = Instant::now();
        let receipt = self.request("session.close", json!({})).await?;
        let closed = Instant::now();
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
        Ok(Cycle {
            answered_ms: ms(offered, answered),
            connected_ms: ms(offered, connected),
            wired_ms: ms(offered, wired),
            closed_ms: ms(closing, closed),
            receipt,
        })
    }

    /// Until the answer is in force and the path stands: when each was so.
    async fn connect(&mut self) -> Result<(Instant, Instant), String> {
        let mut answered = None;
        let mut connected = None;
        loop {
            if let (Some(answered), Some(connected)) = (answered, connected) {
                return Ok((answered, connected));
            }
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Event::State(State::Connected)) => {
                        connected.get_or_insert_with(Instant::now);
                    }
                    Some(Event::Candidate(candidate)) => self.trickle(candidate).await?,
                    Some(Event::CandidatesDone) => self.trickle(Candidate::default()).await?,
                    Some(Event::State(State::Failed | State::Closed)) | None => {
                        return Err("the connection failed".into());
                    }
                    Some(_) => {}
                },
                message = read(&mut self.socket) => {
                    let message = message?;
                    if let Some(error) = message.get("error") {
                        return Err(format!("refused: {error}"));
                    }
                    if message["method"] == "peer.answer" {
                        answered.get_or_insert_with(Instant::now);
                    }
                    self.told(&message).await?;
                }
            }
        }
    }

    async fn told(&mut self, message: &Value) -> Result<(), String> {
        let params = &message["params"];
        let text_of = |key: &str| params[key].as_str().map(str::to_owned);
        match message["method"].as_str() {
            Some("peer.answer") => {
                let sdp = text_of("sdp").ok_or("an answer without a description")?;
                self.connection.accept(&sdp).await.map_err(text)
            }
            Some("peer.ice_candidate") => {
                let candidate = Candidate {
                    candidate: text_of("candidate").unwrap_or_default(),
                    sdp_mid: text_of("sdp_mid"),
                    sdp_m_line_index: params["sdp_m_line_index"].as_u64().map(|n| n as u16),
                    user_fragment: text_of("user_fragment"),
                };
                // One of several may be of no use.
                let _ = self.connection.add_candidate(candidate).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn trickle(&mut self, candidate: Candidate) -> Result<(), String> {
        let params = json!({
            "to": "router", "candidate": candidate.candidate, "sdp_mid": candidate.sdp_mid,
            "sdp_m_line_index": candidate.sdp_m_line_index,
            "user_fragment": candidate.user_fragment, "request_id": "one",
        });
        let call = json!({ "jsonrpc": "2.0", "method": "peer.ice_candidate", "params": params });
        self.socket.send(Message::text(call.to_string())).await.map_err(text)
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<u64, String> {
        self.id += 1;
        let call = json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params });
        self.socket.send(Message::text(call.to_string())).await.map_err(text)?;
        Ok(self.id)
    }

    /// A request's result; late candidates that come before it are taken.
    async fn request(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let id = self.ask(method, params).await?;
        loop {
            let message = read(&mut self.socket).await?;
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(message["result"].clone()),
                };
            }
            self.told(&message).await?;
        }
    }
}

/// The next message; may be dropped while it waits.
async fn read(socket: &mut WebSocketStream<TcpStream>) -> Result<Value, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text).map_err(|e| e.to_string());
            }
            Some(Ok(Message::Close(frame))) => return Err(format!("closed: {frame:?}")),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the socket is closed".into()),
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
