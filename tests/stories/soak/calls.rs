//! Calls: how they are made and cut, and what is asked of them when they are over.

use super::dice::Dice;
use super::output_of;
use crate::router::{LIMIT, Router, report};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fmt;
use std::process::Child;
use std::time::{Duration, Instant};

/// After a hit this may pass until pictures come back (chosen: a hang is seen after a second, and the machine is full).
const RECOVERED: f64 = 4.0;
/// A call that is shorter is not asked for its media: its beginning may have been hit.
const SHORT: f64 = 3.0;
/// Pipelines of sessions of one's own; a shared process is to have several sessions at a time.
const PIPELINES: [&str; 7] =
    ["overlay", "passthrough", "grayscale", "blur", "mixed", "shared", "shared"];

/// What kind of call it is.
#[derive(Debug)]
struct Plan {
    name: String,
    /// A session of its own: its media come back to it, whoever else is there.
    own: bool,
    /// Its own session's pipeline, or its room.
    place: String,
    codec: &'static str,
    video: bool,
    audio: bool,
    fps: u64,
    seconds: u64,
}

impl Plan {
    fn roll(dice: &mut Dice, number: u64, long: bool) -> Self {
        let own = dice.below(10) < 6;
        // Most have both; some have only one of them.
        let (video, audio) = dice.of(&[(true, true), (true, true), (true, false), (false, true)]);
        // Most are short, for many are to come and go; what a recovered call is like is seen of long ones.
        let last = long && dice.below(6) == 0;
        Self {
            name: format!("peer-{number}"),
            own,
            place: if own {
                dice.of(&PIPELINES).to_owned()
            } else {
                format!("room-{}", dice.below(2))
            },
            codec: dice.of(&["vp8", "vp9", "h264"]),
            video,
            audio,
            fps: dice.of(&[8, 10, 15]),
            seconds: if last { 8 + dice.below(5) } else { 2 + dice.below(3) },
        }
    }

    fn start(&self, router: &Router) -> Child {
        let (rate, length) = (self.fps.to_string(), self.seconds.to_string());
        let mut arguments = vec!["--peer-id", self.name.as_str(), "--seconds", length.as_str()];
        arguments.extend(["--fps", rate.as_str(), "--codec", self.codec]);
        arguments.extend(["--size", "320x180", "--bitrate", "300k"]);
        arguments.extend(["--video", if self.video { "pattern" } else { "none" }]);
        arguments.extend(["--audio", if self.audio { "ticks" } else { "none" }]);
        // A room is made by whoever comes first, and cannot be made a second time.
        let place = if self.own { "--pipeline" } else { "--session" };
        arguments.extend([place, self.place.as_str()]);
        router.spawn_call(&arguments)
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It was killed: nothing is asked of it.
    Killed,
    /// It was interrupted before it was a call.
    Brief,
    /// It ended well.
    Well,
    /// It ended well, and had its media until its end.
    Whole,
}

/// One call that was begun.
pub struct Call {
    plan: Plan,
    child: Child,
    began: Instant,
    /// The signal that ended it before its time.
    cut: Option<(Signal, Instant)>,
    /// When a process that it needs was hit last.
    hit: Option<Instant>,
    /// A node of its that was inserted is away, and says `hold`: its pictures stand still.
    held: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        // When the story has failed; a child that was waited for is not killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { name, place, codec, .. } = &self.plan;
        write!(f, "{name}, pid {}, in {place} by {codec}", self.child.id())
    }
}

impl Call {
    /// Begins one of any kind.
    pub fn start(router: &Router, dice: &mut Dice, number: u64, long: bool) -> Self {
        let plan = Plan::roll(dice, number, long);
        let child = plan.start(router);
        Self { plan, child, began: Instant::now(), cut: None, hit: None, held: false }
    }

    /// Whether nothing was sent to it yet.
    pub fn uncut(&self) -> bool {
        self.cut.is_none()
    }

    /// Ends it before its time.
    pub fn cut(&mut self, signal: Signal) {
        // Not reaped yet, so the number is still its own.
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        self.cut = Some((signal, Instant::now()));
    }

    /// Whether it is over, which it must be in time.
    pub fn over(&mut self) -> bool {
        let late = self.began.elapsed() > Duration::from_secs(self.plan.seconds) + LIMIT;
        assert!(!late, "{:?} did not end", self.plan);
        self.child.try_wait().unwrap().is_some()
    }

    /// One that was not killed has ended well, and had its media.
    pub fn judge(mut self) -> Verdict {
        let end = self.cut.map_or_else(Instant::now, |(_, at)| at);
        let since = |begin: Instant| end.saturating_duration_since(begin).as_secs_f64();
        let lasted = since(self.began);
        match self.cut {
            Some((Signal::SIGKILL, _)) => return Verdict::Killed,
            // It may not even have been connected.
            Some(_) if lasted < SHORT => return Verdict::Brief,
            Some(_) | None => {}
        }
        let output = output_of(&mut self.child);
        // All that is known of it, for a failure.
        let (hit, held) = (self.hit.map(since), self.held);
        let story =
            format!("{:?}, lasted {lasted:.1} s, hit {hit:?} s before, held: {held}", self.plan);
        assert!(output.status.success(), "{story}: {output:?}");
        let report = report(&output);
        assert!(report["error"].is_null(), "{story}: {report}");
        let plan = &self.plan;
        if !plan.own || lasted < SHORT || hit.is_some_and(|seconds| seconds < RECOVERED) {
            return Verdict::Well;
        }
        let count = |media: &Value, key: &str| media[key].as_u64().unwrap_or(0);
        if plan.audio {
            let audio = returned(&report, plan, "audio");
            assert!(count(audio, "received") > 0, "no sound: {story}: {report}");
        }
        if held {
            return Verdict::Well;
        }
        if plan.video {
            let video = returned(&report, plan, "video");
            assert!(count(video, "received") > 0, "no picture: {story}: {report}");
            // What was sent before the path stood does not come back, nor what a hit process had; what was lost between the
            // first and the last that came is told apart, so this is a call that went silent before its end.
            let came = count(video, "received") + count(video, "lost");
            let missing = count(&report["video"], "sent").saturating_sub(came);
            let allowed = (RECOVERED * plan.fps as f64) as u64;
            assert!(missing <= allowed, "{missing} at its ends did not come: {story}: {report}");
        }
        Verdict::Whole
    }
}

/// What came back of its own, which is told by its name where a source was attached to its session.
fn returned<'a>(report: &'a Value, plan: &Plan, kind: &str) -> &'a Value {
    let streams = &report["peers"];
    if streams.is_object() { &streams[plan.name.as_str()][kind] } else { &report[kind] }
}

/// A process that these peers' calls need was hit.
pub fn hit(calls: &mut [Call], peers: &[String]) {
    for call in calls.iter_mut().filter(|call| peers.contains(&call.plan.name)) {
        call.hit = Some(Instant::now());
    }
}

/// This peer's pictures are held from now on.
pub fn hold(calls: &mut [Call], peer: &str) {
    for call in calls.iter_mut().filter(|call| call.plan.name == peer) {
        call.held = true;
    }
}

/// This peer's pictures are to come again.
pub fn release(calls: &mut [Call], peer: &str) {
    for call in calls.iter_mut().filter(|call| call.plan.name == peer) {
        call.held = false;
        call.hit = Some(Instant::now());
    }
}
