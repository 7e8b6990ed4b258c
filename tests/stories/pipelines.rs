//! Pipelines as those meet them who write them: the command that lists, checks and draws, and manifests in files.

use crate::media::{flowing, pattern};
use crate::recovery::{ends, finished, moody, spawn};
use crate::router::{Router, eventually, kill, report, turn};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;

/// A manifest that is in order.
const SOFT: &str = "
description: A soft picture and a quiet voice
pipeline:
  nodes:
    - {id: soft, type: GaussianBlur, params: {sigma: 2}}
    - {id: quiet, type: Gain, params: {gain_db: -6}, on_failure: bypass}
";

/// A node's type, a parameter and an edge that are wrong.
const FAULTY: &str = "
pipeline:
  nodes:
    - {id: soft, type: Bluur}
    - {id: quiet, type: Gain, params: {gain_db: 99}}
  graph:
    - {from: input, to: sofd}
    - {from: soft, to: output}
    - {from: input, to: quiet}
    - {from: quiet, to: output}
";

/// What `remotemedia pipelines` printed, with what it must end.
fn pipelines(arguments: &[&str], code: i32) -> (String, String) {
    let all = [&["pipelines"][..], arguments].concat();
    let output = finished(&format!("{all:?}"), spawn(&all));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{all:?}: {said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

fn json_of(arguments: &[&str]) -> Value {
    let (printed, _) = pipelines(&[arguments, &["--json"]].concat(), 0);
    serde_json::from_str(&printed).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_person_lists_the_pipelines_and_sees_one_drawn() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let node = r#"{ id = "neg", type = "Negative", worker = "moody" }"#;
    let config = format!(
        "[workers.moody]\ncommand = {:?}\n[pipelines.inverse]\ndescription = \"Light is dark\"\nnodes = [{node}]\n",
        moody()
    );
    let config = write(folder.path(), "own.toml", &config);

    let (printed, _) = pipelines(&["--config", &config], 0);
    for words in
        ["overlay (default)", "clock (Overlay)", "neg (Negative, worker moody)", "Light is dark"]
    {
        assert!(printed.contains(words), "no {words:?} in: {printed}");
    }
    let listed = json_of(&["--config", &config]);
    let names: Vec<&str> = listed["pipelines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"inverse") && names.contains(&"passthrough"), "{listed}");

    let (printed, _) = pipelines(&["show", "inverse", "--config", &config], 0);
    assert_eq!(
        printed,
        "input.video → neg (Negative, worker moody) → output.video\n\
         input.audio → output.audio\n\
         \n\
         main goes to its sender when alone, else the others\n"
    );
    let (printed, _) = pipelines(&["show", "passthrough", "--mermaid"], 0);
    assert!(printed.starts_with("flowchart LR\n"), "{printed}");
    for way in ["i_video", "i_audio", "output.video", "output.audio"] {
        assert!(printed.contains(way), "pictures and sound pass: {printed}");
    }
    let (_, said) = pipelines(&["show", "none"], 2);
    assert!(said.contains("\"none\"") && said.contains("passthrough"), "{said}");
}

#[test]
fn a_person_lists_the_node_types_with_their_parameters() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[workers.moody]\ncommand = {:?}\n", moody());
    let config = write(folder.path(), "own.toml", &config);
    let (printed, _) = pipelines(&["nodes", "--config", &config], 0);
    for words in ["GaussianBlur\n", "in: video; out: video", "0.1 to 50", "Negative (worker moody)"]
    {
        assert!(printed.contains(words), "no {words:?} in: {printed}");
    }
    let sigma = printed.lines().find(|line| line.contains(" sigma ")).unwrap();
    for words in ["number", "0.1 to 50", " 4 ", "pixels"] {
        assert!(sigma.contains(words), "no {words:?} in: {sigma}");
    }
    let listed = json_of(&["nodes", "--config", &config]);
    let node = |kind: &str| {
        let all = listed["nodes"].as_array().unwrap();
        all.iter().find(|node| node["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
    };
    assert_eq!(node("Gain")["worker"], Value::Null);
    assert_eq!(node("Negative")["worker"], "moody");
    assert_eq!(node("Passthrough")["inputs"].as_array().map(Vec::len), Some(2));

    let (printed, _) = pipelines(&["schema"], 0);
    let schema: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(schema["title"], "remotemedia pipeline manifest");
}

#[test]
fn a_manifest_is_drawn_or_told_all_that_is_wrong_with_it() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "soft.yaml", SOFT);
    let drawn = "input.video → soft (GaussianBlur) → output.video\n\
                 input.audio → quiet (Gain) → output.audio\n\
                 \n\
                 main goes to its sender when alone, else the others\n";
    let (printed, _) = pipelines(&["check", &good], 0);
    let mut lines: Vec<&str> = printed.lines().collect();
    let mut expected: Vec<&str> = drawn.lines().collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected, "{printed}");

    let bad = write(folder.path(), "faulty.yaml", FAULTY);
    let (printed, said) = pipelines(&["check", &bad], 1);
    assert_eq!(printed, "");
    let faults: Vec<&str> = said.lines().skip(1).map(str::trim).collect();
    let expected = [
        ("/pipeline/nodes/0/type: ", "did you mean `GaussianBlur`?"),
        ("/pipeline/nodes/1/params/gain_db: ", "allowed is -60 to 30"),
        ("/pipeline/graph/0/to: ", "did you mean `soft`?"),
    ];
    assert!(said.contains("faulty.yaml") && faults.len() == expected.len(), "{said}");
    for (fault, (place, words)) in faults.iter().zip(expected) {
        assert!(fault.starts_with(place) && fault.ends_with(words), "no {place}{words}: {said}");
    }
    let (printed, _) = pipelines(&["check", &bad, "--json"], 1);
    let told: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(told["faults"][0]["path"], "/pipeline/nodes/0/type", "{told}");

    // What comes with a later version is drawn, and said to wait.
    let later = "pipeline: {nodes: [], graph: [{from: input.video, to: output.low}], \
                 routes: [{output: low, to: bandwidth}]}\n";
    let later = write(folder.path(), "later.yml", later);
    let (printed, said) = pipelines(&["check", &later], 1);
    assert!(printed.contains("input.video → output.low.video"), "{printed}");
    assert!(said.contains("`low`") && said.contains("which cannot be done yet"), "{said}");

    for (file, words) in [("soft.txt", ".yaml"), ("none.yaml", "cannot be read")] {
        let path = folder.path().join(file);
        let (_, said) = pipelines(&["check", path.to_str().unwrap()], 2);
        assert!(said.contains(file) && said.contains(words), "{said}");
    }
}

#[test]
fn every_manifest_among_the_examples_is_in_order() {
    let _turn = turn();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pipelines");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let (printed, _) = pipelines(&["check", file.to_str().unwrap()], 0);
        assert!(printed.contains("output."), "{printed}");
    }
}

