//! What a person reads who wrote a manifest with a fault in it: each case with every fault that is told, and no other.

mod support;

use remotemedia_manifest::{Document, Format, Origin, check, limits};
use serde_json::{Value, json};
use support::{World, manifest, world};

/// A manifest's text, and the faults of it in their order: where, and words of what is said. A text that does not begin with
/// a brace or a bracket is what stands inside `{"pipeline": {…}}`.
type Case = (&'static str, &'static [(&'static str, &'static str)]);

const OF_THE_WHOLE: &[Case] = &[
    ("[]", &[("", "must be an object, and is a list")]),
    ("{}", &[("", "`pipeline` is missing; a manifest is {\"pipeline\"")]),
    (r#"{"pipeline": 7}"#, &[("/pipeline", "must be an object, and is the number 7")]),
    (r#"{"pipeline": {"nodes": []}, "version": 1}"#, &[("/version", "unknown key `version`")]),
    (
        r#"{"pipeline": {"nodes": []}, "description": 7}"#,
        &[("/description", "must be a text, and is the number 7")],
    ),
    (r#""nodes": [], "name": "x""#, &[("/pipeline/name", "unknown key `name`")]),
    (r#""graph": []"#, &[("/pipeline", "`nodes` is missing")]),
    (r#""nodes": {}"#, &[("/pipeline/nodes", "must be a list, and is an object")]),
];

const OF_NODES: &[Case] = &[
    (r#""nodes": ["a"]"#, &[("/pipeline/nodes/0", "must be an object, and is the text `a`")]),
    (r#""nodes": [{"type": "Grayscale"}]"#, &[("/pipeline/nodes/0", "`id` is missing")]),
    (r#""nodes": [{"id": "a"}]"#, &[("/pipeline/nodes/0", "`type` is missing")]),
    (
        r#""nodes": [{"id": 7, "type": "Grayscale"}]"#,
        &[("/pipeline/nodes/0/id", "must be a text, and is the number 7")],
    ),
    (
        r#""nodes": [{"id": "input", "type": "Grayscale"}]"#,
        &[("/pipeline/nodes/0/id", "and not `input` or `output`")],
    ),
    (
        r#""nodes": [{"id": "My Node", "type": "Grayscale"}]"#,
        &[("/pipeline/nodes/0/id", "1 to 32 of the letters a-z, digits, `_` and `-`")],
    ),
    (
        r#""nodes": [{"id": "My Node", "type": "Grayscale"}]"#,
        &[("/pipeline/nodes/0/id", "`my-node` would do")],
    ),
    (
        r#""nodes": [{"id": "b", "type": "Grayscale"}, {"id": "b", "type": "Grayscale"}]"#,
        &[("/pipeline/nodes/1/id", "`b` is already the id of /pipeline/nodes/0")],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Grayscale", "parms": {}}]"#,
        &[("/pipeline/nodes/0/parms", "unknown key `parms`; did you mean `params`?")],
    ),
    (
        r#""nodes": [{"id": "b", "type": "Bluur"}]"#,
        &[("/pipeline/nodes/0/type", "unknown node type `Bluur`; did you mean `GaussianBlur`?")],
    ),
    (
        r#""nodes": [{"id": "f", "type": "Faces"}]"#,
        &[("/pipeline/nodes/0/type", "the worker `faces` has it: say `worker`")],
    ),
    (
        r#""nodes": [{"id": "g", "type": "Gain", "worker": "faces"}]"#,
        &[("/pipeline/nodes/0/type", "of the worker `faces`; our own worker has it")],
    ),
    (
        r#""nodes": [{"id": "f", "type": "Faces", "worker": "face"}]"#,
        &[("/pipeline/nodes/0/worker", "describes no worker `face`; did you mean `faces`?")],
    ),
    (
        r#""nodes": [{"id": "x", "type": "Broken", "worker": "odd"}]"#,
        &[("/pipeline/nodes/0/type", "its worker offers `Broken` wrongly: its output `video`")],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Grayscale", "on_failure": "bypas"}]"#,
        &[("/pipeline/nodes/0/on_failure", "hold, bypass, close; did you mean `bypass`?")],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Grayscale", "frame_limit_ms": 5}]"#,
        &[("/pipeline/nodes/0/frame_limit_ms", "is the number 5; a whole number from 10 to 60000")],
    ),
    (
        r#""nodes": [{"id": "m", "type": "Mixer", "on_failure": "bypass"}]"#,
        &[("/pipeline/nodes/0/on_failure", "nothing that it takes could stand in for `m.audio`")],
    ),
    (
        r#""nodes": [{"id": "d", "type": "Duo", "on_failure": "bypass"}, {"id": "t", "type": "Tone"}],
           "graph": [{"from": "input.audio", "to": "d.left"}, {"from": "t", "to": "d.right"},
                     {"from": "d", "to": "output"}]"#,
        &[("/pipeline/nodes/0/on_failure", "any of left, right could stand in for `d.audio`")],
    ),
    (
        r#""nodes": [{"id": "o", "type": "OverlayPicture"}]"#,
        &[("/pipeline/nodes/0", "several inputs of video: `base`, `picture`; say in `graph`")],
    ),
    (
        r#""nodes": [{"id": "b", "type": "Grayscale"}, {"id": "p", "type": "Picture"}]"#,
        &[("/pipeline/nodes/0", "`b` leads nowhere")],
    ),
];

const OF_QUEUES: &[Case] = &[
    (
        r#""nodes": [{"id": "a", "type": "Grayscale", "queue": {"capacity": 17}}]"#,
        &[("/pipeline/nodes/0/queue/capacity", "a whole number from 1 to 16 is allowed")],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Gain", "queue": {"capacity": 65, "max_age_ms": -1}}]"#,
        &[
            ("/pipeline/nodes/0/queue/capacity", "a whole number from 1 to 64 is allowed"),
            ("/pipeline/nodes/0/queue/max_age_ms", "a whole number from 0 to 30000 is allowed"),
        ],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Grayscale", "queue": {"when_full": "until_keyframe"}}]"#,
        &[("/pipeline/nodes/0/queue/when_full", "newest_wins, oldest_concealed, paced, lossless")],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Grayscale", "queue": {"when_full": "oldest_concealed"}}]"#,
        &[("/pipeline/nodes/0/queue/when_full", "only sound can be concealed")],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Gain", "queue": {"when_full": "lossless", "max_age_ms": 9}}]"#,
        &[("/pipeline/nodes/0/queue/when_full", "contradicts `max_age_ms`")],
    ),
    (
        r#""nodes": [{"id": "r", "type": "Recorder", "params": {"path": "a"}, "queue": {}}]"#,
        &[("/pipeline/nodes/0/queue", "`r` writes no channel; say it at the node")],
    ),
    (
        r#""nodes": [{"id": "a", "type": "Gain", "queue": {"size": 3}}]"#,
        &[("/pipeline/nodes/0/queue/size", "unknown key `size`")],
    ),
];

const OF_PARAMETERS: &[Case] = &[
    (
        r#""nodes": [{"id": "g", "type": "Gain", "params": [1]}]"#,
        &[("/pipeline/nodes/0/params", "must be an object, and is a list")],
    ),
    (
        r#""nodes": [{"id": "b", "type": "GaussianBlur", "params": {"sigma": 99}}]"#,
        &[("/pipeline/nodes/0/params/sigma", "is 99; allowed is 0.1 to 50")],
    ),
    (
        r#""nodes": [{"id": "g", "type": "Gain", "params": {"gain_bd": 3, "mute": "yes"}}]"#,
        &[
            ("/pipeline/nodes/0/params/gain_bd", "did you mean `gain_db`?"),
            ("/pipeline/nodes/0/params/mute", "must be true or false, and is the text `yes`"),
        ],
    ),
    (
        r#""nodes": [{"id": "o", "type": "OverlayPicture", "params": {"at": "middle"}},
                     {"id": "p", "type": "Picture"}],
           "graph": [{"from": "input.video", "to": "o.base"}, {"from": "p", "to": "o.picture"},
                     {"from": "o", "to": "output"}]"#,
        &[("/pipeline/nodes/0/params/at", "allowed are \"left\", \"right\"")],
    ),
    (
        r#""nodes": [{"id": "r", "type": "Recorder"}]"#,
        &[("/pipeline/nodes/0", "the parameter `path` is missing")],
    ),
];

const BLUR: &str = r#""nodes": [{"id": "blur", "type": "GaussianBlur"}], "graph": "#;

/// As [`Case`], of the graph of a single blur.
const OF_ENDS: &[Case] = &[
    ("{}", &[("/pipeline/graph", "must be a list, and is an object")]),
    ("[7]", &[("/pipeline/graph/0", "must be an object, and is the number 7")]),
    (
        r#"[{"from": "input", "to": "blur", "via": 1}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/0/via", "unknown key `via`")],
    ),
    (
        r#"[{"from": "blur"}, {"from": "input", "to": "blur"}]"#,
        &[("/pipeline/graph/0", "`to` is missing")],
    ),
    (
        r#"[{"from": "input", "to": "blr"}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/0/to", "no node has the id `blr`; did you mean `blur`?")],
    ),
    (
        r#"[{"from": "input", "to": "xyz"}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/0/to", "known are `blur`, `input`, `output`")],
    ),
    (
        r#"[{"from": "output", "to": "blur"}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/0/from", "nothing comes from `output`; perhaps `from` and `to`")],
    ),
    (
        r#"[{"from": "blur", "to": "input"}, {"from": "input", "to": "blur"}]"#,
        &[("/pipeline/graph/0/to", "nothing goes to `input`")],
    ),
    (
        r#"[{"from": "input", "to": "blur.video.x"}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/0/to", "`blur.video.x` has too many parts")],
    ),
    (
        r#"[{"from": "input", "to": "blur.vidoe"}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/0/to", "`blur` has no input `vidoe`; did you mean `video`?")],
    ),
    (
        r#"[{"from": "input.vidoe", "to": "blur"}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/0/from", "there is no port `vidoe`; did you mean `video`?")],
    ),
    (
        r#"[{"from": "input", "to": "blur"}, {"from": "blur", "to": "output.vidoe"}]"#,
        &[("/pipeline/graph/1/to", "no port `vidoe`, and no output may be called so; did you")],
    ),
    (
        r#"[{"from": "input", "to": "blur"}, {"from": "blur", "to": "output.video.audio"}]"#,
        &[("/pipeline/graph/1/to", "`video` is a port, and no output may be called so")],
    ),
    (
        r#"[{"from": "input", "to": "blur"}, {"from": "blur", "to": "output.Low"}]"#,
        &[("/pipeline/graph/1/to", "output id \"Low\" is not valid")],
    ),
    (
        r#"[{"from": "input", "to": "blur"}, {"from": "blur", "to": "output.abcdefghijklmnopqrstuvwxyza"}]"#,
        &[("/pipeline/graph/1/to", "has 27 letters; 26 are allowed")],
    ),
    (
        r#"[{"from": "input", "to": "blur"}, {"from": "input", "to": "blur"}, {"from": "blur", "to": "output"}]"#,
        &[("/pipeline/graph/1", "/pipeline/graph/0 leads into `blur.video` already")],
    ),
    ("[]", &[("/pipeline/nodes/0", "`blur` is not connected; add edges to it and from it")]),
    (
        r#"[{"from": "blur", "to": "output"}]"#,
        &[("/pipeline/nodes/0", "`blur` gets nothing; add an edge to `blur.video` (video)")],
    ),
    (
        r#"[{"from": "input", "to": "blur"}]"#,
        &[("/pipeline/nodes/0", "`blur` leads nowhere; add an edge from `blur.video` (video)")],
    ),
];

/// Nodes (`id type`), edges (`from to`), and the faults.
type Wired =
    (&'static [&'static str], &'static [&'static str], &'static [(&'static str, &'static str)]);

const OF_WIRES: &[Wired] = &[
    (
        &["g Gain"],
        &["input.video g", "g output"],
        &[("/pipeline/graph/0/to", "what comes from there is video, and `g` takes audio")],
    ),
    (
        &["b GaussianBlur", "g Gain", "s Grayscale"],
        &["input b", "b g", "g s", "s output"],
        &[
            ("/pipeline/graph/1/to", "is video, and `g` takes audio"),
            ("/pipeline/graph/2/to", "is audio, and `s` takes video"),
        ],
    ),
    (
        &["v VoiceActivity", "l Log"],
        &["input v", "v output", "input.audio l"],
        &[("/pipeline/graph/2/to", "is audio, and `l` takes data")],
    ),
    (
        &["t Tee"],
        &["input.video t", "t.c output", "t.a output.low"],
        &[("/pipeline/graph/1/from", "`t` has no output `c`; it has `a` (video), `b` (video)")],
    ),
    (
        &["t Tee"],
        &["input.video t", "t output"],
        &[(
            "/pipeline/graph/1/from",
            "several ports of video; say which one in `from`: `t.a`, `t.b`",
        )],
    ),
    (
        &["o OverlayPicture", "p Picture"],
        &["input.video o", "p o.picture", "o output"],
        &[("/pipeline/graph/0/to", "say which one in `to`: `o.base`, `o.picture`")],
    ),
    (
        &["o OverlayPicture"],
        &["input.video o.base", "o output"],
        &[("/pipeline/nodes/0", "nothing leads into `o.picture` (video)")],
    ),
    (
        &["p Passthrough"],
        &["input.video p", "p.audio output"],
        &[("/pipeline/graph/1/from", "`p.audio` carries what `p.audio` takes, and nothing")],
    ),
    (
        &["t Tone"],
        &["input.audio t", "t output"],
        &[("/pipeline/graph/0/to", "`t` (Tone) takes nothing")],
    ),
    (
        &["l Log"],
        &["input.data l", "l output"],
        &[("/pipeline/graph/1/from", "`l` (Log) has no outputs")],
    ),
    (
        &["a Grayscale", "b Grayscale"],
        &["input.video a", "input.video b", "a output", "b output"],
        &[("/pipeline/graph/3/to", "`output.video` takes one stream, which /pipeline/graph/2")],
    ),
    (
        &["g Gain", "t Tone"],
        &["input.audio g", "t g", "g output"],
        &[(
            "/pipeline/graph/1/to",
            "`g.audio` takes one stream, which /pipeline/graph/0 brings; besides, that one is one of each peer, and \
             this one one for the session",
        )],
    ),
    (
        &["o OverlayPicture", "b Grayscale"],
        &["input.video o.base", "o b", "b o.picture", "b output"],
        &[("/pipeline/graph/1", "leads in a circle: `b` → `o` → `b`")],
    ),
    (
        &["o OverlayPicture"],
        &["input.video o.base", "o o.picture", "o output"],
        &[("/pipeline/graph/1", "leads from `o` into `o` itself")],
    ),
    (
        &["m Mixer", "n Mixer"],
        &["input.audio m", "m n", "n output"],
        &[(
            "/pipeline/graph/1/to",
            "`n.audio` gathers what peers send, and this stream is one for each listener",
        )],
    ),
    (
        &["d Ducker"],
        &["input.audio d.in", "input.audio d.key", "d output"],
        &[("/pipeline/graph/1/to", "its `key` takes one stream: this one is one of each peer")],
    ),
    (
        &["m Mixer", "d Duo"],
        &["input.audio m", "m d.left", "input.audio d.right", "d output"],
        &[("/pipeline/nodes/1", "`d` gets one stream that is one of each peer and another")],
    ),
];

/// As [`Case`], of the routes of an empty pipeline with the output `low` of sound.
const OF_ROUTES: &[Case] = &[
    ("7", &[("/pipeline/routes", "must be a list, and is the number 7")]),
    (r#"[{"output": "main"}]"#, &[("/pipeline/routes/0", "`to` is missing")]),
    (
        r#"[{"output": "high", "to": "all"}]"#,
        &[(
            "/pipeline/routes/0/output",
            "no edge leads to an output `high`; known are `low`, `main`",
        )],
    ),
    (
        r#"[{"output": "output.low", "to": "all"}]"#,
        &[("/pipeline/routes/0/output", "an output is named without `output.`: `low`")],
    ),
    (
        r#"[{"output": "main", "to": "other"}]"#,
        &[("/pipeline/routes/0/to", "nobody is called `other`; did you mean `others`?")],
    ),
    (
        r#"[{"output": "main", "to": "alice"}]"#,
        &[("/pipeline/routes/0/to", "nobody is called `alice`; a peer is {\"peer\": \"ID\"}")],
    ),
    (r#"[{"output": "main", "to": 7}]"#, &[("/pipeline/routes/0/to", "must be one of \"sender\"")]),
    (
        r#"[{"output": "main", "to": {"peer": "a b"}}]"#,
        &[("/pipeline/routes/0/to/peer", "is the text `a b`; 1 to 64 of the letters")],
    ),
    (
        r#"[{"output": "main", "to": {"peer": "router"}}]"#,
        &[("/pipeline/routes/0/to/peer", "`router` is the router itself")],
    ),
    (
        r#"[{"output": "main", "to": {"peer": "a", "role": "b"}}]"#,
        &[("/pipeline/routes/0/to", "must have either `peer` or `role`")],
    ),
    (
        r#"[{"output": "main", "to": {"per": "a"}}]"#,
        &[("/pipeline/routes/0/to/per", "unknown key `per`; did you mean `peer`?")],
    ),
    (
        r#"[{"output": "main", "to": "all"}, {"output": "main", "to": "all"}]"#,
        &[("/pipeline/routes/1", "`main` already goes there")],
    ),
    (
        r#"[{"output": "low", "to": "bandwidth"}]"#,
        &[("/pipeline/routes/0/to", "`low` has no pictures")],
    ),
];

#[test]
fn each_faulty_manifest_is_told_all_that_is_wrong_with_it_and_nothing_else() {
    let world = world();
    let inside = |text: &str| match text.as_bytes().first() {
        Some(b'{' | b'[') => text.to_owned(),
        _ => format!("{{\"pipeline\": {{{text}}}}}"),
    };
    for (text, expected) in [OF_THE_WHOLE, OF_NODES, OF_QUEUES, OF_PARAMETERS].into_iter().flatten()
    {
        told(&world, &inside(text), Origin::Operator, expected);
    }
    for (graph, expected) in OF_ENDS {
        told(&world, &inside(&format!("{BLUR}{graph}")), Origin::Operator, expected);
    }
    for (nodes, edges, expected) in OF_WIRES {
        told(&world, &manifest(nodes, edges).to_string(), Origin::Operator, expected);
    }
    for (routes, expected) in OF_ROUTES {
        let graph =
            r#"[{"from": "input", "to": "output"}, {"from": "input.audio", "to": "output.low"}]"#;
        let text = format!(r#""nodes": [], "graph": {graph}, "routes": {routes}"#);
        told(&world, &inside(&text), Origin::Operator, expected);
    }
}

#[test]
fn a_manifest_from_the_network_names_files_and_hosts_only_as_the_operator_allows() {
    let mut world = world();
    let of = |kind: &str, params: Value| {
        json!({"pipeline": {"nodes": [{"id": "x", "type": kind, "params": params}]}}).to_string()
    };
    let path = "/pipeline/nodes/0/params/path";
    for bad in ["/etc/passwd", "../x", "a/../../x"] {
        let text = of("FileSource", json!({"path": bad}));
        told(&world, &text, Origin::Network, &[(path, "a relative path without `..` is allowed")]);
        told(&world, &text, Origin::Operator, &[]);
    }
    let host = "/pipeline/nodes/0/params/host";
    let elsewhere = of("Remote", json!({"host": "10.0.0.1"}));
    told(&world, &elsewhere, Origin::Network, &[(host, "is not a host that the operator listed")]);
    told(&world, &elsewhere, Origin::Operator, &[]);
    told(&world, &of("Remote", json!({"host": "store.example"})), Origin::Network, &[]);
    let good = of("FileSource", json!({"path": "clips/a.ivf"}));
    told(&world, &good, Origin::Network, &[]);
    world.media_dir = false;
    told(&world, &good, Origin::Network, &[(path, "set `media_dir` in the router's config")]);
}

#[test]
fn all_faults_of_all_parts_are_told_at_once_in_the_order_of_the_manifest() {
    let text = r#"{"pipeline": {
        "nodes": [
            {"id": "blur", "type": "GausianBlur"},
            {"id": "blur", "type": "Gain", "params": {"gain_db": 99}},
            {"id": "Bad Id", "type": "Grayscale", "parms": {}}
        ],
        "graph": [{"from": "input", "to": "blr"}, {"from": "blur", "to": "output.vidoe"}],
        "routes": [{"output": "low", "to": "nobody"}]
    }}"#;
    let expected = [
        ("/pipeline/nodes/0/type", "did you mean `GaussianBlur`?"),
        ("/pipeline/nodes/1/id", "already the id"),
        ("/pipeline/nodes/1/params/gain_db", "is 99; allowed is -60 to 30"),
        ("/pipeline/nodes/2/id", "`bad-id` would do"),
        ("/pipeline/nodes/2/parms", "did you mean `params`?"),
        ("/pipeline/graph/0/to", "did you mean `blur`?"),
        ("/pipeline/graph/1/to", "did you mean `video`?"),
        ("/pipeline/routes/0/output", "no edge leads to an output `low`"),
        ("/pipeline/routes/0/to", "nobody is called `nobody`"),
    ];
    // Nodes that nothing leads to: what would have led there could not be read, so they may be blamed or not.
    let world = world();
    let document = Document::parse(text, Format::Json).expect("it is JSON");
    let faults = check(&document, world.known(), Origin::Operator).expect_err("it has faults").0;
    let mut rest = faults.iter();
    for (path, words) in expected {
        let found = rest.any(|f| f.path == path && f.to_string().contains(words));
        assert!(found, "no fault {path}: {words}, or not in its place, in {faults:#?}");
    }
}

#[test]
fn what_is_too_much_is_refused_with_how_much_is_allowed() {
    let world = world();
    let nodes = |count: usize| -> Vec<Value> {
        (0..count).map(|i| json!({"id": format!("n{i}"), "type": "Grayscale"})).collect()
    };
    let of = |pipeline: Value| json!({"pipeline": pipeline}).to_string();
    told(&world, &of(json!({"nodes": nodes(64)})), Origin::Network, &[]);
    let many = of(json!({"nodes": nodes(65)}));
    told(&world, &many, Origin::Network, &[("/pipeline/nodes", "has 65 entries; 64 are allowed")]);
    let edges = vec![json!({"from": "input", "to": "output"}); limits::MAX_EDGES + 1];
    let many = of(json!({"nodes": [], "graph": edges}));
    told(
        &world,
        &many,
        Origin::Network,
        &[("/pipeline/graph", "has 257 entries; 256 are allowed")],
    );
    let routes = vec![json!({"output": "main", "to": "all"}); limits::MAX_ROUTES + 1];
    let many = of(json!({"nodes": [], "routes": routes}));
    told(&world, &many, Origin::Network, &[("/pipeline/routes", "has 65 entries; 64 are allowed")]);
    let outputs: Vec<Value> =
        (0..17).map(|i| json!({"from": "input", "to": format!("output.o{i}.video")})).collect();
    // The sound that none of them takes makes `main` the eighteenth.
    let many = of(json!({"nodes": [], "graph": outputs}));
    told(&world, &many, Origin::Network, &[("/pipeline/graph", "has 18 outputs; 16 are allowed")]);
    let kind = "x".repeat(65);
    let long = of(json!({"nodes": [{"id": "a", "type": kind}]}));
    let expected = ("/pipeline/nodes/0/type", "has 65 characters; 1 to 64 are allowed");
    told(&world, &long, Origin::Network, &[expected]);
    let params = json!({"text": "x".repeat(limits::MAX_PARAMS)});
    let big = of(json!({"nodes": [{"id": "a", "type": "Grayscale", "params": params}]}));
    told(&world, &big, Origin::Network, &[("/pipeline/nodes/0/params", "bytes as JSON; 4096")]);
    let long = json!({"pipeline": {"nodes": []}, "description": "x".repeat(257)}).to_string();
    told(&world, &long, Origin::Network, &[("/description", "has 257 characters; 256")]);
}

#[test]
fn a_stranger_gets_no_more_faults_than_a_person_reads_and_none_is_long() {
    let world = world();
    let long = "x".repeat(2_000);
    let nodes = vec![json!({"id": long, "type": long, (long.as_str()): 1}); 40];
    let text = json!({"pipeline": {"nodes": nodes}}).to_string();
    let document = Document::parse(&text, Format::Json).expect("it is JSON");
    let faults = check(&document, world.known(), Origin::Network).expect_err("it has faults");
    assert!(faults.0.len() <= limits::MAX_FAULTS);
    assert!(faults.to_string().len() < 40_000, "{}", faults.to_string().len());
}

#[track_caller]
fn told(world: &World, text: &str, origin: Origin, expected: &[(&str, &str)]) {
    let document = Document::parse(text, Format::Json).unwrap_or_else(|f| panic!("{f}\n{text}"));
    let faults = match check(&document, world.known(), origin) {
        Ok(_) => Vec::new(),
        Err(faults) => {
            assert!(!faults.0.is_empty(), "refused without a word: {text}");
            faults.0
        }
    };
    let fit = faults.len() == expected.len()
        && faults
            .iter()
            .zip(expected)
            .all(|(fault, (path, words))| fault.path == *path && fault.to_string().contains(words));
    assert!(fit, "of {text}\nexpected {expected:#?}\ngot {faults:#?}");
}
