//! Any value of what crosses a process boundary: what the property tests draw from.
#![allow(dead_code, reason = "each test binary draws what it needs")]

use proptest::{collection::vec, option, prelude::*, sample::select};
use remotemedia_shm_schema::channel::{Form, Place};
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::*;
use remotemedia_shm_schema::header::{MAX_CHANNELS, MAX_SIDE, MAX_STAMPS};
use remotemedia_shm_schema::*;

pub(crate) fn codec() -> impl Strategy<Value = Codec> {
    select(vec![Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264])
}

fn parsed<T: std::str::FromStr + std::fmt::Debug>(
    grammar: &'static str,
) -> impl Strategy<Value = T> {
    grammar.prop_filter_map("reserved", |text: String| text.parse().ok())
}

pub(crate) fn session() -> impl Strategy<Value = SessionId> {
    parsed("[A-Za-z0-9_-]{1,64}")
}

pub(crate) fn peer() -> impl Strategy<Value = PeerId> {
    parsed("[A-Za-z0-9_-]{1,64}")
}

pub(crate) fn track() -> impl Strategy<Value = TrackId> {
    parsed("(audio|video)[0-9]{1,2}(~[A-Za-z0-9]{1,16})?")
}

fn short<T: std::str::FromStr + std::fmt::Debug>() -> impl Strategy<Value = T> {
    parsed("[a-z0-9_-]{1,32}")
}

pub(crate) fn channel() -> impl Strategy<Value = ChannelName> {
    let form = select(vec![Form::Raw, Form::Encoded]);
    let place = prop_oneof![
        (peer(), track(), form).prop_map(|(peer, track, form)| Place::In { peer, track, form }),
        (short(), short(), option::of(peer())).prop_map(|(node, port, peer)| Place::Node {
            node,
            port,
            peer
        }),
        (short(), option::of(peer())).prop_map(|(output, peer)| Place::OutRaw { output, peer }),
        (short(), option::of(peer()), short(), codec()).prop_map(|(output, peer, tier, codec)| {
            Place::OutEncoded { output, peer, tier, codec }
        }),
    ];
    (session(), place).prop_map(|(session, place)| ChannelName { session, place })
}

/// Any layout that fits into its own payload, with gaps between planes and behind rows.
pub(crate) fn picture() -> impl Strategy<Value = VideoGeometry> {
    let side = prop_oneof![1..=64u16, 1..=MAX_SIDE];
    (
        (side.clone(), side, 0..=7u32),
        ([0..3u32, 0..3, 0..3], [0..100u32, 0..100, 0..100]),
        (0..4usize, any::<bool>(), 0..4u16),
    )
        .prop_map(|((width, height, log), (wider, gaps), (matrix, full, quarter))| {
            let alignment = 1u32 << log;
            let mut geometry = VideoGeometry {
                width,
                height,
                planes: [Plane::default(); 3],
                stride_alignment: alignment as u16,
                matrix: [
                    ColourMatrix::Unspecified,
                    ColourMatrix::Bt601,
                    ColourMatrix::Bt709,
                    ColourMatrix::Bt2020,
                ][matrix],
                range: if full { ColourRange::Full } else { ColourRange::Limited },
                rotation: quarter * 90,
            };
            let mut free = 0;
            for plane in 0..3 {
                let (columns, rows) = geometry.plane_size(plane);
                let stride = columns.next_multiple_of(alignment) + wider[plane] * alignment;
                let offset = free + gaps[plane];
                geometry.planes[plane] = Plane { offset, stride };
                free = offset + stride * rows;
            }
            geometry
        })
}

pub(crate) fn sound() -> impl Strategy<Value = AudioGeometry> {
    (8_000..=192_000u32, 1..=MAX_CHANNELS)
        .prop_flat_map(|(rate, channels)| (Just(rate), Just(channels), 1..=rate))
        .prop_map(|(rate, channels, samples)| AudioGeometry { rate, channels, samples })
}

pub(crate) fn flags() -> impl Strategy<Value = Flags> {
    (0..64u32).prop_filter_map("unknown bit", Flags::from_bits)
}

pub(crate) fn stamps() -> impl Strategy<Value = Stamps> {
    let stage = prop_oneof![
        select(vec![
            Stage::Received,
            Stage::Assembled,
            Stage::Decoded,
            Stage::Encoded,
            Stage::Sent
        ]),
        any::<u8>().prop_map(Stage::Node),
    ];
    vec((stage, any::<u64>()), 0..=MAX_STAMPS).prop_map(|list| {
        let mut stamps = Stamps::default();
        for (stage, ns) in list {
            stamps.push(Stamp { stage, ns });
        }
        stamps
    })
}

