//! Everything at once and at random: calls that come and go, peers and workers that die or hang, programs that attach and
//! go or die; nothing may be left.
//!
//! The choices follow from a seed that is printed; what they hit follows from the machine's timing as well, so the same
//! seed gives the same kind of trouble, not the same run. Rounds of trouble end with an empty router, where its
//! descriptors and memory are read. [`calls`] makes calls and judges them, [`trouble`] says which process may be hit,
//! [`programs`] attaches, [`diary`] knows what was done and tells the last of it when a soak fails, [`rest`] reads what the
//! router holds. `scripts/soak` runs the long form.

mod calls;
mod diary;
mod dice;
mod programs;
mod rest;
mod trouble;

use crate::recovery::moody;
use crate::router::{Router, eventually};
use calls::{Call, Verdict};
use diary::{Act, Diary};
use dice::Dice;
use nix::sys::signal::Signal;
use programs::Programs;
use rest::Rest;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Output};
use std::time::{Duration, Instant};
use trouble::{Trouble, Victim, WAYS, Whom};

/// Peers at once in the long form (TARGETS P15); an even number, so that rooms fill.
const PEERS: u64 = 10;
/// What a round of the long form lasts, and how many there are at least.
const ROUND: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 4;
/// Workers that the long form kills by SIGKILL, a second, at the least (TARGETS P15: 200; here in ten minutes).
const KILLS_A_SECOND: f64 = 1.0 / 3.0;
/// Calls of the long form, a second and peer, at the least (TARGETS P15: 1,000; here of ten peers in ten minutes).
const JOINS_A_SECOND: f64 = 1.0 / 6.0;
/// Calls that begin in one act, at the most (chosen: with fewer the places of those that ended stay empty).
const AT_ONCE: u64 = 3;
/// The worker that serves many sessions.
const SHARED: &str = "shared";
/// Idle workers, as [`config`] says: two of each of our three kinds, one of the operator's for one session, the shared one.
const IDLE: usize = 8;

fn config() -> String {
    let command = moody();
    let node = |worker: &str, on_failure: &str| {
        format!(
            "{{ id = \"negative\", type = \"Negative\", worker = \"{worker}\", on_failure = \"{on_failure}\" }}"
        )
    };
    let (own, shared) = (node("own", "bypass"), node(SHARED, "hold"));
    // A room has more seats than there are peers at once: whoever was killed keeps a seat for half a minute.
    format!(
        "spares = 2\nmax_sessions = 64\nmax_video = \"640x360\"\nsession_starts_per_second = 100\n\
         max_peers = 100\ngrace_seconds = 1.0\nsuspend_after_seconds = 1.0\n\
         [workers.own]\ncommand = {command:?}\n\
         [workers.{SHARED}]\ncommand = {command:?}\nisolation = \"shared\"\n\
         [pipelines.mixed]\nnodes = [{own}, {{ id = \"gray\", type = \"Grayscale\" }}]\n\
         [pipelines.shared]\nnodes = [{shared}]\n"
    )
}

/// How it is played.
struct Form {
    seed: u64,
    peers: u64,
    /// Whether some calls last long.
    long: bool,
    rounds: u32,
    round: Duration,
}

/// What it came to.
struct Done {
    /// Before the first round, and after each.
    rests: Vec<Rest>,
    joins: u64,
    /// Workers that were hit, of any kind and in any way.
    hits: u64,
    /// Those of them that were hit by SIGKILL.
    kills: u64,
}

struct Soak {
    router: Router,
    dice: Dice,
    peers: u64,
    long: bool,
    calls: Vec<Call>,
    joins: u64,
    trouble: Trouble,
    programs: Programs,
    receipts: BTreeSet<String>,
    /// Last: what it tells of a failure comes after the router's log.
    diary: Diary,
}

impl Soak {
    fn new(form: &Form) -> Self {
        println!("soak: seed {}, {} peers at once", form.seed, form.peers);
        let router = Router::with(&config(), &[]);
        Self {
            programs: Programs::new(&router),
            router,
            dice: Dice::new(form.seed),
            peers: form.peers,
            long: form.long,
            calls: Vec::new(),
            joins: 0,
            trouble: Trouble::default(),
            receipts: BTreeSet::new(),
            diary: Diary::new(form.seed),
        }
    }

