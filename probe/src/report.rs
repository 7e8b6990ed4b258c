//! What a call was like, as the JSON of the contract and as a table for a person.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Milliseconds of a way; `null` where nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of them were shorter.
    pub p50: Option<f64>,
    /// 95 of 100 were shorter.
    pub p95: Option<f64>,
    /// 99 of 100 were shorter.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// Milliseconds between two that follow one another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Gap {
    /// 99 of 100 were shorter.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// A stage's share of the way, in milliseconds since the stage before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct StageTime {
    /// Half of them were shorter.
    pub p50: f64,
    /// 95 of 100 were shorter.
    pub p95: f64,
}

/// One returned video track.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VideoReport {
    /// Pictures that were sent: by this peer, or in `peers` by the other, as far as its numbers tell.
    pub sent: u64,
    /// Pictures that were decoded of what came back.
    pub received: u64,
    /// Numbers between the first and the last that came which did not come.
    pub lost: u64,
    /// Pictures that came after a later one.
    pub out_of_order: u64,
    /// Pictures that came again.
    pub duplicates: u64,
    /// Pictures whose code strip could not be read.
    pub unreadable: u64,
    /// Encoder of the sender to decoder of the receiver.
    pub latency_ms: Latency,
    /// Between decoded pictures.
    pub gap_ms: Gap,
    /// Pixels of the last one.
    pub width: Option<u16>,
    /// Pixels of the last one.
    pub height: Option<u16>,
    /// How it came.
    pub codec: Option<&'static str>,
    /// Bits a second that came.
    pub bitrate: u64,
    /// Keyframes that came.
    pub keyframes: u64,
    /// Keyframes that this peer asked for.
    pub keyframes_wanted: u64,
    /// Access units that could not be decoded.
    pub errors: u64,
}

/// Ticks of one returned audio track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct TicksReport {
    /// Ticks that were heard and read.
    pub received: u64,
    /// Ticks between the first and the last that were not heard.
    pub lost: u64,
    /// Ticks that were heard after a later one.
    pub out_of_order: u64,
    /// Ticks that were heard again.
    pub duplicates: u64,
    /// Ticks that were heard and could not be read.
    pub unreadable: u64,
}

/// One returned audio track; it counts packets, `ticks` counts ticks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AudioReport {
    /// Packets that this peer sent; 0 in `peers`.
    pub sent: u64,
    /// Packets that came back.
    pub received: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Packets that came after a later one.
    pub out_of_order: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Sample out to sample in, codec look-ahead and one frame included.
    pub latency_ms: Latency,
    /// Between packets.
    pub gap_ms: Gap,
    /// How it came.
    pub codec: Option<&'static str>,
    /// Bits a second that came.
    pub bitrate: u64,
    /// Root mean square of the sound that came, full scale is 1.
    pub level: f64,
    /// Milliseconds of sound in a packet that came; in one that is sent when none came.
    pub frame_ms: u32,
    /// Periods that were made up.
    pub concealed: u64,
    /// Packets that could not be decoded.
    pub errors: u64,
    /// Ticks, when ticks are what came.
    pub ticks: TicksReport,
    /// Each stage's share of the way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, StageTime>,
}

/// A process of the router.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProcessReport {
    /// What it is.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Percent of one core during the call.
    pub cpu_percent: Option<f64>,
    /// Proportional set size at the end; `null` where this user may not read it.
    pub pss_mb: Option<f64>,
    /// Resident set size at the end.
    pub rss_mb: Option<f64>,
}

/// What another peer's tracks were like.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PeerReport {
    /// Its picture.
    pub video: Option<VideoReport>,
    /// Its sound.
    pub audio: Option<AudioReport>,
}

/// The whole call.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Milliseconds from the offer to the encrypted connection.
    pub setup_ms: Option<f64>,
    /// Milliseconds from the offer to the first returned picture, decoded.
    pub first_frame_ms: Option<f64>,
    /// The first returned picture's track; what was sent when none came.
    pub video: VideoReport,
    /// The first returned sound's track; what was sent when none came.
    pub audio: AudioReport,
    /// Every returned stream by its id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, PeerReport>,
    /// Each stage's share of the picture's way, as the router told it last.
    pub stages: BTreeMap<String, StageTime>,
    /// The router's processes, when they are on this machine.
    pub processes: Vec<ProcessReport>,
    /// The session that the router made, when it told.
    pub session_id: Option<String>,
    /// Why the call ended before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which clock latencies are from.
    pub clock: &'static str,
}

/// What latencies rest on.
pub const CLOCK: &str = "latency is from one CLOCK_MONOTONIC, so it is right only when sender and receiver run on one machine";

