//! A track that we send.

use crate::PeerError;
use crate::clock::Clock;
use crate::codecs::Accepted;
use crate::event::{Kind, SenderId};
use crate::handler::Link;
use crate::outbound::MediaTime;
use bytes::Bytes;
use remotemedia_shm_schema::Codec;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters,
    RtpCodecKind,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::rtp_transceiver::{RtpSender, RtpTransceiver};

/// What a sender is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderSpec {
    /// What it carries.
    pub kind: Kind,
    /// The stream's name for the peer; tracks of one stream are played in sync.
    pub stream: String,
    /// The track's name for the peer.
    pub track: String,
}

/// What was negotiated for a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The codec: of those that both can do, the first in the offer.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// What the peer says that it can decode.
    pub fmtp: String,
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutPacket {
    /// `None` = the negotiated one.
    pub payload_type: Option<u8>,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker.
    pub marker: bool,
    /// The moment of its media in nanoseconds of `CLOCK_MONOTONIC`, on one line for all tracks of the stream: sender reports
    /// are made from it, and receivers align sound and picture by those. Without it the moment of sending is taken.
    pub media_time_ns: Option<u64>,
    /// The codec's payload.
    pub payload: Bytes,
}

pub(crate) struct Inner {
    pub(crate) id: SenderId,
    pub(crate) spec: SenderSpec,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) time: Arc<MediaTime>,
    pub(crate) track: Arc<TrackLocalStaticRTP>,
    pub(crate) clock: Clock,
    pub(crate) link: Arc<Link>,
    /// The sequence number after the last one sent, above [`u16::MAX`] before the first.
    next: AtomicU32,
    pub(crate) negotiated: Mutex<Option<Negotiated>>,
    /// The stack's handles, once it has a place in the connection.
    pub(crate) place: tokio::sync::Mutex<Option<Place>>,
}

pub(crate) struct Place {
    pub(crate) transceiver: Arc<dyn RtpTransceiver>,
    pub(crate) sender: Arc<dyn RtpSender>,
}

/// A handle of a track that we send; cheap to clone.
#[derive(Clone)]
pub struct Sender(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("id", &self.0.id)
            .field("spec", &self.0.spec)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(id: SenderId, spec: SenderSpec, clock: Clock, link: Arc<Link>) -> Self {
        let ssrc: u32 = rand::random::<u32>().max(1);
        // Video always has a repair stream: without its SSRC the stack answers NACK with the original again, which a
        // receiver takes for a replay.
        let rtx_ssrc = (spec.kind == Kind::Video).then(|| match rand::random::<u32>().max(1) {
            same if same == ssrc => !ssrc,
            other => other,
        });
        let track = Arc::new(TrackLocalStaticRTP::new(stack_track(
            &spec,
            ssrc,
            rtx_ssrc,
            RTCRtpCodec::default(),
        )));
        Self(Arc::new(Inner {
            id,
            spec,
            ssrc,
            rtx_ssrc,
            time: Arc::default(),
            track,
            clock,
            link,
            next: AtomicU32::new(u32::MAX),
            negotiated: Mutex::new(None),
            place: tokio::sync::Mutex::new(None),
        }))
    }

    /// Its id in events.
    #[must_use]
    pub fn id(&self) -> SenderId {
        self.0.id
    }

    /// What it carries.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.spec.kind
    }

    /// Its SSRC.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.0.ssrc
    }

    /// The sequence number after the last one that was sent; none before the first.
    #[must_use]
    pub fn next_sequence(&self) -> Option<u16> {
        u16::try_from(self.0.next.load(Ordering::Relaxed)).ok()
    }

    /// What was negotiated; `None` = nothing yet, or the peer takes none of our codecs.
    #[must_use]
    pub fn codec(&self) -> Option<Negotiated> {
        self.0.negotiated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn payload_type(&self) -> Option<u8> {
        self.0
            .negotiated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|n| n.payload_type)
    }

    /// Sends a packet. Waits while the connection's task has 256 things to do. A packet while there is no
    /// secured path is refused with [`PeerError::NotConnected`], which ends nothing.
    pub async fn send(&self, packet: OutPacket) -> Result<(), PeerError> {
        if self.0.link.closed.load(Ordering::Acquire) {
            return Err(PeerError::Closed);
        }
        let Some(negotiated) = self.payload_type() else { return Err(PeerError::NotNegotiated) };
        if !self.0.link.connected.load(Ordering::Acquire) {
            return Err(PeerError::NotConnected);
        }
        if let Some(media_time_ns) = packet.media_time_ns {
            self.0.time.set(packet.timestamp, media_time_ns);
        }
        let header = rtp::Header {
            version: 2,
            marker: packet.marker,
            payload_type: packet.payload_type.unwrap_or(negotiated),
            sequence_number: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: self.0.ssrc,
            ..Default::default()
        };
        self.0.next.store(packet.sequence.wrapping_add(1).into(), Ordering::Relaxed);
        let packet = rtp::Packet { header, payload: packet.payload };
        self.0.track.write_rtp(packet).await.map_err(|_| PeerError::Closed)
    }

    /// Takes the first codec of the section that the stack gave it; before the stack binds its stream.
    pub(crate) async fn settle(&self, accepted: &Accepted) -> Result<(), PeerError> {
        let negotiated = Negotiated {
            codec: accepted.codec,
            payload_type: accepted.payload_type,
            fmtp: accepted.fmtp.clone(),
        };
        if self.codec().as_ref() == Some(&negotiated) {
            return Ok(());
        }
        let Inner { spec, ssrc, rtx_ssrc, .. } = &*self.0;
        if let Some(place) = self.0.place.lock().await.as_ref() {
            // The interceptors learn of the stream by its codec: one that the stack does not know yet would get neither NACK
            // nor reports.
            let track = stack_track(spec, *ssrc, *rtx_ssrc, accepted.for_stack());
            place.sender.replace_track(Arc::new(TrackLocalStaticRTP::new(track))).await?;
        }
        *self.0.negotiated.lock().unwrap_or_else(PoisonError::into_inner) = Some(negotiated);
        Ok(())
    }

    /// The `CLOCK_MONOTONIC` line on which [`OutPacket::media_time_ns`] is, now.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.clock.monotonic_ns(std::time::Instant::now())
    }
}

fn stack_track(
    spec: &SenderSpec,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    codec: RTCRtpCodec,
) -> MediaStreamTrack {
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            rtx: rtx_ssrc.map(|ssrc| RTCRtpRtxParameters { ssrc }),
            ..Default::default()
        },
        codec,
        ..Default::default()
    };
    MediaStreamTrack::new(
        spec.stream.clone(),
        spec.track.clone(),
        spec.track.clone(),
        stack_kind(spec.kind),
        vec![coding],
    )
}

pub(crate) fn stack_kind(kind: Kind) -> RtpCodecKind {
    match kind {
        Kind::Audio => RtpCodecKind::Audio,
        Kind::Video => RtpCodecKind::Video,
    }
}