/// A frame and the length of its payload, as an honest producer would publish it.
pub(crate) fn frame() -> impl Strategy<Value = (Meta, u32)> {
    let content = prop_oneof![
        picture().prop_map(|g| (Content::Picture(g), g.payload_len() as u32)),
        sound().prop_map(|g| (Content::Sound(g), g.payload_len() as u32)),
        (codec(), 1..=600_000u32).prop_map(|(codec, length)| (Content::Coded(codec), length)),
        (1..=16_384u32).prop_map(|length| (Content::Data, length)),
    ];
    let counters = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>());
    let times = (any::<u64>(), any::<u64>(), any::<u32>());
    (content, flags(), stamps(), counters, times, any::<bool>()).prop_map(
        |((content, length), flags, stamps, counters, times, empty)| {
            let meta = Meta {
                content,
                flags,
                sequence: counters.0,
                epoch: counters.1,
                generation: counters.2,
                source: counters.3,
                media_time_ns: times.0,
                duration_ns: times.1,
                rtp_time: times.2,
                stamps,
            };
            let may_be_empty = [Flags::LOST, Flags::SILENCE, Flags::END]
                .into_iter()
                .any(|flag| flags.contains(flag));
            (meta, if empty && may_be_empty { 0 } else { length })
        },
    )
}

pub(crate) fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Router, Role::Codec, Role::Pipeline, Role::Custom])
}

