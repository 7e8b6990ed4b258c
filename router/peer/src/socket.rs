//! The stack's sockets, watched: tokio's, with three things that the stack leaves undone.
//!
//! - It handles what happens (a handshake done, a channel to open) after it has flushed what it writes, and then sleeps until
//!   its next timer: a ClientHello leaves 20 ms late, a data channel opens 400 ms late. An empty datagram after each one that is
//!   not media sends it around once more, and [`Watch::nudge`] does so from outside.
//! - It keeps state for every SSRC before it has verified a packet of it: a peer could make it grow without bound. Packets
//!   of SSRCs that no description named are let through for [`MAX_UNTOLD`] of them.
//! - It tells nobody of a DTLS alert, nor of its own end by an error or a panic; see [`crate::goodbye`].

use std::collections::HashSet;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

/// SSRCs that no description names: a browser sends RTCP from one or two, a simulcast sender has one a layer.
const MAX_UNTOLD: usize = 64;
/// A first byte that no protocol of a media port has (RFC 7983), put on what shall not be read.
const NOTHING: u8 = 255;

/// What the sockets of one connection share with it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// A DTLS alert came, or the stack has ended.
    pub(crate) alerts: Notify,
    /// The stack's task has ended.
    pub(crate) ended: AtomicBool,
    begun: AtomicBool,
    /// Packets of one SSRC too many.
    pub(crate) refused: AtomicU64,
    sources: Mutex<Sources>,
    nudged: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

#[derive(Debug, Default)]
struct Sources {
    told: HashSet<u32>,
    untold: HashSet<u32>,
}

impl Watch {
    /// The SSRCs of the peer's newest description.
    pub(crate) fn told(&self, ssrcs: impl Iterator<Item = u32>) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.told = ssrcs.collect();
    }

    /// Lets the stack look at all that it has to do.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn known(&self, ssrc: u32) -> bool {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Sources { told, untold } = &mut *sources;
        told.contains(&ssrc)
            || untold.contains(&ssrc)
            || (untold.len() < MAX_UNTOLD && untold.insert(ssrc))
    }

    fn see(&self, datagram: &mut [u8]) {
        match datagram.first() {
            // RTP or RTCP (RFC 5761): the SSRC is after the timestamp, or at once.
            Some(128..=191) => {
                let rtcp = matches!(datagram.get(1), Some(192..=223));
                let ssrc =
                    datagram.get(if rtcp { 4..8 } else { 8..12 }).and_then(|b| b.try_into().ok());
                if !ssrc.map(u32::from_be_bytes).is_some_and(|ssrc| self.known(ssrc)) {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    if let Some(first) = datagram.first_mut() {
                        *first = NOTHING;
                    }
                }
            }
            Some(kind) => {
                self.nudged.store(true, Ordering::Release);
                // The content type of a DTLS alert (RFC 6347, section 4.1).
                if *kind == 21 {
                    self.alerts.notify_one();
                }
            }
            None => {}
        }
    }

    /// For a socket without datagrams: whether it shall seem to have one.
    fn empty(&self, cx: &Context<'_>) -> bool {
        // The stack also probes without a waker (`Waker::noop`), inside its round: that would not send it around.
        if cx.waker().data().is_null() {
            return false;
        }
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        self.nudged.swap(false, Ordering::AcqRel)
    }
}

/// Tokio, with watched sockets.
#[derive(Debug)]
pub(crate) struct Watching(pub(crate) Arc<Watch>);

/// Dropped with the stack's task, however it ends.
struct End(Arc<Watch>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.alerts.notify_one();
    }
}

impl Runtime for Watching {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        // The first task is the connection's own; later ones are its errands.
        if self.0.begun.swap(true, Ordering::AcqRel) {
            return TokioRuntime.spawn(future);
        }
        let end = End(Arc::clone(&self.0));
        TokioRuntime.spawn(Box::pin(async move {
            let _end = end;
            future.await;
        }))
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket {
            socket: TokioRuntime.wrap_udp_socket(socket)?,
            watch: Arc::clone(&self.0),
        }))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        // A peer's TCP candidates never get this far; nothing of ours dials out.
        Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported)) })
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { TokioRuntime.resolve_host(host).await })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio"
    }
}

#[derive(Debug)]
struct Socket {
    socket: Arc<dyn AsyncUdpSocket>,
    watch: Arc<Watch>,
}

impl AsyncUdpSocket for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.socket.poll_recv(cx, bufs, meta) {
            Poll::Ready(Ok(count)) => {
                for (buf, meta) in bufs.iter_mut().zip(meta.iter()).take(count) {
                    // The kernel may have put several datagrams of one size into the buffer.
                    for datagram in
                        buf.get_mut(..meta.len).unwrap_or_default().chunks_mut(meta.stride.max(1))
                    {
                        self.watch.see(datagram);
                    }
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending if self.watch.empty(cx) => match meta.first_mut() {
                Some(meta) => {
                    *meta = RecvMeta::default();
                    Poll::Ready(Ok(1))
                }
                None => Poll::Pending,
            },
            other => other,
        }
    }

    fn max_gso_segments(&self) -> usize {
        self.socket.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.socket.max_gro_segments()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stack_that_panics_is_noticed() {
        let watch = Arc::new(Watch::default());
        let runtime = Watching(Arc::clone(&watch));
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let _stack = runtime.spawn(Box::pin(async move {
            let _ = wait.await;
            panic!("as the stack might");
        }));
        let _errand = runtime.spawn(Box::pin(async {}));
        tokio::task::yield_now().await;
        assert!(!watch.ended.load(Ordering::Acquire), "an errand's end is not the stack's");
        go.send(()).unwrap();
        watch.alerts.notified().await;
        assert!(watch.ended.load(Ordering::Acquire));
    }

    fn rtp(ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
        packet.extend(ssrc.to_be_bytes());
        packet
    }

    fn passes(watch: &Watch, mut datagram: Vec<u8>) -> bool {
        watch.see(&mut datagram);
        datagram[0] != NOTHING
    }

    #[test]
    fn a_peer_that_invents_ssrcs_gets_sixty_four_of_them_through_and_its_own_always() {
        let watch = Watch::default();
        let through = (1000..3000).filter(|ssrc| passes(&watch, rtp(*ssrc))).count();
        assert_eq!(through, MAX_UNTOLD);
        assert_eq!(watch.refused.load(Ordering::Relaxed), 2000 - MAX_UNTOLD as u64);
        assert!(!passes(&watch, rtp(7)));
        watch.told([7].into_iter());
        assert!(passes(&watch, rtp(7)));
        assert!(passes(&watch, rtp(1000)), "what was let through once stays");
        assert!(passes(&watch, vec![0x80, 201, 0, 1, 0, 0, 0, 7]), "its RTCP too");
        assert!(!passes(&watch, vec![0x80, 201, 0, 1, 0, 0, 0]), "too short to belong to anyone");
        assert!(passes(&watch, vec![22, 0]) && passes(&watch, vec![0, 1]));
    }
}
