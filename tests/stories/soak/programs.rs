//! Programs that somebody attaches to calls that run, and an operator's commands: sessions change under their calls.
//!
//! A node that was inserted stands until it is taken out, whoever runs it. While no process of its works its pictures are
//! held, so its call is not asked for them from then on; until a look finds that the node works again, or is gone.

use super::calls::{self, Call};
use super::diary::{Act, Diary};
use super::dice::Dice;
use super::trouble::Whom;
use super::{members, output_of, rows, text};
use crate::recovery::{moody, spawn};
use crate::router::Router;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Child;

/// Programs at once (chosen: a source is as much work as a call).
const MOST: usize = 4;
/// What ids of inserted nodes begin with, and no id of a pipeline's does.
const EXTRA: &str = "extra-";

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// `remotemedia tap`.
    Tap,
    /// A node behind a peer's decoder, for the first time or again.
    Insert,
    /// Pictures or sound of nobody's.
    Source,
    /// `remotemedia detach`: a node whose process is gone.
    Detach,
    /// `remotemedia restart`: a node that works.
    Restart,
}

struct Program {
    what: What,
    /// At what.
    on: String,
    child: Child,
    asked: Option<Signal>,
    /// Whose calls begin anew, in part, by its being done.
    members: Vec<String>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // When the story has failed; a child that was waited for is not killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// It ended as one that was let go or refused; nothing else may have ended it but our own hand.
    fn judge(&mut self) {
        let output = output_of(&mut self.child);
        let well = matches!(output.status.code(), Some(0 | 1));
        let killed = self.asked == Some(Signal::SIGKILL);
        assert!(well || killed, "{:?} {}, asked {:?}: {output:?}", self.what, self.on, self.asked);
    }
}

/// An inserted node.
struct Node {
    id: String,
    session: String,
    /// Whose pictures it takes.
    peer: String,
    channel: String,
    /// The process that is to run it, until that is known to be gone.
    pid: Option<u32>,
    /// A process of its went without being asked to.
    died: bool,
}

impl Node {
    /// Reads what became of it; whether there is still something to look at.
    fn follow(&mut self, listing: &Value, calls: &mut [Call]) -> bool {
        let mut sessions = rows(&listing["sessions"]);
        let Some(session) = sessions.find(|row| row["session_id"] == self.session.as_str()) else {
            return self.pid.is_some();
        };
        if session["state"] == "busy" {
            return true;
        }
        let stands = rows(&session["nodes"]).any(|node| node["id"] == self.id.as_str());
        match self.pid {
            None if stands => {
                // Also one that was asked to leave in the moment in which its session let it go for the steward's death.
                self.died = true;
                calls::hold(calls, &self.peer);
            }
            Some(pid) if self.died && stands && Self::works(session, pid) => {
                self.died = false;
                calls::release(calls, &self.peer);
            }
            // One that went in order left no trace in its call.
            None if self.died => calls::release(calls, &self.peer),
            None | Some(_) => {}
        }
        stands || self.pid.is_some()
    }

    /// States and channels tell of what is to be wired already; frames that came out of it are proof.
    fn works(session: &Value, pid: u32) -> bool {
        let its = |row: &&Value| row["pid"] == pid;
        let name = rows(&session["attached"]).find(its).map(|row| &row["name"]);
        rows(&session["tasks"])
            .any(|task| name == Some(&task["worker"]) && task["published"].as_u64() > Some(0))
    }
}

/// All that run.
pub struct Programs {
    /// The router's runtime folder.
    folder: String,
    moody: String,
    running: Vec<Program>,
    nodes: Vec<Node>,
    /// Counts names.
    count: u64,
}

impl Programs {
    /// None yet.
    pub fn new(router: &Router) -> Self {
        let name = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (folder, moody) = (name(router.runtime()), name(moody()));
        Self { folder, moody, running: Vec::new(), nodes: Vec::new(), count: 0 }
    }

