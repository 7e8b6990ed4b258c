//! What a session does about its peers: who joins, what was agreed with them, who leaves.

use super::losses::track_name;
use super::{Actor, Command, EVENTS, Member, News, Offer};
use crate::session::describe;
use crate::session::egress::Egress;
use crate::session::life::{self, Cause};
use crate::session::member::{self, Report};
use crate::session::negotiate::{self, Outcome};
use crate::session::routes::Viewer;
use crate::session::sdp::Section;
use crate::session::wiring::{Origin, Product, Source, Stream};
use crate::workers::Role;
use remotemedia_peer::{Candidate, Connection, Sender};
use remotemedia_rtp::egress::Start;
use remotemedia_shm_schema::{Codec, Media, OutputId, PeerId};
use remotemedia_signaling::message::{Error, Reason, RequestId};
use remotemedia_signaling::{FromRouter, Room};
use std::collections::BTreeMap;
use std::time::Instant;
use tokio::sync::mpsc;

/// What is made for a view.
pub(super) fn product((stream, codec): (&Stream, &Codec)) -> Product {
    Product { stream: stream.clone(), codec: *codec }
}

impl Member {
    /// Whether it wants nothing of this for now.
    pub(super) fn paused(&self, stream: &Stream) -> bool {
        self.subscriptions.get(&stream.output) == Some(&true)
    }
}

impl Actor {
    /// Offers a command to a member; one that takes none any more has failed, and leaves.
    pub(super) fn offer(&mut self, peer: &PeerId, command: member::Command) {
        let Some(member) = self.members.get(peer) else { return };
        if member.commands.try_send(command).is_err() {
            tracing::warn!(session = %self.id, %peer, "its media task does not take commands");
            self.live(life::Event::MediaGone(peer.clone()));
        }
    }

    pub(super) async fn command(&mut self, command: Command) {
        match command {
            Command::Offer(Offer { peer, request_id, sdp }) => {
                if !self.members.contains_key(&peer)
                    && let Err(error) = self.join(peer.clone()).await
                {
                    self.tell(News::Left(self.room(), peer.clone()));
                    self.refuse(peer, request_id, describe::error(&error));
                    return;
                }
                // Candidates are found before the answer gets here, and it holds none of them: the hub keeps what belongs to
                // an offer until its answer is out.
                if let Some(member) = self.members.get_mut(&peer) {
                    member.exchange.get_or_insert_with(|| request_id.clone());
                }
                self.step(&peer, negotiate::Step::Offer { request_id, sdp });
            }
            Command::Answer { peer, request_id, sdp } => {
                self.step(&peer, negotiate::Step::Answer { request_id, sdp });
            }
            Command::Unanswered { peer, request_id } => {
                self.step(&peer, negotiate::Step::Unanswered { request_id });
            }
            Command::Candidate(peer, candidate) => {
                self.step(&peer, negotiate::Step::Candidate(candidate));
            }
            Command::Left(peer) => self.live(life::Event::Left(peer)),
            Command::SocketGone(peer) => self.live(life::Event::SocketGone(peer)),
            Command::SocketBack(peer) => self.live(life::Event::SocketBack(peer)),
            Command::Act(node, act, reply) => self.act(&node, act, reply),
            Command::Update(pipeline, reply) => self.update(pipeline, reply),
            Command::Subscribe(peer, wish, reply) => {
                let _ = reply.send(self.subscribe(&peer, &wish));
            }
            Command::Describe(reply) => self.describe(reply),
            Command::Attach(joiner) => self.attach(joiner),
            Command::Operate(operation, reply) => {
                let done = self.operate(&operation);
                let _ = reply.send(done);
            }
            Command::Close(cause, reply) => {
                self.closing.push(reply);
                let event = match cause {
                    Cause::Stopping => life::Event::Stopping,
                    _ => life::Event::CloseAsked,
                };
                self.live(event);
            }
        }
    }

    pub(super) async fn join(&mut self, peer: PeerId) -> anyhow::Result<()> {
        self.dance.make_room(self.members.len() + 1)?;
        let (events, event_inbox) = mpsc::channel(EVENTS);
        let connection = Connection::new(self.settings.peer.clone(), events).await?;
        let (commands, command_inbox) = mpsc::channel(member::COMMANDS);
        let (steps, step_inbox) = mpsc::channel(negotiate::STEPS);
        let viewer = Viewer { peer: &peer, alone: self.settings.alone };
        let mirrored = viewer.mirrored(&self.settings.plan);
        self.tasks.spawn(member::run(
            peer.clone(),
            connection.clone(),
            event_inbox,
            command_inbox,
            self.reports.clone(),
        ));
        self.tasks.spawn(negotiate::run(
            peer.clone(),
            connection,
            mirrored,
            step_inbox,
            self.outcomes.clone(),
        ));
        let member = Member {
            commands,
            steps,
            views: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            targets: BTreeMap::new(),
            connected: false,
            exchange: None,
        };
        self.members.insert(peer.clone(), member);
        self.tell(News::Joined(self.room(), peer.clone()));
        self.live(life::Event::Joined(peer));
        Ok(())
    }

