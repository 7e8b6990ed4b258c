//! What the signaling socket refuses, and how; and the client and the guest that other stories use as well.

use crate::media::{flowing, pattern, untouched};
use crate::router::{LIMIT, Router};
use futures_util::{SinkExt, StreamExt};
use remotemedia_peer::{
    Candidate, Connection, DataId, Event, Kind, Role, Sender, SenderSpec, Settings, State,
};
use remotemedia_shm_schema::Codec;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Ends what hangs; nothing is asserted about how long anything takes.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A signaling socket that says whatever it is told to.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    inbox: VecDeque<Value>,
    next: u64,
}

impl Client {
    /// Connects as a native program does.
    pub async fn connect(router: &Router) -> Self {
        Self::dial(router, "/", &[]).await.unwrap_or_else(|status| panic!("refused with {status}"))
    }

    /// Connects with these headers in place of its own; refused with a status.
    pub async fn dial(
        router: &Router,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let stream = TcpStream::connect(router.address()).await.unwrap();
        let mut request = format!("ws://{}{path}", router.address()).into_client_request().unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        match in_time("the handshake", client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Self { socket, inbox: VecDeque::new(), next: 1 }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Connects and announces, into a room of its own name or the default one.
    pub async fn announced(router: &Router, peer: &str, room: Option<&str>) -> Self {
        let mut client = Self::connect(router).await;
        client.announce(peer, room).await.unwrap();
        client
    }

    /// `peer.announce`.
    pub async fn announce(&mut self, peer: &str, room: Option<&str>) -> Result<Value, Value> {
        let mut params = json!({ "peer_id": peer, "capabilities": ["audio", "video", "data"] });
        if let Some(room) = room {
            params["session_id"] = room.into();
        }
        self.request("peer.announce", params).await
    }

    /// A request's result or error; what comes before it waits for [`Self::next`].
    pub async fn request(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.next;
        self.next += 1;
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.text(&call.to_string()).await;
        loop {
            let message = self.read().await.unwrap_or_else(|code| panic!("closed with {code}"));
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(message["result"].clone()),
                };
            }
            self.inbox.push_back(message);
        }
    }

    /// A request that must be refused; its error.
    pub async fn refused(&mut self, method: &str, params: Value) -> Value {
        match self.request(method, params.clone()).await {
            Err(error) => error,
            Ok(result) => panic!("{method} {params} was taken: {result}"),
        }
    }

    /// A notification.
    pub async fn notify(&mut self, method: &str, params: Value) {
        self.text(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string())
            .await;
    }

    /// A text frame as it is.
    pub async fn text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    /// A frame as it is.
    pub async fn send(&mut self, message: Message) {
        in_time("sending", self.socket.send(message)).await.unwrap();
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        match self.inbox.pop_front() {
            Some(message) => message,
            None => self.read().await.unwrap_or_else(|code| panic!("closed with {code}")),
        }
    }

    /// The code that the other side closes with; messages before it are passed over.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.read().await {
                return code;
            }
        }
    }

    async fn read(&mut self) -> Result<Value, u16> {
        in_time("a message", self.wait()).await
    }

    /// Without limit; may be dropped while it waits.
    async fn wait(&mut self) -> Result<Value, u16> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }
}

/// A WebRTC peer inside the test, which sends what it is told to: media of its own making, data.
pub struct Guest {
    /// Its signaling.
    pub client: Client,
    /// Its connection.
    pub connection: Connection,
    /// Its tracks, in the order in which they were asked for.
    pub senders: Vec<Sender>,
    /// Its data channels, likewise.
    pub data: Vec<DataId>,
    events: mpsc::Receiver<Event>,
    seen: VecDeque<Event>,
}

impl Guest {
    /// Calls the router, and waits until media and data may flow.
    pub async fn call(
        router: &Router,
        peer: &str,
        codecs: &[Codec],
        kinds: &[Kind],
        labels: &[&str],
    ) -> Self {
        let client = Client::announced(router, peer, None).await;
        Self::join(client, peer, codecs, kinds, labels).await
    }

