//! Calls against an endpoint that sends every packet back: real signaling messages, real WebRTC, no processing.
#![allow(clippy::unwrap_used)]

use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use remotemedia_peer::{
    Candidate, Connection, Event, Kind, OutPacket, Sender, SenderSpec, Settings,
};
use remotemedia_probe::Args;
use remotemedia_signaling::message::{
    CandidateMessage, Disconnect, Message, Offer, Parsed, call, method, params, parse, reply,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite};

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn args(address: SocketAddr, more: &[&str]) -> Args {
    let url = format!("http://{address}");
    let flags = ["peer", "--connect", &url, "--size", "320x180", "--bitrate", "300k"];
    Command::parse_from(flags.iter().chain(more)).args
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_gets_its_pictures_and_ticks_back_with_each_codec() {
    for codec in ["vp8", "vp9", "h264"] {
        let (address, goodbye) = endpoint(None).await;
        let folder = tempfile::tempdir().unwrap();
        let save = folder.path().join("back");
        let flags = ["--seconds", "3", "--codec", codec, "--save", save.to_str().unwrap()];
        let report = remotemedia_probe::call(&args(address, &flags)).await.unwrap();
        assert_eq!(report.error, None, "{codec}");
        let (video, audio) = (&report.video, &report.audio);
        assert!(report.setup_ms.is_some() && report.first_frame_ms > report.setup_ms, "{report:?}");
        assert!(video.sent > 10 && video.received > 10, "{codec}: {video:?}");
        assert_eq!((video.codec, video.width, video.height), (Some(codec), Some(320), Some(180)));
        assert_eq!((video.unreadable, video.duplicates), (0, 0), "{codec}: {video:?}");
        assert_eq!(video.lost + video.out_of_order, 0, "{codec}: {video:?}");
        assert!(audio.sent > 50 && audio.received > 50, "{codec}: {audio:?}");
        assert!(audio.ticks.received > 5, "{codec}: {audio:?}");
        // A frame of 20 ms and one look-ahead of 6.5 ms are below any path.
        assert!(audio.latency_ms.p50.unwrap() > 26.0, "{codec}: {audio:?}");
        assert!(video.latency_ms.p50.is_some(), "{codec}: {video:?}");
        assert_eq!(report.stages["decoded"].p95, 2.0, "the notifications are read");
        assert_eq!(goodbye.await.unwrap(), "user_requested");
        for end in ["ivf", "wav"] {
            assert!(save.with_extension(end).metadata().unwrap().len() > 1_000, "{end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_changed_in_mid_call_comes_back_changed_and_a_muted_track_pauses() {
    let (address, _goodbye) = endpoint(None).await;
    let flags = ["--seconds", "4", "--resize", "1=480x270", "--mute", "audio=1-3"];
    let report = remotemedia_probe::call(&args(address, &flags)).await.unwrap();
    assert_eq!(report.error, None);
    assert_eq!((report.video.width, report.video.height), (Some(480), Some(270)));
    assert!(report.video.keyframes >= 2, "{:?}", report.video);
    assert!(report.audio.sent <= 110, "two of four seconds were muted: {:?}", report.audio);
    assert!(report.audio.gap_ms.max.unwrap() > 1_500.0, "{:?}", report.audio);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_hangs_up_ends_the_call_with_a_report_that_says_so() {
    let (address, _goodbye) = endpoint(Some(10)).await;
    let report = remotemedia_probe::call(&args(address, &["--seconds", "60", "--audio", "none"]))
        .await
        .unwrap();
    assert!(report.error.as_deref().unwrap().contains("hung up"), "{report:?}");
    assert!(report.video.sent > 0 && report.setup_ms.is_some());
}

/// An endpoint for one call. The receiver gives the reason of the peer's goodbye; with `pictures` it hangs up after so
/// many packets.
async fn endpoint(pictures: Option<u32>) -> (SocketAddr, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, goodbye) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let socket = accept_async(stream).await.unwrap();
        let (events_in, events) = mpsc::channel(1_024);
        let connection = Connection::new(Settings::default(), events_in).await.unwrap();
        let mut echo = Echo {
            socket,
            connection,
            senders: Vec::new(),
            routes: HashMap::new(),
            request_id: Value::Null,
            hang_up_after: pictures,
        };
        let reason = echo.serve(events).await;
        echo.connection.close().await;
        let _ = told.send(reason);
    });
    (address, goodbye)
}

struct Echo {
    socket: WebSocketStream<TcpStream>,
    connection: Connection,
    senders: Vec<Sender>,
    /// Which of our tracks goes with which of theirs.
    routes: HashMap<remotemedia_peer::ReceiverId, Sender>,
    request_id: Value,
    hang_up_after: Option<u32>,
}

impl Echo {
    async fn serve(&mut self, mut events: mpsc::Receiver<Event>) -> String {
        loop {
            tokio::select! {
                frame = self.socket.next() => match frame {
                    Some(Ok(tungstenite::Message::Text(text))) => {
                        let Parsed::One(Ok(message)) = parse(&text) else { panic!("nonsense: {text}") };
                        if let Some(reason) = self.message(message).await {
                            return reason;
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return "socket closed".into(),
                },
                Some(event) = events.recv() => self.event(event).await,
            }
        }
    }

    async fn say(&mut self, text: String) {
        // The peer may be gone already.
        let _ = self.socket.send(tungstenite::Message::text(text)).await;
    }

    async fn message(&mut self, message: Message) -> Option<String> {
        let Message::Call { id, method: name, params: given } = message else { return None };
        let mut then = None;
        let result = match name.as_str() {
            method::ANNOUNCE => json!({
                "status": "registered", "server_time": 0, "peer_id": given["peer_id"],
                "session_id": "default", "session_key": "k", "ice_servers": [], "peers": [],
            }),
            method::OFFER => {
                let offer: Offer = params(given).unwrap();
                for (kind, track) in [(Kind::Audio, "audio"), (Kind::Video, "video")] {
                    let spec = SenderSpec { kind, stream: "echo".into(), track: track.into() };
                    self.senders.push(self.connection.add_sender(spec).await.unwrap());
                }
                let sdp = self.connection.answer(&offer.sdp).await.unwrap();
                self.request_id = json!(offer.request_id);
                then = Some(call(
                    method::ANSWER,
                    &json!({
                        "from": "router", "sdp": sdp, "can_trickle_ice_candidates": true,
                        "request_id": self.request_id,
                    }),
                ));
                json!({"status": "forwarded", "request_id": self.request_id})
            }
            method::CANDIDATE => {
                let c: CandidateMessage = params(given).unwrap();
                let candidate = Candidate {
                    candidate: c.candidate,
                    sdp_mid: c.sdp_mid,
                    sdp_m_line_index: c.sdp_m_line_index,
                    user_fragment: c.user_fragment,
                };
                let _ = self.connection.add_candidate(candidate).await;
                Value::Null
            }
            method::DISCONNECT => {
                let gone: Disconnect = params(given).unwrap();
                return Some(json!(gone.reason).as_str().unwrap().to_owned());
            }
            _ => Value::Null,
        };
        if let Some(id) = id {
            self.say(reply(&id, &Ok(result)).to_string()).await;
        }
        if let Some(text) = then {
            self.say(text).await;
        }
        None
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Candidate(c) => {
                let candidate = json!({
                    "from": "router", "candidate": c.candidate, "sdp_mid": c.sdp_mid,
                    "sdp_m_line_index": c.sdp_m_line_index, "user_fragment": c.user_fragment,
                    "request_id": self.request_id,
                });
                self.say(call(method::CANDIDATE, &candidate)).await;
            }
            Event::Track { receiver, kind, .. } => {
                let sender = self.senders.iter().find(|s| s.kind() == kind).unwrap().clone();
                self.routes.insert(receiver, sender);
            }
            Event::Rtp { receiver, packet } => {
                let Some(sender) = self.routes.get(&receiver) else { return };
                let back = OutPacket {
                    payload_type: None,
                    sequence: packet.sequence,
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    media_time_ns: None,
                    payload: packet.payload,
                };
                let _ = sender.send(back).await;
                if let Some(left) = &mut self.hang_up_after {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        let gone = json!({"from": "router", "reason": "timeout"});
                        self.say(call(method::DISCONNECTED, &gone)).await;
                        self.hang_up_after = None;
                    }
                }
            }
            Event::KeyframeWanted(id) => {
                let route = self.routes.iter().find(|(_, s)| s.id() == id).map(|(r, _)| *r);
                if let Some(receiver) = route {
                    let _ = self.connection.request_keyframe(receiver).await;
                }
            }
            Event::DataOpen { id, label } => {
                assert_eq!(label, "events");
                let stages =
                    json!({"event": "stages", "video": {"decoded": {"p50": 1.0, "p95": 2.0}}});
                self.connection.send_text(id, &stages.to_string()).await.unwrap();
            }
            _ => {}
        }
    }
}