    pub(super) fn step(&mut self, peer: &PeerId, step: negotiate::Step) {
        let Some(member) = self.members.get(peer) else { return };
        if member.steps.try_send(step).is_err() {
            tracing::debug!(session = %self.id, %peer, "too many negotiation steps at once; one is dropped");
        }
    }

    pub(super) fn tell(&self, news: News) {
        let _ = self.around.news.send(news);
    }

    pub(super) fn room(&self) -> Room {
        self.settings.room.clone()
    }

    pub(super) fn refuse(&self, peer: PeerId, request_id: RequestId, error: Error) {
        self.around.hub.send(FromRouter::Refused { peer, room: self.room(), request_id, error });
    }

    pub(super) fn hang_up(&self, peer: PeerId, cause: &Cause) {
        let (room, reason) = (self.room(), cause.reason());
        let details = (reason == Reason::Error).then(|| cause.text());
        let request_id = None;
        self.around.hub.send(FromRouter::Disconnected { peer, room, reason, details, request_id });
    }

    pub(super) fn outcome(&mut self, peer: PeerId, outcome: Outcome) {
        // What was agreed with somebody who left meanwhile is void; that an offer is refused the hub must learn.
        let void = !self.members.contains_key(&peer);
        match outcome {
            Outcome::Answered { .. } | Outcome::Offering { .. } | Outcome::Settled { .. }
                if void => {}
            Outcome::Answered { request_id, sdp, sections, views } => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.exchange = Some(request_id.clone());
                }
                let (peer_id, room) = (peer.clone(), self.room());
                self.around.hub.send(FromRouter::Answer { peer: peer_id, room, request_id, sdp });
                self.receive(&peer, &sections);
                self.view(&peer, views);
                self.want();
                self.advance();
            }
            Outcome::Refused { request_id, error } => {
                self.refuse(peer.clone(), request_id, describe::peer_error(&error));
                let fresh =
                    self.members.get(&peer).is_some_and(|m| m.views.is_empty() && !m.connected);
                if fresh && !self.desired.sources.keys().any(|source| source.peer == peer) {
                    self.live(life::Event::Left(peer));
                }
            }
            Outcome::Offering { request_id, sdp } => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.exchange = Some(request_id.clone());
                }
                let room = self.room();
                self.around.hub.send(FromRouter::Offer { peer, room, request_id, sdp });
            }
            Outcome::Settled { views } => {
                self.view(&peer, views);
                self.advance();
            }
            Outcome::Rejected(error) => {
                tracing::debug!(session = %self.id, %peer, "negotiation: {error}");
            }
        }
    }

    /// A peer will send these.
    pub(super) fn receive(&mut self, peer: &PeerId, sections: &[Section]) {
        for section in sections.iter().filter(|section| section.receives) {
            let source = Source { peer: peer.clone(), kind: section.kind };
            self.desired.sources.entry(source).or_insert(Origin::Coded(section.codec));
        }
    }

    /// A peer views these from now on.
    pub(super) fn view(&mut self, peer: &PeerId, views: BTreeMap<Stream, (Sender, Codec)>) {
        let Some(member) = self.members.get_mut(peer) else { return };
        let gone: Vec<Stream> =
            member.views.keys().filter(|stream| !views.contains_key(stream)).cloned().collect();
        let mut commands: Vec<member::Command> =
            gone.iter().cloned().map(member::Command::Unview).collect();
        for stream in &gone {
            member.views.remove(stream);
            member.targets.remove(stream);
        }
        let mut fresh = Vec::new();
        for (stream, (sender, codec)) in views {
            if member.views.get(&stream) == Some(&codec) {
                continue;
            }
            let start =
                Start { ssrc: sender.ssrc(), sequence: rand::random(), timestamp: rand::random() };
            let bitrate = match stream.source.kind {
                Media::Video => self.settings.plan.video_bitrate,
                Media::Audio => self.settings.plan.audio_bitrate,
            };
            let egress = Egress::new(codec, sender, start, bitrate);
            commands.push(member::Command::View(stream.clone(), Box::new(egress)));
            member.views.insert(stream.clone(), codec);
            member.targets.insert(stream.clone(), bitrate);
            fresh.push(Product { stream, codec });
        }
        for command in commands {
            self.offer(peer, command);
        }
        for product in fresh {
            if product.stream.source.kind == Media::Video {
                self.keyframe(&product);
            }
        }
        self.products();
    }

    pub(super) fn products(&mut self) {
        self.desired.products = self
            .members
            .values()
            .flat_map(|member| member.views.iter().filter(|(stream, _)| !member.paused(stream)))
            .map(product)
            .collect();
    }

    /// Tells every negotiation whose media its peer is to receive.
    pub(super) fn want(&mut self) {
        let peers: Vec<PeerId> = self.members.keys().cloned().collect();
        for peer in peers {
            let streams = self.streams_for(&peer);
            self.step(&peer, negotiate::Step::Want(streams));
        }
    }

    /// What a peer is to receive by the graph in force.
    pub(super) fn streams_for(&self, peer: &PeerId) -> Vec<Stream> {
        let viewer = Viewer { peer, alone: self.settings.alone };
        let sender = |peer: &PeerId| self.members.contains_key(peer);
        let subscribed = |output: &OutputId| {
            self.members.get(peer).is_some_and(|m| m.subscriptions.contains_key(output))
        };
        let sources = self.desired.sources.keys();
        viewer.streams(&self.settings.plan, sources, sender, subscribed)
    }

    pub(super) fn report(&mut self, peer: PeerId, report: Report) {
        match report {
            Report::Track(..) if !self.members.contains_key(&peer) => {}
            Report::Track(kind, codec) => {
                let source = Source { peer, kind };
                let origin = Origin::Coded(codec);
                if self.desired.sources.insert(source.clone(), origin) != Some(origin) {
                    self.came_again(source);
                    self.want();
                }
                self.advance();
            }
            Report::KeyframeWanted(stream) => {
                let codec = self.members.get(&peer).and_then(|m| m.views.get(&stream)).copied();
                if let Some(codec) = codec {
                    self.keyframe(&Product { stream, codec });
                }
            }
            Report::Rate(stream, target) => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.targets.insert(stream, target);
                }
                self.aim();
            }
            Report::Media => self.live(life::Event::Media(peer)),
            Report::Connected => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.connected = true;
                    let products: Vec<Product> = member
                        .views
                        .iter()
                        .filter(|(stream, _)| stream.source.kind == Media::Video)
                        .map(product)
                        .collect();
                    for product in products {
                        self.keyframe(&product);
                    }
                }
                self.live(life::Event::Media(peer));
            }
            Report::Cut => self.live(life::Event::MediaGone(peer)),
            Report::Closed => self.live(life::Event::Left(peer)),
            Report::Candidate(candidate) => self.candidate(peer, candidate),
        }
    }

    /// A track whose name was quarantined a moment ago is still.
    fn came_again(&mut self, source: Source) {
        let Some(how) = self.recovery.came(Instant::now(), &source).map(str::to_owned) else {
            return;
        };
        let name = track_name(&source);
        self.desired.absence.tracks.insert(source);
        self.tell_state(&name, "quarantined", None, Some(&how));
    }

    pub(super) fn candidate(&self, peer: PeerId, candidate: Candidate) {
        let exchange = self.members.get(&peer).and_then(|member| member.exchange.clone());
        if let Some(request_id) = exchange {
            let candidate = remotemedia_signaling::hub::Candidate {
                candidate: candidate.candidate,
                sdp_mid: candidate.sdp_mid,
                sdp_m_line_index: candidate.sdp_m_line_index,
                user_fragment: candidate.user_fragment,
            };
            let room = self.room();
            self.around.hub.send(FromRouter::Candidate { peer, room, request_id, candidate });
        }
    }

    pub(super) fn drop_peer(&mut self, peer: &PeerId, cause: &Cause) {
        tracing::info!(session = %self.id, %peer, "left: {}", cause.text());
        // Both its tasks end with their queues, and close the connection.
        self.members.remove(peer);
        self.tell(News::Left(self.room(), peer.clone()));
        self.desired.sources.retain(|source, _| source.peer != *peer);
        self.sources.retain(|source, _| source.peer != *peer);
        for kind in Media::ALL {
            let source = Source { peer: peer.clone(), kind };
            self.recovery.left(Instant::now(), &source);
            self.desired.absence.tracks.remove(&source);
        }
        // What stood in this peer's media has nothing to stand in any more.
        let stood = self.desired.inserts.iter().filter(|insert| insert.source.peer == *peer);
        let stood: Vec<Role> = stood.map(|insert| insert.segment.role).collect();
        for role in stood {
            self.take_out(role);
        }
        self.keyframes.retain(|product, _| product.stream.source.peer != *peer);
        self.wished.retain(|source, _| source.peer != *peer);
        if *cause != Cause::Left {
            self.hang_up(peer.clone(), cause);
        }
        let gone: Vec<PeerId> = self.members.keys().cloned().collect();
        for other in gone {
            if let Some(member) = self.members.get_mut(&other) {
                let streams = member.views.keys().filter(|stream| stream.source.peer == *peer);
                let streams: Vec<Stream> = streams.cloned().collect();
                for stream in streams {
                    member.views.remove(&stream);
                    member.targets.remove(&stream);
                    let _ = member.commands.try_send(member::Command::Unview(stream));
                }
            }
        }
        self.products();
        self.want();
        self.advance();
    }
}