#[test]
fn a_manifest_in_yaml_is_the_default_sessions_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "soft.yaml", SOFT);
    let mut router = Router::with("", &["--pipeline", &file]);
    let (status, listed) = router.get("/api/pipelines");
    assert!(status == 200 && listed.contains("A soft picture and a quiet voice"), "{listed}");
    let call = router.spawn_call(&[&pattern("60")[..], &["--peer-id", "anna"]].concat());
    let live = flowing(&mut router);
    assert_eq!(live["sessions"][0]["pipeline"], "soft", "{live}");
    eventually("pictures and sound through its nodes", || {
        let session = &router.sessions()["sessions"][0];
        let tasks = session["tasks"].as_array()?;
        let passed = |what: &str| {
            let task = tasks.iter().find(|task| task["task"] == what)?;
            (task["published"].as_u64() > Some(20)).then_some(())
        };
        passed("nodes to soft on video of anna")?;
        passed("nodes to quiet on audio of anna")
    });
    kill(call.id() as i32, Signal::SIGINT);
    report(&call.wait_with_output().unwrap());
    router.wait_for_sessions(0);
    router.stop();
}

#[test]
fn a_manifest_that_cannot_be_run_is_told_before_the_router_serves() {
    let _turn = turn();
    let folder = tempfile::Builder::new().prefix("rmt").tempdir_in("/dev/shm").unwrap();
    let (file, run) = (write(folder.path(), "faulty.yaml", FAULTY), folder.path().join("run"));
    let run = run.to_str().unwrap();
    let serve = |file: &str, code: i32| {
        let arguments = ["serve", "--port", "0", "--runtime-dir", run, "--pipeline", file];
        ends(&format!("serve with {file}"), spawn(&arguments), code)
    };
    let said = serve(&file, 1);
    for words in
        ["faulty.yaml", "`faulty` cannot be run", "did you mean `GaussianBlur`?", "/graph/0/to"]
    {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let text = write(folder.path(), "soft.txt", SOFT);
    let said = serve(&text, 2);
    assert!(said.contains("soft.txt") && said.contains(".yaml"), "{said}");
}