pub(crate) fn encoding() -> impl Strategy<Value = Encoding> {
    select(vec![Encoding::Bincode, Encoding::Json])
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    (role(), "\\PC{0,16}", any::<u32>(), encoding()).prop_map(|(role, name, pid, encoding)| Hello {
        role,
        name,
        pid,
        encoding,
    })
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn spec() -> impl Strategy<Value = ChannelSpec> {
    let when_full = select(vec![
        WhenFull::NewestWins,
        WhenFull::OldestConcealed,
        WhenFull::UntilKeyframe,
        WhenFull::Paced,
        WhenFull::Lossless,
    ]);
    let contract = (any::<u32>(), when_full, any::<u32>())
        .prop_map(|(capacity, when_full, age)| Contract { capacity, when_full, max_age_ms: age });
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (channel(), text(), contract, numbers, vec(text(), 0..3)).prop_map(
        |(name, service, contract, (index, epoch, generation, max_payload, max_readers), wakes)| {
            ChannelSpec {
                index: ChannelIndex(index),
                name,
                service,
                epoch,
                generation,
                contract,
                max_payload,
                max_readers,
                wakes,
            }
        },
    )
}

fn task() -> impl Strategy<Value = Task> {
    let node = (short(), any::<u8>(), text(), text(), select(OnFailure::ALL.to_vec())).prop_map(
        |(id, number, kind, params, on_failure)| GraphNode { id, number, kind, params, on_failure },
    );
    let kind = prop_oneof![
        codec().prop_map(|codec| TaskKind::Decode { codec }),
        (codec(), any::<u32>(), any::<u16>(), any::<u16>(), any::<u32>()).prop_map(
            |(codec, bitrate, max_width, max_height, frame_rate)| {
                TaskKind::EncodeVideo(VideoEncode {
                    codec,
                    bitrate,
                    max_width,
                    max_height,
                    frame_rate,
                })
            }
        ),
        (any::<u32>(), any::<u8>(), any::<bool>(), any::<u8>(), any::<bool>(), any::<u8>())
            .prop_map(|(bitrate, channels, fec, expected_loss, dtx, complexity)| {
                TaskKind::EncodeAudio(AudioEncode {
                    bitrate,
                    channels,
                    fec,
                    expected_loss,
                    dtx,
                    complexity,
                })
            }),
        vec(node, 0..4).prop_map(|nodes| TaskKind::Graph { nodes }),
        Just(TaskKind::Tap),
        Just(TaskKind::Enter),
        Just(TaskKind::Exit),
        select(Media::ALL.to_vec()).prop_map(|media| TaskKind::Source { media }),
    ];
    (any::<u32>(), kind, option::of(spec()), option::of(spec()), text(), any::<u32>(), any::<u32>())
        .prop_map(|(id, kind, input, output, wake, max_raw, frame_limit_ms)| Task {
            id: TaskId(id),
            kind,
            input,
            output,
            wake,
            max_raw,
            frame_limit_ms,
        })
}

fn reason() -> impl Strategy<Value = KeyframeReason> {
    select(vec![KeyframeReason::Viewer, KeyframeReason::Decoder, KeyframeReason::Overflow])
}

pub(crate) fn to_worker() -> impl Strategy<Value = ToWorker> {
    let change = prop_oneof![
        task().prop_map(Change::Add),
        (any::<u32>(), option::of(spec()), option::of(spec()))
            .prop_map(|(task, input, output)| Change::Rewire { task: TaskId(task), input, output }),
        any::<u32>().prop_map(|task| Change::Remove(TaskId(task))),
    ];
    let (number, channel) = (any::<u32>(), any::<u32>().prop_map(ChannelIndex));
    prop_oneof![
        (session(), text(), text()).prop_map(|(session, prefix, root)| ToWorker::Assign {
            session,
            namespace: Namespace { prefix, root }
        }),
        (session(), number, vec(change, 0..4))
            .prop_map(|(session, epoch, changes)| ToWorker::Prepare { session, epoch, changes }),
        (session(), number).prop_map(|(session, epoch)| ToWorker::Switch { session, epoch }),
        (session(), number).prop_map(|(session, epoch)| ToWorker::Abandon { session, epoch }),
        (session(), channel.clone(), number, reason()).prop_map(
            |(session, channel, epoch, reason)| ToWorker::Keyframe {
                session,
                channel,
                epoch,
                reason
            }
        ),
        (session(), channel, number, number).prop_map(
            |(session, channel, epoch, bits_per_second)| {
                ToWorker::Bitrate { session, channel, epoch, bits_per_second }
            }
        ),
        (session(), any::<u32>(), number, any::<u64>()).prop_map(
            |(session, channel, epoch, media_time_ns)| ToWorker::Repeat {
                session,
                channel: ChannelIndex(channel),
                epoch,
                media_time_ns
            }
        ),
        (session(), any::<u32>(), vec(text(), 0..3), vec(spec(), 0..3)).prop_map(
            |(session, epoch, wakes, channels)| ToWorker::Create {
                session,
                epoch,
                wakes,
                channels
            }
        ),
        (session(), vec(text(), 0..3))
            .prop_map(|(session, services)| ToWorker::Forget { session, services }),
        text().prop_map(|error| ToWorker::Denied { error }),
        Just(ToWorker::Done),
        (session(), short(), text(), number).prop_map(|(session, node, params, request)| {
            ToWorker::Params { session, node, params, request }
        }),
        session().prop_map(|session| ToWorker::Release { session }),
        Just(ToWorker::Drain),
    ]
}

pub(crate) fn to_router() -> impl Strategy<Value = ToRouter> {
    let node = (text(), text(), any::<bool>(), any::<bool>(), text()).prop_map(
        |(kind, summary, video, audio, params_schema)| NodeDescription {
            kind,
            summary,
            video,
            audio,
            params_schema,
        },
    );
    let counters = (any::<[u64; 6]>(), any::<[u64; DropReason::ALL.len()]>()).prop_map(
        |([received, published, copied_bytes, concealed, errors, keyframes], dropped)| Counters {
            received,
            published,
            copied_bytes,
            concealed,
            errors,
            keyframes,
            dropped,
        },
    );
    let beat = (session(), any::<u32>(), any::<u64>(), option::of(any::<u64>()), counters)
        .prop_map(|(session, task, frames, busy_since_ns, counters)| ThreadBeat {
            session,
            task: TaskId(task),
            frames,
            busy_since_ns,
            counters,
        });
    let (number, channel) = (any::<u32>(), any::<u32>().prop_map(ChannelIndex));
    prop_oneof![
        (vec(codec(), 0..4), vec(node, 0..4))
            .prop_map(|(codecs, nodes)| ToRouter::Catalogue(Catalogue { codecs, nodes })),
        (session(), any::<u8>(), any::<bool>()).prop_map(|(session, landlock, seccomp)| {
            ToRouter::Assigned { session, sandbox: Sandbox { landlock, seccomp } }
        }),
        (session(), number).prop_map(|(session, epoch)| ToRouter::Ready { session, epoch }),
        (session(), number, text()).prop_map(|(session, epoch, error)| ToRouter::Refused {
            session,
            epoch,
            error
        }),
        (session(), channel, number, reason()).prop_map(|(session, channel, epoch, reason)| {
            ToRouter::KeyframeWanted { session, channel, epoch, reason }
        }),
        (session(), number, option::of(text()))
            .prop_map(|(session, request, error)| ToRouter::Applied { session, request, error }),
        (session(), short(), text()).prop_map(|(session, node, error)| ToRouter::NodeError {
            session,
            node,
            error
        }),
        (any::<u64>(), vec(beat, 0..4))
            .prop_map(|(sequence, threads)| ToRouter::Heartbeat { sequence, threads }),
        session().prop_map(|session| ToRouter::Released { session }),
        Just(ToRouter::Drained),
        (session(), text()).prop_map(|(session, error)| ToRouter::Unassigned { session, error }),
        attach().prop_map(ToRouter::Attach),
        (session(), any::<u32>(), option::of(text()))
            .prop_map(|(session, epoch, error)| ToRouter::Created { session, epoch, error }),
        Just(ToRouter::Detach),
        operation().prop_map(ToRouter::Operate),
        (session(), vec(text(), 0..4))
            .prop_map(|(session, ports)| ToRouter::Residue { session, ports }),
    ]
}

fn attach() -> impl Strategy<Value = Attach> {
    prop_oneof![
        channel().prop_map(|channel| Attach::Tap { channel }),
        (channel(), short(), select(OnFailure::ALL.to_vec()))
            .prop_map(|(channel, node, on_failure)| Attach::Insert { channel, node, on_failure }),
        (session(), peer(), select(Media::ALL.to_vec()))
            .prop_map(|(session, peer, media)| Attach::Source { session, peer, media }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (session(), option::of(short()))
            .prop_map(|(session, node)| Operation::Restart { session, node }),
        (session(), text()).prop_map(|(session, name)| Operation::Detach { session, name }),
        session().prop_map(|session| Operation::Close { session }),
    ]
}
