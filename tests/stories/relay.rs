//! A bad path between a native peer and the router, on loopback: a proxy for the signaling, which writes its own ports into
//! every ICE candidate, and behind these ports datagrams that get lost, overtake one another or come twice.
//!
//! Each real address has a stand-in, a UDP port of the relay: what the one side sends to the other's stand-in goes on
//! to the real address, from the sender's own stand-in. Only media is harmed; what sets the connection up passes.

use crate::router::Router;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::{self, Message};

/// What befalls a packet of media on its way in one direction; chances are 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions {
    /// That it does not arrive.
    pub loss: f64,
    /// That the next one or two overtake it.
    pub reorder: f64,
    /// That it arrives twice.
    pub duplicate: f64,
}

impl Conditions {
    /// Only loss.
    pub fn loss(loss: f64) -> Self {
        Self { loss, ..Self::default() }
    }
}

/// What was seen in one direction; media count before anything befalls them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Packets of sound.
    pub sound: u64,
    /// Packets of pictures, sent for the first time.
    pub picture: u64,
    /// Packets that were sent again.
    pub again: u64,
    /// RTCP.
    pub reports: u64,
    /// Of all these, those that were dropped.
    pub dropped: u64,
    /// Those that others overtook.
    pub overtaken: u64,
    /// Those that were doubled.
    pub doubled: u64,
}

/// The two who speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The native peer.
    Peer,
    /// The router.
    Router,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Peer => Self::Router,
            Self::Router => Self::Peer,
        }
    }
}

/// The relay, until it is dropped.
pub struct Relay {
    url: String,
    path: Arc<Path>,
    _runtime: Runtime,
}

