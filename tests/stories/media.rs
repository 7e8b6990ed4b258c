//! What media may do in mid-call: change size, fall silent, come from a file; and what flows beside it as data.

use crate::router::{Router, eventually, report};
use crate::socket::Guest;
use remotemedia_peer::Event;
use remotemedia_shm_schema::{Codec, VideoGeometry};
use serde_json::Value;
use std::path::Path;
use std::process::Child;

/// A call with the coded pattern and ticks in a small picture.
pub fn pattern(seconds: &str) -> [&str; 8] {
    ["--video", "pattern", "--audio", "ticks", "--size", "320x180", "--seconds", seconds]
}

/// Waits until picture and sound flow in both directions in the first session; all sessions.
pub fn flowing(router: &mut Router) -> Value {
    eventually("media in both directions", || {
        let sessions = router.sessions();
        let sends = sessions["sessions"][0]["members"][0]["media"]["sends"].as_array().cloned();
        let flows = sends.is_some_and(|sends| {
            sends.len() == 2 && sends.iter().all(|s| s["frames"].as_u64().unwrap_or(0) > 10)
        });
        flows.then_some(sessions)
    })
}

/// Waits for a call's end; its report must be that of a call that nothing happened to.
pub fn untouched(call: Child) -> Value {
    let report = report(&call.wait_with_output().unwrap());
    let video = &report["video"];
    let (sent, received) = (video["sent"].as_u64().unwrap(), video["received"].as_u64().unwrap());
    // What was sent before the path stood does not come back.
    assert!(sent >= 60 && received + 30 >= sent, "{received} of {sent} came back: {report}");
    assert_eq!(video["out_of_order"], 0, "{report}");
    assert!(report["audio"]["received"].as_u64().unwrap() > 0, "{report}");
    report
}

fn size(report: &Value) -> (Option<u64>, Option<u64>) {
    (report["video"]["width"].as_u64(), report["video"]["height"].as_u64())
}

fn resized(codec: &str) {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("back.ivf");
    let router = Router::start();
    let call = router.spawn_call(
        &[
            &pattern("5")[..],
            &["--codec", codec, "--resize", "2=640x360", "--save", saved.to_str().unwrap()],
        ]
        .concat(),
    );
    let report = untouched(call);
    assert_eq!(size(&report), (Some(640), Some(360)), "{report}");
    let begun = std::fs::read(&saved).unwrap();
    let side = |at: usize| u16::from_le_bytes([begun[at], begun[at + 1]]);
    assert_eq!((side(12), side(14)), (320, 180), "it began smaller");
    router.stop();
}

#[test]
fn a_vp8_picture_that_grows_in_mid_call_comes_back_grown() {
    resized("vp8");
}

#[test]
fn a_vp9_picture_that_grows_in_mid_call_comes_back_grown() {
    resized("vp9");
}

#[test]
fn an_h264_picture_that_grows_in_mid_call_comes_back_grown() {
    resized("h264");
}

