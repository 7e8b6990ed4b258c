//! What the peer sends: which SSRC is which track, and its packets on to the owner.

use crate::event::{Event, Kind, ReceiverId};
use crate::outbox::{Happened, Outbox};
use crate::sdp::{Description, Section};
use remotemedia_rtp::Packet;
use remotemedia_shm_schema::Codec;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Packets of a track that may wait until its owner knows of it; a keyframe at 4 Mb/s.
const MAX_EARLY: usize = 512;

/// A media section in which the peer may send.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    mid: String,
    kind: Kind,
    stream: String,
    track: String,
    /// Its codecs by payload type.
    codecs: Vec<(u8, Codec)>,
    /// Told by the description; without it the stack finds the section by header extensions.
    ssrc: Option<u32>,
    pli: bool,
    fir: bool,
}

#[derive(Debug)]
enum Phase {
    /// The owner does not know of it yet.
    Early(VecDeque<Packet>),
    Open,
}

#[derive(Debug)]
struct Stream {
    receiver: ReceiverId,
    mid: String,
    codec: Codec,
    phase: Phase,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    streams: HashMap<u32, Stream>,
    receivers: u32,
}

/// Where keyframes of a track are asked for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) mid: String,
    pub(crate) ssrc: u32,
    pub(crate) pli: bool,
    pub(crate) fir: bool,
}

/// All that the peer sends on a connection.
#[derive(Debug)]
pub(crate) struct Inbound {
    outbox: Arc<Outbox>,
    state: Mutex<State>,
}

impl Inbound {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A negotiation was completed with this description of the peer's.
    pub(crate) fn negotiated(&self, description: &Description) {
        let mut state = self.state();
        state.lines = description.sections.iter().filter_map(Line::of).collect();
        let State { lines, streams, .. } = &mut *state;
        streams.retain(|ssrc, stream| {
            let stays = lines
                .iter()
                .any(|line| line.mid == stream.mid && line.ssrc.is_none_or(|told| told == *ssrc));
            if !stays {
                self.outbox.happened(Happened::Event(Event::TrackEnded(stream.receiver)));
            }
            stays
        });
    }

    /// A packet, retransmissions unwrapped. `bound` tells whether the stack knows to which section its SSRC belongs.
    pub(crate) fn packet(&self, packet: Packet, bound: bool) {
        let mut state = self.state();
        let State { lines, streams, receivers } = &mut *state;
        let known = streams.get(&packet.ssrc).map(|stream| stream.mid.as_str());
        let line = lines.iter().find(|line| match (known, line.ssrc) {
            (Some(mid), _) => line.mid == mid,
            (None, Some(ssrc)) => ssrc == packet.ssrc,
            (None, None) => bound && line.codec(packet.payload_type).is_some(),
        });
        let Some((line, codec)) = line.and_then(|l| Some((l, l.codec(packet.payload_type)?)))
        else {
            self.outbox.drop_packet();
            return;
        };
        match streams.get_mut(&packet.ssrc) {
            Some(Stream { receiver, codec: now, phase, .. }) if *now == codec => match phase {
                Phase::Open => self.outbox.packet(Event::Rtp { receiver: *receiver, packet }),
                Phase::Early(early) if early.len() < MAX_EARLY => early.push_back(packet),
                Phase::Early(_) => self.outbox.drop_packet(),
            },
            other => {
                if let Some(old) = other {
                    self.outbox.happened(Happened::Event(Event::TrackEnded(old.receiver)));
                }
                *receivers += 1;
                let receiver = ReceiverId(*receivers);
                let event = Event::Track {
                    receiver,
                    kind: line.kind,
                    codec,
                    ssrc: packet.ssrc,
                    mid: line.mid.clone(),
                    stream: line.stream.clone(),
                    track: line.track.clone(),
                };
                let ssrc = packet.ssrc;
                let phase = Phase::Early(VecDeque::from([packet]));
                streams.insert(ssrc, Stream { receiver, mid: line.mid.clone(), codec, phase });
                self.outbox.happened(Happened::Track(receiver, event));
            }
        }
    }

    /// The owner knows of the track now: what waited goes.
    pub(crate) fn announced(&self, receiver: ReceiverId) {
        let mut state = self.state();
        if let Some(stream) = state.streams.values_mut().find(|s| s.receiver == receiver)
            && let Phase::Early(early) = std::mem::replace(&mut stream.phase, Phase::Open)
        {
            for packet in early {
                self.outbox.packet(Event::Rtp { receiver, packet });
            }
        }
    }

    pub(crate) fn sender_report(&self, ssrc: u32, ntp: u64, rtp_time: u32, arrival_ns: u64) {
        let receiver = self.state().streams.get(&ssrc).map(|s| s.receiver);
        if let Some(receiver) = receiver {
            self.outbox.report(Event::SenderReport { receiver, ntp, rtp_time, arrival_ns });
        }
    }

    pub(crate) fn source(&self, receiver: ReceiverId) -> Option<Source> {
        let state = self.state();
        let (ssrc, stream) = state.streams.iter().find(|(_, s)| s.receiver == receiver)?;
        let line = state.lines.iter().find(|line| line.mid == stream.mid)?;
        Some(Source { mid: stream.mid.clone(), ssrc: *ssrc, pli: line.pli, fir: line.fir })
    }
}

impl Line {
    fn of(section: &Section) -> Option<Self> {
        let kind = section.what.kind()?;
        if section.rejected || !section.direction.sends() || section.accepted.is_empty() {
            return None;
        }
        let ssrc = if section.rid.is_some() { None } else { section.ssrc };
        Some(Self {
            mid: section.mid.clone(),
            kind,
            stream: section.stream.clone(),
            track: section.track.clone(),
            codecs: section.accepted.iter().map(|a| (a.payload_type, a.codec)).collect(),
            ssrc,
            pli: section.accepted.iter().any(|a| a.pli),
            fir: section.accepted.iter().any(|a| a.fir),
        })
    }

    fn codec(&self, payload_type: u8) -> Option<Codec> {
        self.codecs.iter().find(|(p, _)| *p == payload_type).map(|(_, codec)| *codec)
    }
}