impl Report {
    /// The contract's JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Maps have text keys and numbers are finite: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For a person.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if let Some(error) = &self.error {
            writeln!(out, "ended early    {error}")?;
        }
        writeln!(
            out,
            "setup          {} to connected, {} to the first returned picture",
            ms(self.setup_ms),
            ms(self.first_frame_ms)
        )?;
        if self.peers.is_empty() {
            write_video(out, "video", &self.video)?;
            write_audio(out, "audio", &self.audio)?;
        }
        for (stream, peer) in &self.peers {
            if let Some(video) = &peer.video {
                write_video(out, &format!("video {stream}"), video)?;
            }
            if let Some(audio) = &peer.audio {
                write_audio(out, &format!("audio {stream}"), audio)?;
            }
        }
        for (title, stages) in
            [("video stages", &self.stages), ("audio stages", &self.audio.stages)]
        {
            if stages.is_empty() {
                continue;
            }
            writeln!(out, "{title}   p50 / p95 in ms since the stage before")?;
            for (stage, time) in stages {
                writeln!(out, "  {stage:<22} {:>8.3} / {:>8.3}", time.p50, time.p95)?;
            }
        }
        if !self.processes.is_empty() {
            writeln!(out, "processes      cpu of one core, proportional memory")?;
            for process in &self.processes {
                writeln!(
                    out,
                    "  {:<22} {:>7} {:>8} {:>10}",
                    process.name,
                    process.pid,
                    process.cpu_percent.map_or("-".into(), |v| format!("{v:.1} %")),
                    process.pss_mb.map_or("-".into(), |v| format!("{v:.1} MB")),
                )?;
            }
        }
        writeln!(out, "{CLOCK}")
    }
}

fn write_video(out: &mut String, title: &str, v: &VideoReport) -> std::fmt::Result {
    writeln!(
        out,
        "{title:<14} {}x{} {} at {} kb/s: sent {}, received {}, lost {}, out of order {}, again {}",
        v.width.unwrap_or(0),
        v.height.unwrap_or(0),
        v.codec.unwrap_or("-"),
        v.bitrate / 1_000,
        v.sent,
        v.received,
        v.lost,
        v.out_of_order,
        v.duplicates
    )?;
    write_times(out, &v.latency_ms, &v.gap_ms)
}

fn write_audio(out: &mut String, title: &str, a: &AudioReport) -> std::fmt::Result {
    writeln!(
        out,
        "{title:<14} {} at {} kb/s in {} ms: sent {}, received {}, lost {}, out of order {}, again {}",
        a.codec.unwrap_or("-"),
        a.bitrate / 1_000,
        a.frame_ms,
        a.sent,
        a.received,
        a.lost,
        a.out_of_order,
        a.duplicates
    )?;
    write_times(out, &a.latency_ms, &a.gap_ms)
}

fn write_times(out: &mut String, latency: &Latency, gap: &Gap) -> std::fmt::Result {
    writeln!(
        out,
        "  latency      p50 {}, p95 {}, p99 {}, max {}; gap p99 {}, max {}",
        ms(latency.p50),
        ms(latency.p95),
        ms(latency.p99),
        ms(latency.max),
        ms(gap.p99),
        ms(gap.max)
    )
}

fn ms(value: Option<f64>) -> String {
    value.map_or("-".into(), |ms| format!("{ms:.1} ms"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn report() -> Report {
        let stages = BTreeMap::from([("node:blur".to_owned(), StageTime { p50: 1.0, p95: 2.0 })]);
        let process = ProcessReport { name: "router".into(), pid: 7, ..ProcessReport::default() };
        Report { stages, processes: vec![process], clock: CLOCK, ..Report::default() }
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract_even_when_nothing_was_measured() {
        let json: Value = serde_json::from_str(&report().json()).unwrap();
        for path in [
            "/setup_ms",
            "/first_frame_ms",
            "/video/sent",
            "/video/received",
            "/video/lost",
            "/video/out_of_order",
            "/video/latency_ms/p50",
            "/video/latency_ms/p95",
            "/video/latency_ms/p99",
            "/video/latency_ms/max",
            "/video/gap_ms/p99",
            "/video/gap_ms/max",
            "/video/width",
            "/video/height",
            "/video/codec",
            "/audio/sent",
            "/audio/received",
            "/audio/lost",
            "/audio/latency_ms/p50",
            "/audio/latency_ms/p95",
            "/audio/latency_ms/p99",
            "/audio/latency_ms/max",
            "/audio/gap_ms/max",
            "/stages/node:blur/p50",
            "/stages/node:blur/p95",
            "/processes/0/name",
            "/processes/0/pid",
            "/processes/0/cpu_percent",
            "/processes/0/pss_mb",
        ] {
            assert!(json.pointer(path).is_some(), "{path} is missing in {json}");
        }
    }

    #[test]
    fn the_table_says_which_clock_latency_is_from_and_names_every_peer() {
        let mut report = report();
        assert!(report.table().contains("CLOCK_MONOTONIC"));
        assert!(report.table().contains("one machine"));
        let peer = PeerReport { video: Some(VideoReport::default()), audio: None };
        report.peers.insert("alice".into(), peer);
        assert!(report.table().contains("video alice"));
    }
}