    /// The same, of a peer that has announced.
    pub async fn join(
        client: Client,
        peer: &str,
        codecs: &[Codec],
        kinds: &[Kind],
        labels: &[&str],
    ) -> Self {
        let (sender, events) = mpsc::channel(1024);
        let settings = Settings {
            role: Role::Offerer,
            tracks: 8,
            codecs: codecs.to_vec(),
            ..Settings::default()
        };
        let connection = Connection::new(settings, sender).await.unwrap();
        let mut senders = Vec::new();
        for kind in kinds {
            let spec = SenderSpec { kind: *kind, stream: peer.into(), track: format!("{kind:?}") };
            senders.push(connection.add_sender(spec).await.unwrap());
            connection.add_receiver(*kind).await.unwrap();
        }
        let mut data = Vec::new();
        for label in labels {
            data.push(connection.open_data(label).await.unwrap());
        }
        let mut guest = Self { client, connection, senders, data, events, seen: VecDeque::new() };
        let sdp = guest.connection.offer(false).await.unwrap();
        guest.client.request("peer.offer", offer(&sdp)).await.unwrap();
        guest
            .until("a connection", |e| matches!(e, Event::State(State::Connected)).then_some(()))
            .await;
        for id in guest.data.clone() {
            let open = move |e: &Event| matches!(e, Event::DataOpen { id: of, .. } if *of == id);
            guest.until("a data channel", |e| open(e).then_some(())).await;
        }
        guest
    }

    /// The next event that `wanted` takes; meanwhile signaling goes on.
    pub async fn until<T>(&mut self, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
        if let Some(at) = self.seen.iter().position(|e| wanted(e).is_some()) {
            return wanted(&self.seen.remove(at).unwrap()).unwrap();
        }
        in_time(what, async {
            loop {
                // What came in the way of a response is waiting already.
                while let Some(message) = self.client.inbox.pop_front() {
                    self.told(message).await;
                }
                tokio::select! {
                    event = self.events.recv() => {
                        let event = event.expect("the connection still tells events");
                        if let Some(found) = wanted(&event) {
                            return found;
                        }
                        self.happened(event).await;
                    }
                    message = self.client.wait() => {
                        self.told(message.expect("the socket is open")).await;
                    }
                }
            }
        })
        .await
    }

    async fn happened(&mut self, event: Event) {
        let candidate = match event {
            Event::Candidate(candidate) => candidate,
            Event::CandidatesDone => Candidate::default(),
            other => return self.seen.push_back(other),
        };
        let params = json!({
            "to": "router", "candidate": candidate.candidate, "sdp_mid": candidate.sdp_mid,
            "sdp_m_line_index": candidate.sdp_m_line_index,
            "user_fragment": candidate.user_fragment, "request_id": "one",
        });
        self.client.notify("peer.ice_candidate", params).await;
    }

    async fn told(&mut self, message: Value) {
        let params = &message["params"];
        let text = |key: &str| params[key].as_str().map(str::to_owned);
        match message["method"].as_str() {
            Some("peer.answer") => {
                self.connection.accept(&text("sdp").unwrap()).await.unwrap();
            }
            Some("peer.offer") => {
                let sdp = self.connection.answer(&text("sdp").unwrap()).await.unwrap();
                let answer = json!({
                    "to": "router", "sdp": sdp, "can_trickle_ice_candidates": true,
                    "request_id": params["request_id"],
                });
                self.client.request("peer.answer", answer).await.unwrap();
            }
            Some("peer.ice_candidate") => {
                let candidate = Candidate {
                    candidate: text("candidate").unwrap(),
                    sdp_mid: text("sdp_mid"),
                    sdp_m_line_index: params["sdp_m_line_index"].as_u64().map(|n| n as u16),
                    user_fragment: text("user_fragment"),
                };
                // One of several may be of no use.
                let _ = self.connection.add_candidate(candidate).await;
            }
            _ => {}
        }
    }

    /// Says goodbye.
    pub async fn hang_up(mut self) {
        let goodbye = json!({ "to": "router", "reason": "user_requested" });
        self.client.notify("peer.disconnect", goodbye).await;
        self.connection.close().await;
    }
}

/// `peer.offer` to the router.
pub fn offer(sdp: &str) -> Value {
    json!({
        "to": "router", "sdp": sdp, "can_trickle_ice_candidates": true, "request_id": "one",
    })
}

/// A description that would be sent in the clear, or is otherwise as told.
pub fn description(profile: &str, fingerprint: bool) -> String {
    let print = if fingerprint {
        format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"))
    } else {
        String::new()
    };
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 {profile} 96\r\nc=IN IP4 0.0.0.0\r\n\
         {print}a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=mid:0\r\n\
         a=rtcp-mux\r\na=sendrecv\r\na=rtpmap:96 VP8/90000\r\n"
    )
}