    /// Whether none runs.
    pub fn none(&self) -> bool {
        self.running.is_empty()
    }

    /// A program of any kind comes into any session.
    pub fn attach(&mut self, dice: &mut Dice, listing: &Value, diary: &mut Diary) {
        let sessions: Vec<&Value> = active(listing).collect();
        if sessions.is_empty() || self.running.len() >= MOST {
            return;
        }
        let session = dice.of(&sessions);
        self.count += 1;
        match dice.below(3) {
            0 => self.tap(dice, session, diary),
            1 => self.insert(dice, session, diary),
            _ => self.source(dice, session, diary),
        }
    }

    fn tap(&mut self, dice: &mut Dice, session: &Value, diary: &mut Diary) {
        let names = rows(&session["channels"]).map(|channel| text(&channel["name"]));
        let channels: Vec<&str> = names.filter(|name| !tapped(session, name)).collect();
        if channels.is_empty() {
            return;
        }
        let channel = dice.of(&channels);
        let child = self.command(&["tap", channel, "--json"]);
        self.run(What::Tap, channel.to_owned(), child, diary);
    }

    fn insert(&mut self, dice: &mut Dice, session: &Value, diary: &mut Diary) {
        let session_id = text(&session["session_id"]);
        let decoded = |peer: &str| format!("rm/{session_id}/in/{peer}/video0/raw");
        let free = |peer: &&str| {
            let channel = decoded(peer);
            rows(&session["channels"]).any(|row| row["name"] == channel.as_str())
                && !self.nodes.iter().any(|node| node.peer == *peer)
        };
        let peers: Vec<&str> = members(session).filter(free).collect();
        if peers.is_empty() {
            return;
        }
        let peer = dice.of(&peers);
        let node = Node {
            id: format!("{EXTRA}{}", self.count),
            session: session_id.to_owned(),
            peer: peer.to_owned(),
            channel: decoded(peer),
            pid: None,
            died: false,
        };
        self.nodes.push(node);
        self.put_in(self.nodes.len() - 1, diary);
    }

    /// Starts a process for a node that has none.
    fn put_in(&mut self, at: usize, diary: &mut Diary) {
        let Node { id, channel, .. } = &self.nodes[at];
        let on = format!("{id} behind {channel}");
        let child = self.moody(&["insert", channel, id]);
        self.nodes[at].pid = Some(child.id());
        self.run(What::Insert, on, child, diary);
    }

    fn source(&mut self, dice: &mut Dice, session: &Value, diary: &mut Diary) {
        let (id, name) = (text(&session["session_id"]), format!("source-{}", self.count));
        let kind = dice.of(&["audio", "video"]);
        let child = self.moody(&["source", id, &name, kind]);
        self.run(What::Source, format!("{kind} of {name} in {id}"), child, diary);
    }

    /// One that is attached is told to leave, or killed.
    pub fn dismiss(
        &mut self,
        dice: &mut Dice,
        listing: &Value,
        calls: &mut [Call],
        diary: &mut Diary,
    ) {
        let attached: Vec<u64> = active(listing)
            .flat_map(|session| rows(&session["attached"]))
            .filter_map(|row| row["pid"].as_u64())
            .collect();
        // Before it is, it may not know yet what to do about a signal.
        let mut there = self.running.iter_mut().filter(|program| {
            program.asked.is_none() && attached.contains(&u64::from(program.child.id()))
        });
        let signal = dice.of(&[Signal::SIGINT, Signal::SIGKILL]);
        // A draw that nobody stands for dismisses nobody.
        let Some(program) = there.nth(dice.below(MOST as u64) as usize) else { return };
        let pid = program.child.id();
        // Not reaped yet, so the number is still its own.
        kill(Pid::from_raw(pid as i32), signal).unwrap();
        program.asked = Some(signal);
        diary.note(Act::Sent(Whom::Program(program.what), signal), &program.on);
        if signal == Signal::SIGKILL {
            self.vacate(pid, true, calls);
        }
    }

