//! Notices the peer's goodbye (DTLS `close_notify`), of which the stack tells nobody but data channels: without it a
//! peer that has left counts as silent for as long as ICE waits. And the stack's own end, of which it tells nobody at all.

use crate::event::{Event, State};
use crate::handler::Link;
use crate::outbox::Happened;
use crate::socket::Watch;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use webrtc::peer_connection::PeerConnection;

/// After an alert the stack is asked at once and then after each of these: it takes the datagram up only after the socket has
/// seen it, and whoever sends alerts that mean nothing costs no more than this.
const LATER: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
];

/// Waits for the goodbye and tells the owner of it.
pub(crate) async fn watch(stack: Arc<dyn PeerConnection>, link: Arc<Link>, watch: Arc<Watch>) {
    loop {
        watch.alerts.notified().await;
        if watch.ended.load(Ordering::Acquire) {
            return tell(&link, State::Failed);
        }
        for later in LATER {
            tokio::time::sleep(later).await;
            if closed(stack.as_ref()).await {
                return tell(&link, State::Closed);
            }
        }
    }
}

fn tell(link: &Link, state: State) {
    link.connected.store(false, Ordering::Release);
    if !link.closed.load(Ordering::Acquire) && !link.told.swap(true, Ordering::AcqRel) {
        link.outbox.happened(Happened::Event(Event::State(state)));
    }
}

/// Whether DTLS is closed, asked through whatever runs over it. (Over a connection without data channels on which neither
/// side sends anything nothing does, and ICE has to notice.)
async fn closed(stack: &dyn PeerConnection) -> bool {
    if let Some(sctp) = stack.sctp().await {
        return matches!(sctp.transport().state().await, Ok(RTCDtlsTransportState::Closed));
    }
    for sender in stack.get_senders().await {
        if let Ok(Some(dtls)) = sender.transport().await {
            return matches!(dtls.state().await, Ok(RTCDtlsTransportState::Closed));
        }
    }
    for receiver in stack.get_receivers().await {
        if let Ok(Some(dtls)) = receiver.transport().await {
            return matches!(dtls.state().await, Ok(RTCDtlsTransportState::Closed));
        }
    }
    false
}