/// The faults of an invalid-parameters error by their paths.
fn paths(error: &Value) -> Vec<&str> {
    assert_eq!(error["code"], -32602, "{error}");
    error["data"]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["path"].as_str().unwrap())
        .collect()
}

async fn says_nonsense(router: &Router) {
    let mut client = Client::connect(router).await;
    // Not JSON at all: there is no id to answer under.
    for text in ["", "{\"jsonrpc\": \"2.0\", ", "nonsense", &"[".repeat(100_000), "\u{0}"] {
        client.text(text).await;
        let answer = client.next().await;
        assert_eq!(answer["error"]["code"], -32700, "{answer}");
        assert_eq!(answer["id"], Value::Null, "{answer}");
        assert!(answer["error"]["data"]["line"].is_u64(), "it says where: {answer}");
    }
    // JSON, but no call.
    for text in ["7", "[]", "null", "{}", r#"{"jsonrpc":"1.0","id":1,"method":"peer.list"}"#] {
        client.text(text).await;
        let answer = client.next().await;
        assert_eq!(answer["error"]["code"], -32600, "{text}: {answer}");
    }
    // The announce comes first.
    for method in ["peer.list", "session.list", "peer.offer", "no.such"] {
        assert_eq!(client.refused(method, json!({})).await["code"], -32600, "{method}");
    }
    // Of wrong types, with the path to each.
    let announce =
        |peer: Value, capabilities: Value| json!({ "peer_id": peer, "capabilities": capabilities });
    for (params, path) in [
        (announce(json!(7), json!(["video"])), "/peer_id"),
        (announce(json!("a b"), json!(["video"])), "/peer_id"),
        (announce(json!("x".repeat(65)), json!(["video"])), "/peer_id"),
        (announce(json!("router"), json!(["video"])), "/peer_id"),
        (announce(json!("anna"), json!("video")), "/capabilities"),
        (announce(json!("anna"), json!([])), "/capabilities"),
        (
            json!({ "peer_id": "anna", "capabilities": ["data"], "user_data": "x".repeat(1025) }),
            "/user_data",
        ),
    ] {
        let error = client.refused("peer.announce", params).await;
        assert_eq!(paths(&error), [path], "{error}");
    }
    // After all that it may still begin.
    let announced = client.announce("anna", None).await.unwrap();
    assert_eq!(announced["status"], "registered", "{announced}");
    assert_eq!(
        client.refused("peer.announce", announce(json!("b"), json!(["data"]))).await["code"],
        -32600
    );
}

async fn asks_for_what_is_not_there(router: &Router) {
    let mut client = Client::announced(router, "bert", None).await;
    let error = client.refused("no.such", json!({})).await;
    assert_eq!((&error["code"], &error["data"]["method"]), (&json!(-32601), &json!("no.such")));
    // A notification is never answered, not even with an error: the next thing that comes is the list.
    client.notify("no.such", json!({})).await;
    client.notify("peer.ice_candidate", json!({ "to": 5 })).await;
    assert!(client.request("peer.list", json!({})).await.unwrap()["peers"].is_array());
    assert!(client.inbox.is_empty(), "{:?}", client.inbox);
    // A batch is answered at once, and its notifications not at all.
    let batch = json!([
        { "jsonrpc": "2.0", "id": "list", "method": "peer.list" },
        { "jsonrpc": "2.0", "id": "none", "method": "no.such" },
        { "jsonrpc": "2.0", "method": "no.such" },
        5,
    ]);
    client.text(&batch.to_string()).await;
    let answers = client.next().await;
    let answers = answers.as_array().unwrap();
    let of = |id: Value| answers.iter().find(|a| a["id"] == id).unwrap();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(of(json!("list"))["result"]["peers"].is_array(), "{answers:?}");
    assert_eq!(of(json!("none"))["error"]["code"], -32601, "{answers:?}");
    assert_eq!(of(Value::Null)["error"]["code"], -32600, "{answers:?}");

    let to = |peer: &str| {
        let mut offer = offer(&description("UDP/TLS/RTP/SAVPF", true));
        offer["to"] = peer.into();
        offer
    };
    let error = client.refused("peer.offer", to("nobody")).await;
    assert_eq!((&error["code"], &error["data"]["peer_id"]), (&json!(-32000), &json!("nobody")));
    let mut foreign = to("router");
    foreign["from"] = "anna".into();
    assert_eq!(paths(&client.refused("peer.offer", foreign).await), ["/from"]);
    let error = client.refused("session.describe", json!({ "session_id": "none" })).await;
    assert_eq!((&error["code"], &error["data"]["session_id"]), (&json!(-32008), &json!("none")));
    let answer = json!({
        "to": "router", "sdp": description("UDP/TLS/RTP/SAVPF", true),
        "can_trickle_ice_candidates": true, "request_id": "never",
    });
    assert_eq!(client.refused("peer.answer", answer).await["code"], -32003);
    let candidate = json!({
        "to": "router", "candidate": "not one", "sdp_mid": "0", "sdp_m_line_index": 0, "request_id": "one",
    });
    assert_eq!(client.refused("peer.ice_candidate", candidate).await["code"], -32004);
    let error = client.refused("session.create", json!({ "pipeline": "none" })).await;
    assert_eq!(paths(&error), ["/pipeline"]);
}