    /// A node whose process is gone comes back under its name, or is taken out.
    pub fn mend(&mut self, dice: &mut Dice, diary: &mut Diary) {
        let vacant = |at: &usize| self.nodes[*at].pid.is_none();
        let vacant: Vec<usize> = (0..self.nodes.len()).filter(vacant).collect();
        if vacant.is_empty() {
            return;
        }
        let at = dice.of(&vacant);
        if dice.below(2) == 0 {
            self.put_in(at, diary);
        } else {
            let Node { id, session, .. } = &self.nodes[at];
            let on = format!("{id} from {session}");
            let child = self.command(&["detach", session, id]);
            self.run(What::Detach, on, child, diary);
        }
    }

    /// A node of a session's pipeline gets another process, although it works.
    pub fn restart(
        &mut self,
        dice: &mut Dice,
        listing: &Value,
        calls: &mut [Call],
        diary: &mut Diary,
    ) {
        let nodes: Vec<(&Value, &str)> = active(listing)
            .flat_map(|session| rows(&session["nodes"]).map(move |node| (session, node)))
            .map(|(session, node)| (session, text(&node["id"])))
            .filter(|(_, id)| !id.starts_with(EXTRA))
            .collect();
        if nodes.is_empty() {
            return;
        }
        let (session, node) = dice.of(&nodes);
        let id = text(&session["session_id"]);
        let child = self.command(&["restart", id, node]);
        self.run(What::Restart, format!("{node} of {id}"), child, diary);
        let members: Vec<String> = members(session).map(str::to_owned).collect();
        calls::hit(calls, &members);
        if let Some(program) = self.running.last_mut() {
            program.members = members;
        }
    }

    /// Takes leave of those that have ended.
    pub fn reap(&mut self, calls: &mut [Call]) {
        let mut at = 0;
        while at < self.running.len() {
            if self.running[at].child.try_wait().unwrap().is_none() {
                at += 1;
                continue;
            }
            let mut program = self.running.swap_remove(at);
            program.judge();
            calls::hit(calls, &program.members);
            let died = program.asked != Some(Signal::SIGINT);
            self.vacate(program.child.id(), died, calls);
        }
    }

    /// This process runs no node any more.
    fn vacate(&mut self, pid: u32, died: bool, calls: &mut [Call]) {
        for node in self.nodes.iter_mut().filter(|node| node.pid == Some(pid)) {
            node.pid = None;
            if died {
                node.died = true;
                calls::hold(calls, &node.peer);
            }
        }
    }

    /// Reads what became of inserted nodes.
    pub fn follow(&mut self, listing: &Value, calls: &mut [Call]) {
        self.nodes.retain_mut(|node| node.follow(listing, calls));
    }

    fn command(&self, arguments: &[&str]) -> Child {
        spawn(&[arguments, &["--router", self.folder.as_str()]].concat())
    }

    /// `moody`, as `remotemedia attach` runs it in its own place.
    fn moody(&self, arguments: &[&str]) -> Child {
        let way = ["attach", "--router", self.folder.as_str(), self.moody.as_str()];
        spawn(&[&way[..], arguments].concat())
    }

    fn run(&mut self, what: What, on: String, child: Child, diary: &mut Diary) {
        diary.note(Act::Ran(what), format_args!("{on}, pid {}", child.id()));
        self.running.push(Program { what, on, child, asked: None, members: Vec::new() });
    }
}

/// Sessions whose media flow.
fn active(listing: &Value) -> impl Iterator<Item = &Value> {
    rows(&listing["sessions"]).filter(|session| session["state"] == "active")
}

/// A second tap of one channel is refused.
fn tapped(session: &Value, channel: &str) -> bool {
    rows(&session["attached"]).any(|row| row["what"] == "tap" && row["of"] == channel)
}
