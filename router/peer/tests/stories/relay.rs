//! A link between two ends that loses, injects and goes silent: two sockets between them, whose addresses stand in the
//! candidates that each gets of the other.

use crate::support::Side;
use remotemedia_peer::Candidate;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;

/// Where a datagram comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Offerer,
    Answerer,
}

pub(crate) struct Relay {
    /// Seen by the offerer as the answerer, and the reverse.
    to_offerer: Arc<UdpSocket>,
    to_answerer: Arc<UdpSocket>,
    offerer: Arc<Mutex<Option<SocketAddr>>>,
    answerer: Arc<Mutex<Option<SocketAddr>>>,
    dead: Arc<AtomicBool>,
}

/// RTP (not RTCP) by RFC 5761: its SSRC and sequence number.
pub(crate) fn rtp(datagram: &[u8]) -> Option<(u32, u16)> {
    let rtp = (128..192).contains(datagram.first()?) && !(192..224).contains(datagram.get(1)?);
    let sequence = u16::from_be_bytes(datagram.get(2..4)?.try_into().ok()?);
    let ssrc = u32::from_be_bytes(datagram.get(8..12)?.try_into().ok()?);
    rtp.then_some((ssrc, sequence))
}

fn address(candidate: &str) -> SocketAddr {
    let words: Vec<&str> = candidate.split(' ').collect();
    format!("{}:{}", words[4], words[5]).parse().unwrap()
}

fn rewritten(mut candidate: Candidate, to: SocketAddr) -> Candidate {
    let mut words: Vec<String> = candidate.candidate.split(' ').map(str::to_owned).collect();
    words[4] = to.ip().to_string();
    words[5] = to.port().to_string();
    candidate.candidate = words.join(" ");
    candidate
}

impl Relay {
    /// Stands between them; `keep` decides on each datagram.
    pub(crate) async fn between(
        offerer: &mut Side,
        answerer: &mut Side,
        keep: impl Fn(From, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        let bind = || async { Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()) };
        let relay = Self {
            to_offerer: bind().await,
            to_answerer: bind().await,
            offerer: Arc::default(),
            answerer: Arc::default(),
            dead: Arc::default(),
        };
        let keep = Arc::new(keep);
        for from in [From::Offerer, From::Answerer] {
            let (here, there, target) = match from {
                From::Offerer => (&relay.to_offerer, &relay.to_answerer, &relay.answerer),
                From::Answerer => (&relay.to_answerer, &relay.to_offerer, &relay.offerer),
            };
            let (here, there, target) = (Arc::clone(here), Arc::clone(there), Arc::clone(target));
            let (keep, dead) = (Arc::clone(&keep), Arc::clone(&relay.dead));
            tokio::spawn(async move {
                let mut buf = vec![0; 2048];
                while let Ok(len) = here.recv(&mut buf).await {
                    let to = *target.lock().unwrap();
                    let datagram = &buf[..len];
                    if let Some(to) = to
                        && !dead.load(Ordering::Relaxed)
                        && keep(from, datagram)
                    {
                        let _ = there.send_to(datagram, to).await;
                    }
                }
            });
        }
        relay.carry(offerer, answerer, From::Offerer);
        relay.carry(answerer, offerer, From::Answerer);
        relay
    }

    fn carry(&self, from: &mut Side, to: &Side, end: From) {
        let mut candidates =
            std::mem::replace(&mut from.candidates, tokio::sync::mpsc::unbounded_channel().1);
        let (known, seen_as) = match end {
            From::Offerer => (Arc::clone(&self.offerer), self.to_answerer.local_addr().unwrap()),
            From::Answerer => (Arc::clone(&self.answerer), self.to_offerer.local_addr().unwrap()),
        };
        let to = to.connection.clone();
        tokio::spawn(async move {
            while let Some(candidate) = candidates.recv().await {
                *known.lock().unwrap() = Some(address(&candidate.candidate));
                let _ = to.add_candidate(rewritten(candidate, seen_as)).await;
            }
        });
    }

    /// Sends the answerer a datagram that seems to come from the offerer, and the reverse.
    pub(crate) async fn inject(&self, datagram: &[u8]) {
        let (offerer, answerer) = (*self.offerer.lock().unwrap(), *self.answerer.lock().unwrap());
        let _ = self.to_offerer.send_to(datagram, offerer.unwrap()).await;
        let _ = self.to_answerer.send_to(datagram, answerer.unwrap()).await;
    }

    /// From now on nothing passes, or again everything.
    pub(crate) fn cut(&self, dead: bool) {
        self.dead.store(dead, Ordering::Relaxed);
    }
}
