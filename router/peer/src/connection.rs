//! A connection to one peer: made, asked, closed. Its negotiations are in [`crate::negotiation`].

use crate::PeerError;
use crate::chain::{self, Counters, RoundTrip, Shared};
use crate::clock::Clock;
use crate::codecs;
use crate::data::{Channels, SEND_BUFFER};
use crate::event::{DataId, Event, Kind, ReceiverId, SenderId, State};
use crate::goodbye;
use crate::handler::{Handler, Link};
use crate::inbound::{Inbound, Source};
use crate::negotiation::Negotiation;
use crate::outbound::Outbound;
use crate::outbox::Outbox;
use crate::sender::{Sender, SenderSpec};
use crate::settings::{MAX_MESSAGE, Role, Settings};
use crate::socket::{Watch, Watching};
use crate::tasks::Tasks;
use bytes::Bytes;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, RTCConfigurationBuilder, RTCIceServer,
    RTCStatsReportEntry, SettingEngineBuilder, StatsSelector,
};

/// Senders of a connection; a room of ten sends nine of each kind to each.
const MAX_SENDERS: usize = 32;
/// Between two checks of a candidate pair while connecting; the stack's default of 200 ms is most of a connect.
const ICE_CHECK: Duration = Duration::from_millis(20);
/// And how many of them: 2 s, then the pair is given up.
const ICE_CHECKS: u16 = 100;
/// Between two checks of the pair in use, also to find it again.
const ICE_KEEPALIVE: Duration = Duration::from_secs(2);

/// What a connection did, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets received, retransmissions included.
    pub packets_in: u64,
    /// Of those, packets that came as retransmissions.
    pub repaired: u64,
    /// Packets sent, retransmissions included.
    pub packets_out: u64,
    /// Retransmissions sent.
    pub retransmitted: u64,
    /// Retransmissions asked for and not sent, because they were under way already or would have cost too much.
    pub retransmissions_refused: u64,
    /// NACK packets received.
    pub nacks_in: u64,
    /// Packets received that the owner did not read in time, or that belong to no track.
    pub dropped: u64,
    /// Packets of SSRCs that the peer never told of, beyond those that are allowed for.
    pub refused: u64,
    /// Other events that found no place; 0 unless the owner does not read at all.
    pub lost_events: u64,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) stack: Arc<dyn PeerConnection>,
    pub(crate) shared: Shared,
    pub(crate) link: Arc<Link>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) negotiation: tokio::sync::Mutex<Negotiation>,
    senders: AtomicU32,
    fir: AtomicU8,
}

impl Drop for Inner {
    /// The stack keeps its task and its sockets until it is closed; a forgotten connection must not leak them.
    fn drop(&mut self) {
        if !self.link.closed.load(Ordering::Acquire)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (stack, tasks) = (Arc::clone(&self.stack), Arc::clone(&self.tasks));
            runtime.spawn(async move {
                let _ = stack.close().await;
                tasks.end().await;
            });
        }
    }
}

