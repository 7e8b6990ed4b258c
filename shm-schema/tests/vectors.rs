//! `vectors/*.json`: what readers in other languages are tested against, kept in step with the code.
//!
//! `REMOTEMEDIA_REGENERATE=1 cargo test --release -p remotemedia-shm-schema` writes them anew.

mod kept;

use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::*;
use remotemedia_shm_schema::{
    AudioGeometry, ChannelIndex, ChannelName, Codec, Content, Contract, Flags, FrameHeader, Media,
    Meta, SessionId, Stage, Stamp, VideoGeometry,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn the_hello_is_the_one_that_other_languages_know() {
    let roles =
        [Role::Router, Role::Codec, Role::Pipeline, Role::Custom, Role::Operator, Role::Steward];
    let vectors = roles.into_iter().map(|role| {
        let by_hand = matches!(role, Role::Custom | Role::Operator);
        let encoding = if by_hand { Encoding::Json } else { Encoding::Bincode };
        let hello = Hello { role, name: format!("{role:?}").to_lowercase(), pid: 4711, encoding };
        json!({ "hello": hello, "bytes": hex(&hello.to_bytes()) })
    });
    kept::in_step("vectors/hello.json", &pretty(vectors));
}

#[test]
fn the_messages_to_a_worker_are_the_ones_that_other_languages_know() {
    let messages = to_worker();
    let kinds: BTreeSet<&str> = messages
        .iter()
        .map(|message| match message {
            // A new message makes the compiler point here: give it a vector.
            ToWorker::Assign { .. } => "assign",
            ToWorker::Prepare { .. } => "prepare",
            ToWorker::Switch { .. } => "switch",
            ToWorker::Abandon { .. } => "abandon",
            ToWorker::Keyframe { .. } => "keyframe",
            ToWorker::Bitrate { .. } => "bitrate",
            ToWorker::Params { .. } => "params",
            ToWorker::Release { .. } => "release",
            ToWorker::Drain => "drain",
            ToWorker::Repeat { .. } => "repeat",
            ToWorker::Denied { .. } => "denied",
            ToWorker::Done => "done",
            ToWorker::Create { .. } => "create",
            ToWorker::Forget { .. } => "forget",
        })
        .collect();
    assert_eq!(kinds.len(), 14, "{kinds:?}");
    kept::in_step("vectors/to_worker.json", &pretty(messages.iter().map(vector)));
}

#[test]
fn the_messages_to_the_router_are_the_ones_that_other_languages_know() {
    let messages = to_router();
    let kinds: BTreeSet<&str> = messages
        .iter()
        .map(|message| match message {
            // A new message makes the compiler point here: give it a vector.
            ToRouter::Catalogue(_) => "catalogue",
            ToRouter::Assigned { .. } => "assigned",
            ToRouter::Ready { .. } => "ready",
            ToRouter::Refused { .. } => "refused",
            ToRouter::KeyframeWanted { .. } => "keyframe_wanted",
            ToRouter::Applied { .. } => "applied",
            ToRouter::NodeError { .. } => "node_error",
            ToRouter::Heartbeat { .. } => "heartbeat",
            ToRouter::Released { .. } => "released",
            ToRouter::Drained => "drained",
            ToRouter::Unassigned { .. } => "unassigned",
            ToRouter::Attach(_) => "attach",
            ToRouter::Detach => "detach",
            ToRouter::Operate(_) => "operate",
            ToRouter::Created { .. } => "created",
            ToRouter::Residue { .. } => "residue",
        })
        .collect();
    assert_eq!(kinds.len(), 16, "{kinds:?}");
    kept::in_step("vectors/to_router.json", &pretty(messages.iter().map(vector)));
}

#[test]
fn the_frame_header_is_the_one_that_other_languages_know() {
    let mut picture = Meta::new(Content::Picture(VideoGeometry::i420(321, 181)));
    picture.flags = Flags::KEYFRAME.with(Flags::DISCONTINUITY);
    (picture.sequence, picture.epoch, picture.generation, picture.source) = (7, 2, 3, 9);
    (picture.media_time_ns, picture.duration_ns) = (1_000_000_007, 33_333_333);
    picture.rtp_time = 0xdead_beef;
    for (stage, ns) in [(Stage::Received, 10), (Stage::Assembled, 20), (Stage::Node(5), 30)] {
        picture.stamps.push(Stamp { stage, ns });
    }
    let sound =
        Meta::new(Content::Sound(AudioGeometry { rate: 48_000, channels: 2, samples: 480 }));
    let mut lost = Meta::new(Content::Coded(Codec::Opus));
    (lost.flags, lost.duration_ns) = (Flags::LOST, 20_000_000);
    let frames = [
        ("a picture", picture, VideoGeometry::i420(321, 181).payload_len() as u32),
        ("a block of sound", sound, 3840),
        ("an access unit", Meta::new(Content::Coded(Codec::H264)), 1234),
        ("a lost packet", lost, 0),
        ("data", Meta::new(Content::Data), 5),
    ];
    let vectors = frames.map(|(what, meta, length)| {
        let header = meta.to_wire(length);
        assert_eq!(header.check(length as usize), Ok(meta), "{what}");
        json!({ "what": what, "fields": fields(&header), "bytes": hex(bytemuck::bytes_of(&header)) })
    });
    kept::in_step("vectors/frame_header.json", &pretty(vectors));
}

fn vector<M: serde::Serialize>(message: &M) -> Value {
    let bytes = |encoding| hex(&encode(encoding, message).expect("short enough"));
    json!({
        "message": message,
        "json_frame": bytes(Encoding::Json),
        "bincode_frame": bytes(Encoding::Bincode),
    })
}

fn pretty(vectors: impl IntoIterator<Item = Value>) -> String {
    let list: Vec<Value> = vectors.into_iter().collect();
    serde_json::to_string_pretty(&list).expect("values are writable") + "\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fields(h: &FrameHeader) -> Value {
    json!({
        "abi": h.abi, "kind": h.kind, "format": h.format, "codec": h.codec,
        "stamp_count": h.stamp_count, "flags": h.flags, "epoch": h.epoch,
        "generation": h.generation, "rtp_time": h.rtp_time, "sequence": h.sequence,
        "source": h.source, "media_time_ns": h.media_time_ns, "duration_ns": h.duration_ns,
        "width": h.width, "height": h.height, "rotation": h.rotation,
        "stride_alignment": h.stride_alignment, "matrix": h.matrix, "range": h.range,
        "channels": h.channels, "rate": h.rate, "samples": h.samples,
        "payload_len": h.payload_len,
        "planes": h.planes.map(|p| json!({ "offset": p.offset, "stride": p.stride })),
        "stamps": h.stamps.iter().take(usize::from(h.stamp_count))
            .map(|s| json!({ "ns": s.ns, "stage": s.stage })).collect::<Vec<_>>(),
    })
}

fn session() -> SessionId {
    "demo".parse().expect("a valid id")
}

fn channel(name: &str) -> ChannelName {
    name.parse().expect("a valid name")
}

fn spec(index: u32, name: &str, contract: Contract, max_payload: u32) -> ChannelSpec {
    ChannelSpec {
        index: ChannelIndex(index),
        name: channel(name),
        service: format!("c{index}_g1"),
        epoch: 1,
        generation: 1,
        contract,
        max_payload,
        max_readers: 2,
        wakes: vec![format!("w{index}")],
    }
}

fn task(id: u32, kind: TaskKind) -> Task {
    let raw = VideoGeometry::i420(320, 180).payload_len() as u32;
    Task {
        id: TaskId(id),
        kind,
        input: Some(spec(1, "rm/demo/in/anna/video0/encoded", Contract::ENCODED_VIDEO, 512 * 1024)),
        output: Some(spec(2, "rm/demo/in/anna/video0~hi/raw", Contract::RAW_VIDEO, raw)),
        wake: "w1".into(),
        max_raw: raw,
        frame_limit_ms: 250,
    }
}

fn to_worker() -> Vec<ToWorker> {
    let (session, epoch) = (session(), 2);
    let node = GraphNode {
        id: "gray".parse().expect("a valid id"),
        number: 0,
        kind: "Grayscale".into(),
        params: "{}".into(),
        on_failure: OnFailure::Hold,
    };
    let video = VideoEncode {
        codec: Codec::Vp9,
        bitrate: 1_500_000,
        max_width: 1280,
        max_height: 720,
        frame_rate: 30,
    };
    let audio = AudioEncode {
        bitrate: 32_000,
        channels: 1,
        fec: true,
        expected_loss: 10,
        dtx: false,
        complexity: 5,
    };
    let changes = vec![
        Change::Add(task(1, TaskKind::Decode { codec: Codec::Vp8 })),
        Change::Add(task(2, TaskKind::EncodeVideo(video))),
        Change::Add(task(3, TaskKind::EncodeAudio(audio))),
        Change::Add(task(4, TaskKind::Graph { nodes: vec![node] })),
        Change::Add(Task { output: None, ..task(7, TaskKind::Tap) }),
        Change::Add(Task { input: None, ..task(9, TaskKind::Enter) }),
        Change::Add(Task { output: None, ..task(10, TaskKind::Exit) }),
        Change::Add(Task { input: None, ..task(8, TaskKind::Source { media: Media::Video }) }),
        Change::Rewire {
            task: TaskId(5),
            input: Some(spec(3, "rm/demo/node/gray.out@anna/raw", Contract::RAW_AUDIO, 3840)),
            output: Some(spec(
                4,
                "rm/demo/out/main@anna/full.vp9/encoded",
                Contract::ENCODED_AUDIO,
                9,
            )),
        },
        Change::Rewire {
            task: TaskId(7),
            input: Some(spec(3, "rm/demo/node/gray.out@anna/raw", Contract::RAW_AUDIO, 3840)),
            output: None,
        },
        Change::Remove(TaskId(6)),
    ];
    let namespace =
        Namespace { prefix: "m0123456789abcdef_".into(), root: "/run/x/0123456789ab".into() };
    let channel = ChannelIndex(4);
    let keyframe = |reason| ToWorker::Keyframe { session: session.clone(), channel, epoch, reason };
    vec![
        ToWorker::Assign { session: session.clone(), namespace },
        ToWorker::Prepare { session: session.clone(), epoch, changes },
        ToWorker::Switch { session: session.clone(), epoch },
        ToWorker::Abandon { session: session.clone(), epoch },
        keyframe(KeyframeReason::Viewer),
        keyframe(KeyframeReason::Decoder),
        keyframe(KeyframeReason::Overflow),
        ToWorker::Bitrate { session: session.clone(), channel, epoch, bits_per_second: 900_000 },
        ToWorker::Params {
            session: session.clone(),
            node: "blur".parse().expect("a valid id"),
            params: r#"{"sigma":2.5}"#.into(),
            request: 1,
        },
        ToWorker::Release { session: session.clone() },
        ToWorker::Drain,
        ToWorker::Create {
            session: session.clone(),
            epoch,
            wakes: vec!["w1".into()],
            channels: vec![spec(3, "rm/demo/node/gray.out/raw", Contract::RAW_AUDIO, 3840)],
        },
        ToWorker::Forget { session: session.clone(), services: vec!["w0".into()] },
        ToWorker::Repeat { session, channel, epoch, media_time_ns: 1_000_000_007 },
        ToWorker::Denied { error: "there is no such channel".into() },
        ToWorker::Done,
    ]
}

fn to_router() -> Vec<ToRouter> {
    let (session, epoch) = (session(), 2);
    let catalogue = Catalogue {
        codecs: vec![Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264],
        nodes: vec![NodeDescription {
            kind: "Grayscale".into(),
            summary: "Takes the colour out.".into(),
            video: true,
            audio: false,
            params_schema: r#"{"type":"object"}"#.into(),
        }],
    };
    let mut counters =
        Counters { received: 100, published: 98, keyframes: 1, ..Counters::default() };
    counters.dropped[DropReason::Overflow.index()] = 2;
    let beat = |busy_since_ns| ThreadBeat {
        session: session.clone(),
        task: TaskId(1),
        frames: 98,
        busy_since_ns,
        counters,
    };
    let applied = |error| ToRouter::Applied { session: session.clone(), request: 1, error };
    vec![
        ToRouter::Catalogue(catalogue),
        ToRouter::Assigned {
            session: session.clone(),
            sandbox: Sandbox { landlock: 7, seccomp: true },
        },
        ToRouter::Assigned { session: session.clone(), sandbox: Sandbox::default() },
        ToRouter::Ready { session: session.clone(), epoch },
        ToRouter::Refused { session: session.clone(), epoch, error: "no such node".into() },
        ToRouter::KeyframeWanted {
            session: session.clone(),
            channel: ChannelIndex(1),
            epoch,
            reason: KeyframeReason::Decoder,
        },
        applied(None),
        applied(Some("sigma must be positive".into())),
        ToRouter::NodeError {
            session: session.clone(),
            node: "gray".parse().expect("a valid id"),
            error: "out of colours".into(),
        },
        ToRouter::Heartbeat { sequence: 12, threads: vec![beat(None), beat(Some(u64::MAX))] },
        ToRouter::Released { session: session.clone() },
        ToRouter::Drained,
        ToRouter::Unassigned { session: session.clone(), error: "no memory is left".into() },
        ToRouter::Attach(Attach::Tap { channel: channel("rm/demo/out/main-video@anna/raw") }),
        ToRouter::Attach(Attach::Insert {
            channel: channel("rm/demo/in/anna/audio0/raw"),
            node: "louder".parse().expect("a valid id"),
            on_failure: OnFailure::Bypass,
        }),
        ToRouter::Attach(Attach::Source {
            session: session.clone(),
            peer: "tone".parse().expect("a valid id"),
            media: Media::Audio,
        }),
        ToRouter::Created { session: session.clone(), epoch, error: None },
        ToRouter::Detach,
        ToRouter::Operate(Operation::Restart { session: session.clone(), node: None }),
        ToRouter::Operate(Operation::Restart {
            session: session.clone(),
            node: Some("blur".parse().expect("a valid id")),
        }),
        ToRouter::Operate(Operation::Detach { session: session.clone(), name: "louder".into() }),
        ToRouter::Operate(Operation::Close { session: session.clone() }),
        ToRouter::Residue { session, ports: vec!["7".into(), u128::MAX.to_string()] },
    ]
}