#[test]
fn tracks_that_are_muted_for_a_while_come_back_and_the_session_never_suspends() {
    let mut router = Router::start();
    let mutes = ["--mute", "audio=1-2.5", "--mute", "video=2.5-4"];
    let mut call = router.spawn_call(&[&pattern("6")[..], &mutes].concat());
    flowing(&mut router);
    while call.try_wait().unwrap().is_none() {
        for session in router.sessions()["sessions"].as_array().unwrap() {
            assert_ne!(session["state"], "suspended", "{session}");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let report = untouched(call);
    let (video, audio) = (&report["video"], &report["audio"]);
    // More than what was sent before the mutes: both came back. Less than without them: they were mute.
    let counts = [video, audio].map(|m| [&m["sent"], &m["received"]].map(|n| n.as_u64().unwrap()));
    let [[video_sent, video_received], [audio_sent, audio_received]] = counts;
    assert!(video_sent < 30 * 5 && video_received > 30 * 25 / 10 + 5, "{report}");
    assert!(audio_sent < 50 * 5 && audio_received > 50 + 20, "{report}");
    router.stop();
}

/// Pictures of the clip; the n-th has this luma.
const PICTURES: usize = 30;
fn luma(n: usize) -> u8 {
    (40 + 5 * n) as u8
}
const SIDES: (u16, u16) = (192, 112);

fn write_clip(folder: &Path) {
    let (width, height) = (usize::from(SIDES.0), usize::from(SIDES.1));
    let mut y4m = format!("YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n").into_bytes();
    for n in 0..PICTURES {
        y4m.extend_from_slice(b"FRAME\n");
        y4m.resize(y4m.len() + width * height, luma(n));
        y4m.resize(y4m.len() + width * height / 2, 128);
    }
    std::fs::write(folder.join("clip.y4m"), y4m).unwrap();
    // Two seconds of 1 kHz at half scale: 16 bits, mono, 48 kHz.
    let mut data = Vec::new();
    for n in 0..96_000u32 {
        let value = (f64::from(n) / 48.0 * std::f64::consts::TAU).sin() * 0.5;
        data.extend_from_slice(&((value * 32767.0) as i16).to_le_bytes());
    }
    let mut wav = b"RIFF".to_vec();
    wav.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&48_000u32.to_le_bytes());
    wav.extend_from_slice(&96_000u32.to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&(data.len() as u32).to_le_bytes());
    wav.extend_from_slice(&data);
    std::fs::write(folder.join("clip.wav"), wav).unwrap();
}

/// The brightness of the lower half of each picture of an IVF file.
fn brightness(ivf: &[u8]) -> Vec<u8> {
    let geometry = VideoGeometry::i420(SIDES.0, SIDES.1);
    let mut decoder =
        remotemedia_codec_worker::video_decoder(Codec::Vp8, geometry.payload_len() as u32).unwrap();
    let mut bytes = vec![0; geometry.payload_len()];
    let stride = geometry.planes[0].stride as usize;
    let (columns, rows) = (usize::from(SIDES.0), usize::from(SIDES.1));
    let (mut at, mut all) = (32, Vec::new());
    while at + 12 <= ivf.len() {
        let length = u32::from_le_bytes(ivf[at..at + 4].try_into().unwrap()) as usize;
        let unit = &ivf[at + 12..at + 12 + length];
        at += 12 + length;
        let Ok(Some(shown)) = decoder.decode(unit) else { continue };
        shown.picture.copy_into(&geometry, &mut bytes).unwrap();
        let lower = (rows / 2..rows).flat_map(|row| &bytes[row * stride..row * stride + columns]);
        let sum: u64 = lower.map(|pixel| u64::from(*pixel)).sum();
        all.push((sum / (columns * (rows - rows / 2)) as u64) as u8);
    }
    all
}

#[test]
fn a_clip_of_files_comes_back_picture_by_picture_and_with_its_tone() {
    let folder = tempfile::tempdir().unwrap();
    write_clip(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let router = Router::start();
    let (clip, sound, back) = (file("clip.y4m"), file("clip.wav"), file("back"));
    let call = router.spawn_call(&[
        "--video",
        &clip,
        "--audio",
        &sound,
        "--save",
        &back,
        "--pipeline",
        "passthrough",
        "--seconds",
        "5",
    ]);
    let report = untouched(call);
    assert_eq!(size(&report), (Some(192), Some(112)), "the clip's own size: {report}");

    let shown = brightness(&std::fs::read(file("back.ivf")).unwrap());
    let missing: Vec<u8> = (0..PICTURES)
        .map(luma)
        .filter(|wanted| !shown.iter().any(|seen| seen.abs_diff(*wanted) <= 2))
        .collect();
    assert!(
        missing.len() <= 3,
        "pictures of these brightnesses never came: {missing:?}; {shown:?}"
    );
    // Back and forth, so from one to the next it is a small step, but for those that were dropped.
    let jumps = shown.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) > 30).count();
    assert!(jumps <= 3, "{jumps} jumps: {shown:?}");

    let wav = std::fs::read(file("back.wav")).unwrap();
    let data = wav.windows(4).position(|word| word == b"data").unwrap() + 8;
    let samples: Vec<f32> =
        wav[data..].chunks_exact(4).map(|s| f32::from_le_bytes(s.try_into().unwrap())).collect();
    let channels = usize::from(u16::from_le_bytes([wav[22], wav[23]]));
    let mono: Vec<f32> = samples.into_iter().step_by(channels).collect();
    // Half a second from the middle: what is told there is neither begin nor end.
    let middle = &mono[mono.len() / 2..][..24_000];
    let square: f32 = middle.iter().map(|s| s * s).sum();
    let level = (square / middle.len() as f32).sqrt();
    let crossings = middle.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
    assert!((0.25..0.45).contains(&level), "half scale has 0.354: {level}");
    assert!((900..1100).contains(&crossings), "1 kHz crosses 1000 times: {crossings}");
    router.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_is_echoed_up_to_16_kib_and_events_tell_of_the_session() {
    let mut router = Router::start();
    let mut guest =
        Guest::call(&router, "anna", &[Codec::Vp8, Codec::Opus], &[], &["echo", "events"]).await;
    let [echo, events] = guest.data[..] else { panic!("two channels") };
    let longest = "é".repeat(8 * 1024);
    for text in ["hello", &longest] {
        guest.connection.send_text(echo, text).await.unwrap();
        let back = guest.until("the text's echo", |e| message(e, echo)).await;
        assert_eq!(back, (true, text.as_bytes().to_vec()));
    }
    for bytes in [vec![0u8, 255, 1], (0..16 * 1024).map(|n| (n * 7) as u8).collect()] {
        guest.connection.send_binary(echo, bytes.clone().into()).await.unwrap();
        let back = guest.until("the bytes' echo", |e| message(e, echo)).await;
        assert_eq!(back, (false, bytes));
    }
    let told = guest.until("the router's events", |e| message(e, events)).await;
    assert!(told.0, "events are text");
    let told: Value = serde_json::from_slice(&told.1).unwrap();
    let sessions = router.sessions();
    let session = &sessions["sessions"][0];
    assert_eq!(told["event"], "stages", "{told}");
    assert_eq!(told["session_id"], session["session_id"], "{told}");
    assert_eq!(told["pipeline"], "overlay", "{told}");
    guest.hang_up().await;
    router.wait_for_sessions(0);
    router.stop();
}

fn message(event: &Event, of: remotemedia_peer::DataId) -> Option<(bool, Vec<u8>)> {
    match event {
        Event::Data { id, text, payload } if *id == of => Some((*text, payload.to_vec())),
        _ => None,
    }
}