/// A connection to a peer; cheap to clone. [`Connection::close`] frees its sockets and tasks, as does dropping the last clone
/// inside the runtime.
#[derive(Clone)]
pub struct Connection {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.inner.settings.role)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Binds the sockets; events go into `events`.
    pub async fn new(settings: Settings, events: mpsc::Sender<Event>) -> Result<Self, PeerError> {
        let outbox = Arc::new(Outbox::new(events));
        let tasks = Arc::new(Tasks::default());
        let channels = Arc::new(Channels::new(Arc::clone(&outbox), Arc::clone(&tasks)));
        let link = Arc::new(Link::new(Arc::clone(&outbox), channels));
        let shared = Shared {
            clock: Clock::start(),
            inbound: Arc::new(Inbound::new(Arc::clone(&outbox))),
            outbound: Arc::default(),
            outbox,
            counters: Arc::new(Counters::default()),
            round_trip: Arc::new(RoundTrip::default()),
        };
        let watch = Arc::new(Watch::default());
        let stack = stack(&settings, &shared, &link, &watch).await?;
        tasks.spawn(goodbye::watch(Arc::clone(&stack), Arc::clone(&link), Arc::clone(&watch)));
        tasks.spawn({
            let (outbox, inbound) = (Arc::clone(&shared.outbox), Arc::clone(&shared.inbound));
            async move { outbox.run(|receiver| inbound.announced(receiver)).await }
        });
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                stack,
                shared,
                link,
                watch,
                tasks,
                negotiation: tokio::sync::Mutex::default(),
                senders: AtomicU32::new(0),
                fir: AtomicU8::new(0),
            }),
        })
    }

    /// Adds a track to send. Before [`Connection::answer`] it takes the offer's first free media section of its kind in which
    /// the peer would receive; else, and when there is none, [`Connection::offer`] adds a section for it.
    pub async fn add_sender(&self, spec: SenderSpec) -> Result<Sender, PeerError> {
        self.open()?;
        let outbound: &Outbound = &self.inner.shared.outbound;
        if outbound.len() >= MAX_SENDERS {
            return Err(PeerError::Limit { what: "senders", limit: MAX_SENDERS });
        }
        for name in [&spec.stream, &spec.track] {
            if name.is_empty() || name.len() > 128 || !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(PeerError::State(format!(
                    "{name:?} cannot be the name of a stream or track: 1 to 128 printable characters without spaces"
                )));
            }
        }
        let id = SenderId(self.inner.senders.fetch_add(1, Ordering::Relaxed) + 1);
        let sender = Sender::new(id, spec, self.inner.shared.clock, Arc::clone(&self.inner.link));
        outbound.insert(sender.ssrc(), id, Arc::clone(&sender.0.time));
        self.inner.negotiation.lock().await.senders.push(sender.clone());
        Ok(sender)
    }

    /// Takes a track back; the peer learns of it by the next negotiation.
    pub async fn remove_sender(&self, sender: &Sender) -> Result<(), PeerError> {
        let mut negotiation = self.inner.negotiation.lock().await;
        let before = negotiation.senders.len();
        negotiation.senders.retain(|s| s.id() != sender.id());
        if negotiation.senders.len() == before {
            return Err(PeerError::Unknown(format!("sender {}", sender.id().0)));
        }
        self.inner.shared.outbound.remove(sender.ssrc());
        if let Some(place) = sender.0.place.lock().await.take() {
            self.inner.stack.remove_track(&place.sender).await?;
        }
        Ok(())
    }

    /// For one who offers: asks the peer for a track of this kind by the next [`Connection::offer`]; in the section of a
    /// sender of this kind, if there is one that has no section yet.
    pub async fn add_receiver(&self, kind: Kind) -> Result<(), PeerError> {
        self.open()?;
        let mut negotiation = self.inner.negotiation.lock().await;
        if negotiation.wanted.len() >= MAX_SENDERS {
            return Err(PeerError::Limit { what: "receivers", limit: MAX_SENDERS });
        }
        negotiation.wanted.push(kind);
        Ok(())
    }

    /// Asks the peer for a keyframe: by PLI, or by FIR when only that was negotiated.
    pub async fn request_keyframe(&self, receiver: ReceiverId) -> Result<(), PeerError> {
        let unknown = || PeerError::Unknown(format!("track {}", receiver.0));
        let source = self.inner.shared.inbound.source(receiver).ok_or_else(unknown)?;
        let track = self.inner.link.track(&source.mid).ok_or_else(unknown)?;
        let request = self.keyframe_request(&source);
        Ok(track.write_rtcp(vec![request]).await?)
    }

    fn keyframe_request(&self, source: &Source) -> Box<dyn rtcp::Packet> {
        if source.fir && !source.pli {
            // A repeated sequence number would be taken for a repetition of the same request.
            let sequence_number = self.inner.fir.fetch_add(1, Ordering::Relaxed);
            let fir = vec![FirEntry { ssrc: source.ssrc, sequence_number }];
            Box::new(FullIntraRequest { sender_ssrc: 1, media_ssrc: source.ssrc, fir })
        } else {
            Box::new(PictureLossIndication { sender_ssrc: 1, media_ssrc: source.ssrc })
        }
    }

    /// Opens a reliable, ordered data channel; usable from its [`Event::DataOpen`] on. The first one needs a negotiation.
    pub async fn open_data(&self, label: &str) -> Result<DataId, PeerError> {
        self.open()?;
        let channel = self.inner.stack.create_data_channel(label, None).await?;
        self.inner.link.channels.take(channel)
    }

    /// Sends a text; refused with [`PeerError::Limit`] when the peer does not read ([`Connection::data_writable`]).
    pub async fn send_text(&self, id: DataId, text: &str) -> Result<(), PeerError> {
        self.inner.link.channels.send_text(id, text).await
    }

    /// Sends bytes; refused like [`Connection::send_text`].
    pub async fn send_binary(&self, id: DataId, payload: Bytes) -> Result<(), PeerError> {
        self.inner.link.channels.send_binary(id, payload).await
    }

    /// Waits until there is room for a message.
    pub async fn data_writable(&self, id: DataId) -> Result<(), PeerError> {
        self.inner.link.channels.writable(id).await
    }

    /// Closes a data channel.
    pub async fn close_data(&self, id: DataId) -> Result<(), PeerError> {
        self.inner.link.channels.close(id).await
    }

    /// There and back: by RTCP when we send, else by ICE.
    pub async fn round_trip(&self) -> Option<Duration> {
        if let Some(round_trip) = self.inner.shared.round_trip.get() {
            return Some(round_trip);
        }
        let report = self.inner.stack.get_stats(Instant::now(), StatsSelector::None).await;
        report
            .iter()
            .filter_map(|entry| match entry {
                RTCStatsReportEntry::IceCandidatePair(pair) if pair.nominated => {
                    Some(pair.current_round_trip_time)
                }
                _ => None,
            })
            .find(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Packets received that the owner did not read in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.shared.outbox.dropped()
    }

    /// Its numbers until now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let Counters {
            packets_in,
            unwrapped,
            packets_out,
            retransmitted,
            retransmissions_refused,
            nacks_in,
        } = &*self.inner.shared.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            packets_in: read(packets_in),
            repaired: read(unwrapped),
            packets_out: read(packets_out),
            retransmitted: read(retransmitted),
            retransmissions_refused: read(retransmissions_refused),
            nacks_in: read(nacks_in),
            dropped: self.inner.shared.outbox.dropped(),
            refused: read(&self.inner.watch.refused),
            lost_events: self.inner.shared.outbox.lost(),
        }
    }

    /// Ends it: says goodbye to the peer, frees sockets and tasks. Whatever state it is in, and again without effect. The
    /// last event is `State(Closed)`, if the owner's channel has room for it.
    pub async fn close(&self) {
        self.inner.link.connected.store(false, Ordering::Release);
        self.inner.link.closed.store(true, Ordering::Release);
        let _ = self.inner.stack.close().await; // it fails only for what is closed already
        self.inner.tasks.end().await;
        self.inner.link.channels.clear();
        self.inner.link.tracks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        if !self.inner.link.told.swap(true, Ordering::AcqRel) {
            self.inner.shared.outbox.last(Event::State(State::Closed));
        }
    }

    pub(crate) fn open(&self) -> Result<(), PeerError> {
        if self.inner.link.closed.load(Ordering::Acquire) { Err(PeerError::Closed) } else { Ok(()) }
    }
}