    /// A call and a death, whatever the dice say later.
    fn begin(&mut self) {
        self.join();
        eventually("a worker that can be hit", || self.hit_worker().then_some(()));
    }

    /// Trouble for so long, then until the last call is over.
    fn round(&mut self, length: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < length {
            self.act();
            self.reap();
            std::thread::sleep(Duration::from_millis(10 + self.dice.below(180)));
        }
        eventually("the end of every call and of what was attached", || {
            self.reap();
            (self.calls.is_empty() && self.programs.none()).then_some(())
        });
        eventually("the end of every session", || {
            let listing = self.look();
            rows(&listing["sessions"]).next().is_none().then_some(())
        });
    }

    fn act(&mut self) {
        match self.dice.below(100) {
            0..50 => {
                for _ in 0..=self.dice.below(AT_ONCE) {
                    self.join();
                }
            }
            50..64 => {
                self.hit_worker();
            }
            64..70 => self.hit_spare(),
            70..74 => self.cut(Signal::SIGKILL),
            74..78 => self.cut(Signal::SIGINT),
            78..98 => self.change(),
            _ => {
                let listing = self.look();
                let Self { programs, dice, calls, diary, .. } = self;
                programs.restart(dice, &listing, calls, diary);
            }
        }
    }

    fn join(&mut self) {
        if self.calls.len() as u64 >= self.peers {
            return;
        }
        self.joins += 1;
        let call = Call::start(&self.router, &mut self.dice, self.joins, self.long);
        self.diary.note(Act::Join, &call);
        self.calls.push(call);
    }

    fn cut(&mut self, signal: Signal) {
        let uncut = |at: &usize| self.calls[*at].uncut();
        let uncut: Vec<usize> = (0..self.calls.len()).filter(uncut).collect();
        if uncut.is_empty() {
            return;
        }
        let call = &mut self.calls[self.dice.of(&uncut)];
        call.cut(signal);
        self.diary.note(Act::Sent(Whom::Peer, signal), &*call);
    }

    /// Whether one was there to be hit.
    fn hit_worker(&mut self) -> bool {
        let listing = self.look();
        let Some(victim) = self.trouble.worker(&mut self.dice, &listing) else { return false };
        let signal = self.dice.of(&WAYS);
        self.hit(&victim, signal)
    }

    fn hit_spare(&mut self) {
        let listing = self.look();
        if let Some(victim) = Trouble::spare(&mut self.dice, &listing) {
            self.hit(&victim, Signal::SIGKILL);
        }
    }

    fn hit(&mut self, victim: &Victim, signal: Signal) -> bool {
        let hit = self.trouble.strike(self.router.pid(), victim, signal);
        if hit {
            self.diary.note(Act::Sent(victim.whom, signal), victim);
            calls::hit(&mut self.calls, &victim.members);
        }
        hit
    }

    /// A program comes or goes.
    fn change(&mut self) {
        let listing = self.look();
        let Self { programs, dice, calls, diary, .. } = self;
        match dice.below(20) {
            0..9 => programs.attach(dice, &listing, diary),
            9..15 => programs.dismiss(dice, &listing, calls, diary),
            _ => programs.mend(dice, diary),
        }
    }

    /// `/api/sessions`; looks through the receipts, of which the router keeps the last few.
    fn look(&mut self) -> Value {
        let listing = self.router.sessions();
        for receipt in rows(&listing["receipts"]) {
            // A room's name comes again and again; how long its end took does not.
            if self.receipts.insert(receipt.to_string()) {
                assert_eq!(receipt["left"].as_array().map(Vec::len), Some(0), "{receipt}");
                assert!(receipt["failed"].is_null(), "a session could not go on: {receipt}");
            }
        }
        self.programs.follow(&listing, &mut self.calls);
        listing
    }