async fn offers_media_in_the_clear(router: &Router) {
    let mut client = Client::announced(router, "cara", None).await;
    for (sdp, line, word) in [
        (description("RTP/AVP", true), json!(5), "RTP/AVP"),
        (description("RTP/SAVPF", true), json!(5), "RTP/SAVPF"),
        (description("UDP/TLS/RTP/SAVPF", false), json!(5), "fingerprint"),
        ("nonsense".to_owned(), json!(1), "v=0"),
        ("x".repeat(65 * 1024), Value::Null, "bytes"),
    ] {
        let error = client.refused("peer.offer", offer(&sdp)).await;
        assert_eq!(error["code"], -32002, "{error}");
        assert!(error["data"]["reason"].as_str().unwrap().contains(word), "{error}");
        assert_eq!(error["data"]["line"], line, "{error}");
    }
    // Passed by the hub's first look, refused by whoever would have to speak it.
    let weird = description("UDP/TLS/RTP/SAVPF", true)
        .replace("a=mid:0", "a=mid:\u{1}")
        .replace("96 VP8/90000", "96 VP8/0");
    let error = client.refused("peer.offer", offer(&weird)).await;
    assert_eq!(error["code"], -32002, "{error}");
    // What it asked for came to nothing: no session is left of it, once that is torn down.
    in_time("the end of a session without media", async {
        loop {
            let sessions = client.request("session.list", json!({})).await.unwrap();
            if sessions["sessions"] == json!([]) {
                break;
            }
        }
    })
    .await;
}

async fn sends_what_no_socket_takes(router: &Router) {
    let mut client = Client::announced(router, "dora", None).await;
    client.text(&" ".repeat(1024 * 1024 + 1)).await;
    assert_eq!(client.closed().await, 1009);
    let mut client = Client::announced(router, "emil", None).await;
    client.send(Message::binary(vec![0; 16])).await;
    assert_eq!(client.closed().await, 1003);
}

async fn floods(router: &Router) {
    let mut client = Client::announced(router, "fritz", None).await;
    let list = json!({ "jsonrpc": "2.0", "id": 0, "method": "peer.list" });
    let batch = Value::Array(vec![list; 64]).to_string();
    let mut limited = None;
    // The burst is 400: of 16 batches of 64 the last ones are over it, whatever comes back meanwhile.
    for _ in 0..16 {
        client.text(&batch).await;
    }
    for _ in 0..16 {
        let answers = client.next().await;
        for answer in answers.as_array().unwrap() {
            if answer["error"]["code"] == -32006 {
                limited = answer["error"]["data"]["retry_after_ms"].as_u64();
            }
        }
    }
    let wait = limited.expect("some of 1024 calls at once are over the limit");
    assert!((1..=60_000).contains(&wait), "{wait}");
    // Whoever waits for as long as told is heard again.
    tokio::time::sleep(Duration::from_millis(wait)).await;
    client.request("peer.list", json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_signaling_gets_clear_errors_and_a_call_beside_it_goes_on() {
    let mut router = Router::start();
    let mut call = router.spawn_call(&pattern("6"));
    flowing(&mut router);
    says_nonsense(&router).await;
    asks_for_what_is_not_there(&router).await;
    offers_media_in_the_clear(&router).await;
    sends_what_no_socket_takes(&router).await;
    floods(&router).await;
    assert!(call.try_wait().unwrap().is_none(), "all that happened during the call");
    untouched(call);
    router.wait_for_sessions(0);
    router.stop();
}