async fn stack(
    settings: &Settings,
    shared: &Shared,
    link: &Arc<Link>,
    watch: &Arc<Watch>,
) -> Result<Arc<dyn PeerConnection>, PeerError> {
    let mut media = codecs::media_engine(&settings.codecs)?;
    let chain = chain::build(shared, settings.transport_feedback, &mut media)?;
    let mdns = if settings.mdns { MulticastDnsMode::QueryOnly } else { MulticastDnsMode::Disabled };
    let mut engine = SettingEngineBuilder::new()
        .with_ice_connection_attempts(Some(ICE_CHECK), Some(ICE_CHECKS))
        .with_ice_timeouts(
            Some(settings.disconnected_after),
            Some(settings.failed_after),
            Some(ICE_KEEPALIVE.min(settings.disconnected_after / 3)),
        )
        .with_prflx_acceptance_min_wait(Some(ICE_CHECK))
        .with_multicast_dns_mode(mdns)
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(MAX_MESSAGE as u32));
    if settings.role == Role::Answerer {
        engine = engine.with_answering_dtls_role(RTCDtlsRole::Server);
    }
    let servers = settings.ice_servers.iter().map(|server| RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone(),
    });
    let stack = PeerConnectionBuilder::new()
        .with_configuration(
            RTCConfigurationBuilder::default().with_ice_servers(servers.collect()).build(),
        )
        .with_media_engine(media)
        .with_interceptor_registry(chain)
        .with_setting_engine(engine.build())
        .with_handler(Arc::new(Handler(Arc::clone(link))))
        .with_runtime(Arc::new(Watching(Arc::clone(watch))))
        .with_udp_addrs(settings.bind.clone())
        .with_data_channel_send_buffer_limit(SEND_BUFFER)
        .build()
        .await?;
    Ok(Arc::new(stack))
}