    fn reap(&mut self) {
        // First: a call whose node went is not asked for its pictures.
        self.programs.reap(&mut self.calls);
        let mut at = 0;
        while at < self.calls.len() {
            if self.calls[at].over() {
                let verdict = self.calls.swap_remove(at).judge();
                self.diary.count(Act::Over(verdict));
            } else {
                at += 1;
            }
        }
    }

    /// The router at rest: nobody calls, the spares are there.
    fn rest(&mut self) -> Rest {
        eventually("spares and nobody else", || {
            let listing = self.look();
            let workers = listing["workers"].as_array()?;
            let rest = workers.len() >= IDLE && workers.iter().all(|w| w["state"] == "spare");
            rest.then_some(())
        });
        Rest::of(self.router.pid())
    }

    fn hits(&self) -> u64 {
        self.diary.sum(|act| matches!(act, Act::Sent(whom, _) if whom.of_router()))
    }

    fn kills(&self) -> u64 {
        let kill = |act: Act| matches!(act, Act::Sent(whom, Signal::SIGKILL) if whom.of_router());
        self.diary.sum(kill)
    }
}

/// The entries of a list, of none if it is no list.
fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The peers of a session.
fn members(session: &Value) -> impl Iterator<Item = &str> {
    rows(&session["members"]).map(|member| text(&member["peer_id"]))
}

/// Of a child that has ended: what it printed fits into the pipes.
fn output_of(child: &mut Child) -> Output {
    let mut output =
        Output { status: child.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut output.stdout).unwrap();
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_end(&mut output.stderr).unwrap();
    }
    output
}

/// Plays it, and ends the router.
fn soak(form: &Form) -> Done {
    let mut soak = Soak::new(form);
    let mut rests = vec![soak.rest()];
    soak.begin();
    for number in 1..=form.rounds {
        soak.round(form.round);
        rests.push(soak.rest());
        let (rounds, joins, kills) = (form.rounds, soak.joins, soak.kills());
        println!("soak: round {number} of {rounds} is over, {joins} joins, {kills} workers killed");
    }
    let whole = soak.diary.sum(|act| act == Act::Over(Verdict::Whole));
    println!(
        "soak: {} joins, {whole} calls that were seen whole, {} sessions, {} workers hit, {} of them by SIGKILL",
        soak.joins,
        soak.receipts.len(),
        soak.hits(),
        soak.kills()
    );
    println!("soak: {}", soak.diary.tally());
    for (round, rest) in rests.iter().enumerate() {
        println!("soak: the router at rest after round {round}: {rest:?}");
    }
    let done = Done { rests, joins: soak.joins, hits: soak.hits(), kills: soak.kills() };
    soak.router.stop();
    done
}

#[test]
fn calls_come_and_go_while_peers_workers_and_attached_programs_die_at_random() {
    let round = Duration::from_secs(10);
    let done = soak(&Form { seed: 20_261_121, peers: 6, long: false, rounds: 1, round });
    assert!(done.hits > 0, "no worker was hit");
}

#[test]
#[ignore = "ten minutes; scripts/soak runs it"]
fn soak_for_long() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = number("REMOTEMEDIA_SOAK_SECONDS").unwrap_or(600);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("REMOTEMEDIA_SOAK_SEED").unwrap_or(now.as_nanos() as u64);
    let peers = number("REMOTEMEDIA_SOAK_PEERS").unwrap_or(PEERS);
    let rounds = ((seconds / ROUND.as_secs()) as u32).max(ROUNDS);
    let round = Duration::from_secs(seconds) / rounds;
    let done = soak(&Form { seed, peers, long: true, rounds, round });
    let kills = (seconds as f64 * KILLS_A_SECOND) as u64;
    assert!(done.kills >= kills, "{} workers were killed; {kills} are wanted", done.kills);
    let joins = (seconds as f64 * peers as f64 * JOINS_A_SECOND) as u64;
    assert!(done.joins >= joins, "{} peers called; {joins} are wanted", done.joins);
    // The first rounds fill what is kept: allocator, tables, the last receipts.
    let rests = &done.rests;
    rests[rests.len() - 1].flat_since(&rests[2]);
}
