//! The stack's callbacks. The stack waits for them with all else of the connection, so none of them waits for anything.

use crate::data::Channels;
use crate::event::{Candidate, Event, State};
use crate::outbox::{Happened, Outbox};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState,
};

/// Tracks of the peer's that are kept for asking them for keyframes: more than a description has sections.
const MAX_TRACKS: usize = 64;

/// The section that our candidates belong to, and their ICE generation.
#[derive(Debug, Clone, Default)]
pub(crate) struct First {
    pub(crate) index: u16,
    pub(crate) mid: String,
    pub(crate) ufrag: String,
}

/// What the callbacks share with the connection.
pub(crate) struct Link {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) channels: Arc<Channels>,
    /// Whether the path is secured, so that what we send gets somewhere.
    pub(crate) connected: AtomicBool,
    pub(crate) first: Mutex<First>,
    /// The stack's handles of the peer's tracks, by section.
    pub(crate) tracks: Mutex<HashMap<String, Arc<dyn TrackRemote>>>,
    /// We have closed it.
    pub(crate) closed: AtomicBool,
    /// The owner was told that it is closed, by us or by the peer.
    pub(crate) told: AtomicBool,
}

impl Link {
    pub(crate) fn new(outbox: Arc<Outbox>, channels: Arc<Channels>) -> Self {
        Self {
            outbox,
            channels,
            connected: AtomicBool::new(false),
            first: Mutex::default(),
            tracks: Mutex::default(),
            closed: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    pub(crate) fn track(&self, mid: &str) -> Option<Arc<dyn TrackRemote>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner).get(mid).cloned()
    }

    fn tell(&self, event: Event) {
        self.outbox.happened(Happened::Event(event));
    }
}

/// Implements the stack's trait.
pub(crate) struct Handler(pub(crate) Arc<Link>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            let First { index, mid, ufrag } =
                self.0.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.0.tell(Event::Candidate(Candidate {
                candidate: init.candidate,
                sdp_mid: Some(mid),
                sdp_m_line_index: Some(index),
                user_fragment: Some(ufrag),
            }));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.0.tell(Event::CandidatesDone);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connecting => State::Connecting,
            RTCPeerConnectionState::Connected => State::Connected,
            RTCPeerConnectionState::Disconnected => State::Disconnected,
            RTCPeerConnectionState::Failed => State::Failed,
            _ => return, // new; or closed, which only we do, and tell ourselves
        };
        match state {
            State::Connected => self.0.connected.store(true, Ordering::Release),
            State::Failed => self.0.connected.store(false, Ordering::Release),
            State::Connecting | State::Disconnected | State::Closed => {}
        }
        self.0.tell(Event::State(state));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let _ = self.0.channels.take(channel); // one too many is closed
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        // Uncontended: the stack has only just made it. Its id is its section's, as we wrote the description.
        let mid = track.track_id().await;
        let mut tracks = self.0.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        if tracks.len() < MAX_TRACKS || tracks.contains_key(&mid) {
            tracks.insert(mid, track);
        }
    }
}
