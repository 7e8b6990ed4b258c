//! What a connection tells its owner.

use bytes::Bytes;
use remotemedia_rtp::Packet;
use remotemedia_shm_schema::Codec;
use std::time::Duration;

/// A track that the peer sends; not used twice within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverId(pub(crate) u32);

/// A track that we send; not used twice within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderId(pub(crate) u32);

/// A data channel; not used twice within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataId(pub(crate) u32);

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl Kind {
    /// What `codec` carries.
    #[must_use]
    pub fn of(codec: Codec) -> Self {
        if codec.is_audio() { Self::Audio } else { Self::Video }
    }
}

/// State of the path to the peer: ICE and DTLS together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Looking for a path, or shaking hands.
    Connecting,
    /// Media may flow.
    Connected,
    /// Nothing came from the peer for a while; it may come back.
    Disconnected,
    /// No path, or the handshake failed: only an ICE restart or a new connection helps.
    Failed,
    /// Closed by us, or by the peer's DTLS.
    Closed,
}

/// An ICE candidate as signaling carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// `candidate:…`; empty = no more come.
    pub candidate: String,
    /// Its media section by id.
    pub sdp_mid: Option<String>,
    /// Its media section by place.
    pub sdp_m_line_index: Option<u16>,
    /// The ICE generation that it belongs to.
    pub user_fragment: Option<String>,
}

/// What became of one packet that we sent, as the peer's transport-wide feedback tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketFate {
    /// The stream's SSRC (a retransmission stream has its own).
    pub ssrc: u32,
    /// Its RTP sequence number.
    pub sequence: u16,
    /// Bytes on the wire without IP and UDP headers.
    pub size: usize,
    /// When it left, in nanoseconds of `CLOCK_MONOTONIC`.
    pub departure_ns: u64,
    /// When it arrived, in nanoseconds of a clock of the peer's; `None` = lost.
    pub arrival_ns: Option<u64>,
}

/// What happened on a connection. Everything arrives but [`Event::Rtp`], which is dropped and counted when the owner does
/// not keep up; reports are merged to the newest then.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// One of ours, for the peer.
    Candidate(Candidate),
    /// All of ours were told.
    CandidatesDone,
    /// The path's state changed.
    State(State),
    /// The first packet of a track came; its packets follow.
    Track {
        /// The track, in all that follows about it.
        receiver: ReceiverId,
        /// What it carries.
        kind: Kind,
        /// How, by the payload type of its first packet. When the peer changes it in mid-call, the track ends and a new one begins.
        codec: Codec,
        /// Its SSRC.
        ssrc: u32,
        /// Its media section.
        mid: String,
        /// The peer's name of the stream.
        stream: String,
        /// The peer's name of the track.
        track: String,
    },
    /// No more comes of it: removed by a negotiation, or begun anew with another codec.
    TrackEnded(ReceiverId),
    /// A packet of a track, retransmissions unwrapped; not in order, duplicates possible.
    Rtp {
        /// Its track.
        receiver: ReceiverId,
        /// The packet.
        packet: Packet,
    },
    /// The peer's clocks: that moment of its wall clock is that RTP time.
    SenderReport {
        /// Its track.
        receiver: ReceiverId,
        /// NTP format, 32.32 seconds since 1900.
        ntp: u64,
        /// In ticks of the codec's clock.
        rtp_time: u32,
        /// In nanoseconds of `CLOCK_MONOTONIC`.
        arrival_ns: u64,
    },
    /// The peer asks for a keyframe (PLI or FIR); several requests may have become one.
    KeyframeWanted(SenderId),
    /// How the peer receives what we send.
    ReceiverReport {
        /// Our track.
        sender: SenderId,
        /// Of the packets since the report before, 0..=1.
        fraction_lost: f32,
        /// Interarrival jitter, in ticks of the codec's clock.
        jitter: u32,
        /// There and back, once the peer has seen a sender report of ours.
        round_trip: Option<Duration>,
    },
    /// Fates of packets, in the order of sending; only when asked for by the settings.
    Transport(Vec<PacketFate>),
    /// A data channel is usable.
    DataOpen {
        /// The channel, in all that follows about it.
        id: DataId,
        /// Its label.
        label: String,
    },
    /// A message.
    Data {
        /// Its channel.
        id: DataId,
        /// Whether it was sent as text; it is valid UTF-8 then.
        text: bool,
        /// Its content.
        payload: Bytes,
    },
    /// A data channel is no more.
    DataClosed(DataId),
}