impl Relay {
    /// In front of a router; the same seed draws the same lots.
    pub fn start(router: &Router, seed: u64, conditions: Conditions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let path = Arc::new(Path {
            to_peer: Mutex::new(Flow::new(seed, conditions)),
            to_router: Mutex::new(Flow::new(!seed, conditions)),
            stand_ins: Mutex::default(),
            types: Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(accept(listener, router.address(), Arc::clone(&path)));
        Self { url, path, _runtime: runtime }
    }

    /// From now on, in both directions.
    pub fn set(&self, conditions: Conditions) {
        for side in [Side::Peer, Side::Router] {
            self.path.flow(side).lock().unwrap().conditions = conditions;
        }
    }

    /// What went towards a side.
    pub fn towards(&self, side: Side) -> Counts {
        self.path.flow(side).lock().unwrap().counts
    }

    /// A native peer that calls the router through here; hand what it printed to [`crate::router::report`].
    pub fn spawn_call(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_remotemedia"))
            .args(["peer", "--connect", &self.url, "--json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// A packet with the port it leaves from and the address it goes to.
type Datagram = (Vec<u8>, Arc<UdpSocket>, SocketAddr);

/// One direction.
struct Flow {
    conditions: Conditions,
    lots: StdRng,
    /// Packets that wait until so many have overtaken them.
    held: Vec<(u8, Datagram)>,
    counts: Counts,
}

impl Flow {
    fn new(seed: u64, conditions: Conditions) -> Self {
        let lots = StdRng::seed_from_u64(seed);
        Self { conditions, lots, held: Vec::new(), counts: Counts::default() }
    }

    /// Takes a packet; gives what arrives now.
    fn pass(&mut self, datagram: Datagram, types: &Types) -> Vec<Datagram> {
        // RFC 7983: by the first byte. STUN and DTLS pass.
        let [128..=191, second, ..] = datagram.0[..] else { return vec![datagram] };
        let media = second & 0x7f;
        match second {
            192..=223 => self.counts.reports += 1,
            _ if types.again.contains(&media) => self.counts.again += 1,
            _ if types.sound.contains(&media) => self.counts.sound += 1,
            _ => self.counts.picture += 1,
        }
        if self.lots.random_bool(self.conditions.loss) {
            self.counts.dropped += 1;
            return Vec::new();
        }
        if self.lots.random_bool(self.conditions.reorder) {
            self.counts.overtaken += 1;
            let by = if self.lots.random_bool(0.5) { 1 } else { 2 };
            self.held.push((by, datagram));
            return Vec::new();
        }
        let mut arriving = Vec::new();
        if self.lots.random_bool(self.conditions.duplicate) {
            self.counts.doubled += 1;
            arriving.push(datagram.clone());
        }
        arriving.push(datagram);
        self.held.iter_mut().for_each(|(left, _)| *left -= 1);
        arriving.extend(self.held.extract_if(.., |(left, _)| *left == 0).map(|(_, late)| late));
        arriving
    }
}

/// Payload types by what they carry, as the descriptions told.
#[derive(Default)]
struct Types {
    sound: BTreeSet<u8>,
    again: BTreeSet<u8>,
}

/// What the two directions share.
struct Path {
    to_peer: Mutex<Flow>,
    to_router: Mutex<Flow>,
    stand_ins: Mutex<HashMap<(Side, SocketAddr), Arc<UdpSocket>>>,
    types: Mutex<Types>,
}

impl Path {
    fn flow(&self, towards: Side) -> &Mutex<Flow> {
        match towards {
            Side::Peer => &self.to_peer,
            Side::Router => &self.to_router,
        }
    }

    /// The port that stands for a side's address.
    fn stand_in(self: &Arc<Self>, side: Side, real: SocketAddr) -> Arc<UdpSocket> {
        let mut stand_ins = self.stand_ins.lock().unwrap();
        let made = stand_ins.entry((side, real)).or_insert_with(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let socket = Arc::new(UdpSocket::from_std(socket).unwrap());
            tokio::spawn(carry(Arc::clone(self), Arc::clone(&socket), side, real));
            socket
        });
        Arc::clone(made)
    }

    fn rewrite_message(self: &Arc<Self>, from: Side, text: &str) -> String {
        let mut message: Value = serde_json::from_str(text).unwrap();
        self.rewrite_params(from, &mut message);
        message.to_string()
    }

    fn rewrite_params(self: &Arc<Self>, from: Side, message: &mut Value) {
        if let Value::Array(batch) = message {
            batch.iter_mut().for_each(|message| self.rewrite_params(from, message));
            return;
        }
        if let Some(Value::String(sdp)) = message.pointer_mut("/params/sdp") {
            *sdp = self.rewrite_sdp(from, sdp);
        }
        if let Some(Value::String(candidate)) = message.pointer_mut("/params/candidate") {
            *candidate = self.rewrite_candidate(from, candidate);
        }
    }

    fn rewrite_sdp(self: &Arc<Self>, from: Side, sdp: &str) -> String {
        let line = |line: &str| {
            if let Some(map) = line.strip_prefix("a=rtpmap:") {
                self.learn(map);
            }
            match line.strip_prefix("a=candidate:") {
                Some(_) => self.rewrite_candidate(from, line) + "\r\n",
                None => format!("{line}\r\n"),
            }
        };
        sdp.lines().map(line).collect()
    }

    fn learn(&self, map: &str) {
        let (number, name) = map.split_once(' ').unwrap();
        let name = name.to_ascii_lowercase();
        let mut types = self.types.lock().unwrap();
        if name.starts_with("rtx/") {
            types.again.insert(number.parse().unwrap());
        } else if name.starts_with("opus/") {
            types.sound.insert(number.parse().unwrap());
        }
    }

    /// `candidate:FOUNDATION COMPONENT udp PRIORITY IP PORT typ …`, where a pair `raddr IP rport PORT` may follow.
    fn rewrite_candidate(self: &Arc<Self>, from: Side, candidate: &str) -> String {
        let mut words: Vec<String> = candidate.split_whitespace().map(str::to_owned).collect();
        let word = |name: &str| words.iter().position(|word| word == name).map(|at| at + 1);
        let related = word("raddr").zip(word("rport"));
        for (ip, port) in [Some((4, 5)).filter(|_| words.len() > 5), related].into_iter().flatten()
        {
            let real = SocketAddr::new(words[ip].parse().unwrap(), words[port].parse().unwrap());
            // Port 0 is nobody's: a hidden related address.
            if real.port() != 0 {
                let stand_in = self.stand_in(from, real).local_addr().unwrap();
                words[ip] = stand_in.ip().to_string();
                words[port] = stand_in.port().to_string();
            }
        }
        words.join(" ")
    }
}

/// Carries what arrives at the stand-in of a side's real address.
async fn carry(path: Arc<Path>, socket: Arc<UdpSocket>, side: Side, real: SocketAddr) {
    let mut buffer = vec![0; 65_536];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let via = path.stand_in(side.other(), from);
        let datagram = (buffer[..length].to_vec(), via, real);
        let arriving = {
            let types = path.types.lock().unwrap();
            path.flow(side).lock().unwrap().pass(datagram, &types)
        };
        for (bytes, via, to) in arriving {
            // Whoever closed its port meanwhile does not want it.
            let _ = via.send_to(&bytes, to).await;
        }
    }
}

async fn accept(listener: TcpListener, router: SocketAddr, path: Arc<Path>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(speak(stream, router, Arc::clone(&path)));
    }
}

/// One peer's signaling. The router sees its own address in `Host`.
async fn speak(stream: TcpStream, router: SocketAddr, path: Arc<Path>) {
    stream.set_nodelay(true).unwrap();
    let peer = tokio_tungstenite::accept_async(stream).await.unwrap();
    let (router, _) = tokio_tungstenite::connect_async(format!("ws://{router}/ws")).await.unwrap();
    let ((to_peer, from_peer), (to_router, from_router)) = (peer.split(), router.split());
    tokio::join!(
        relay(&path, Side::Peer, from_peer, to_router),
        relay(&path, Side::Router, from_router, to_peer),
    );
}

async fn relay(
    path: &Arc<Path>,
    side: Side,
    mut from: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    mut to: impl Sink<Message> + Unpin,
) {
    while let Some(Ok(message)) = from.next().await {
        let message = match message {
            Message::Text(text) => Message::text(path.rewrite_message(side, &text)),
            // Answered by the library, on each side for itself.
            Message::Ping(_) | Message::Pong(_) => continue,
            other => other,
        };
        if to.send(message).await.is_err() {
            break;
        }
    }
    // Its other end may be closed already.
    let _ = to.close().await;
}
