//! One task's thread: waits for frames and orders, calls the processor, survives its panics.

use super::beat::Beat;
use super::control::{Note, Outbox};
use super::inbox::{Inbox, Orders, Port, Wiring};
use super::mark::Place;
use super::output::Notes;
use super::process::yield_to_audio;
use super::shelf::Shelf;
use super::{Command, Factory, Output, Processor, TaskError};
use crate::{Attachment, Frame, Inlet, InletCounters, Outlet, OutletCounters, Wake, monotonic_ns};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remotemedia_shm_schema::contract::{DropReason, MAX_AUDIO_BLOCK, MAX_AUDIO_PACKET};
use remotemedia_shm_schema::control::{Counters, KeyframeReason, Task, TaskKind};
use remotemedia_shm_schema::{Media, SessionId};
use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A wake-up can be lost when its producer dies while it rings; looked for so often.
const SAFETY_CHECK_MS: u16 = 100;
/// A processor that breaks more often than this within a second is made anew only when the second is over.
const MAX_REMAKES: u32 = 5;
/// A processor that is made anew may take so long beyond what a frame may (DESIGN: the start limit is 30 s).
const MAKING_NS: u64 = 30_000_000_000;
/// A source that failed is asked again after this; one that is behind by more does not catch up (chosen).
const PAUSE: Duration = Duration::from_secs(1);

/// The factory, shared by all tasks; each makes its processors on its own thread.
pub(super) type SharedFactory = Arc<Mutex<Box<dyn Factory>>>;

/// What a thread begins with.
pub(super) struct Parts {
    pub(super) session: SessionId,
    /// Prepared for this epoch.
    pub(super) epoch: u32,
    pub(super) task: Task,
    pub(super) attachment: Attachment,
    pub(super) place: Place,
    pub(super) inbox: Arc<Inbox>,
    pub(super) beat: Arc<Beat>,
    pub(super) factory: SharedFactory,
    pub(super) outbox: Arc<Outbox>,
    pub(super) shelf: Arc<Shelf>,
    /// Tells this thread from an earlier one of the same task.
    pub(super) serial: u64,
}

/// Starts the thread; it says [`Note::Made`] when its processor is made, and [`Note::Ended`] at its end.
pub(super) fn spawn(parts: Parts) -> std::io::Result<JoinHandle<()>> {
    let name = format!("{}-{}", short(&parts.task.kind), parts.task.id.0);
    std::thread::Builder::new().name(name).spawn(move || {
        let (session, task, serial) = (parts.session.clone(), parts.task.id, parts.serial);
        let outbox = Arc::clone(&parts.outbox);
        // Beyond the processor's own panics, which are caught frame by frame, only damaged shared memory gets here.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(parts))) {
            tracing::error!(%session, task = task.0, panic = text(&*panic), "a task's thread failed");
        }
        outbox.note(Note::Ended { session, task, serial });
    })
}

/// At most 15 bytes of a thread's name are kept by the kernel.
fn short(kind: &TaskKind) -> &'static str {
    match kind {
        TaskKind::Decode { .. } => "decode",
        TaskKind::EncodeVideo(_) => "encode-v",
        TaskKind::EncodeAudio(_) => "encode-a",
        TaskKind::Graph { .. } => "graph",
        TaskKind::Tap => "tap",
        TaskKind::Source { .. } => "source",
        TaskKind::Enter | TaskKind::Exit => "steward",
    }
}

/// Whether a task works on pictures: by its kind, and for a graph by its channel's size.
fn is_video(task: &Task) -> bool {
    match &task.kind {
        TaskKind::Decode { codec } => !codec.is_audio(),
        TaskKind::EncodeVideo(_) => true,
        TaskKind::EncodeAudio(_) => false,
        TaskKind::Source { media } => *media == Media::Video,
        TaskKind::Graph { .. } | TaskKind::Tap | TaskKind::Enter | TaskKind::Exit => task
            .input
            .as_ref()
            .is_some_and(|input| input.max_payload > MAX_AUDIO_BLOCK.max(MAX_AUDIO_PACKET)),
    }
}

fn work(parts: Parts) {
    let Parts { session, epoch, task, attachment, inbox, beat, .. } = parts;
    if is_video(&task) {
        yield_to_audio();
    }
    let id = task.id;
    let mut maker = Maker { factory: parts.factory, task, broken: 0, since: Instant::now() };
    // Not counted as busy: loading a model may take longer than a frame may. The router limits the time to `Ready`.
    let made = match parts.shelf.take(&maker.task) {
        Some(mut processor) => {
            // Made for other channels of the same size.
            let told = catch_unwind(AssertUnwindSafe(|| processor.rewired()));
            told.map_or_else(|_| maker.make(), |()| Ok(processor))
        }
        None => maker.make(),
    };
    let result = made.as_ref().map(|_| ()).map_err(Clone::clone);
    parts.outbox.note(Note::Made { session: session.clone(), epoch, task: id, result });
    let Ok(processor) = made else { return };
    let mut thread = Thread {
        notes: Notes::new(session, parts.outbox),
        base: Counters::default(),
        attachment,
        input: None,
        output: None,
        wake: None,
        place: parts.place,
        inbox,
        beat,
        maker,
        processor: Some(processor),
        last: None,
        running: false,
        produce_at: None,
    };
    thread.run();
    if let (false, Some(processor)) = (thread.running, thread.processor.take()) {
        parts.shelf.put(&thread.maker.task, processor);
    }
}

/// Makes processors, and keeps one that always breaks from taking all the time.
struct Maker {
    factory: SharedFactory,
    task: Task,
    broken: u32,
    since: Instant,
}

impl Maker {
    fn make(&mut self) -> Result<Box<dyn Processor>, String> {
        let (factory, task) = (&self.factory, &self.task);
        let made = catch_unwind(AssertUnwindSafe(|| {
            factory.lock().unwrap_or_else(PoisonError::into_inner).make(task)
        }));
        match made {
            Ok(made) => made.map_err(|e| e.to_string()),
            Err(panic) => Err(format!("its factory panicked: {}", text(&*panic))),
        }
    }

    /// Another one in place of a broken one; `None` while too many broke within the second.
    fn again(&mut self) -> Option<Box<dyn Processor>> {
        if self.since.elapsed() > Duration::from_secs(1) {
            (self.since, self.broken) = (Instant::now(), 0);
        }
        if self.broken >= MAX_REMAKES {
            return None;
        }
        self.broken += 1;
        match self.make() {
            Ok(processor) => Some(processor),
            Err(error) => {
                tracing::warn!(task = self.task.id.0, error, "a processor could not be made anew");
                None
            }
        }
    }
}

struct Thread {
    notes: Notes,
    /// What ports counted that this task has no more.
    base: Counters,
    attachment: Attachment,
    // Before its inlet, whose memory it lies in.
    last: Option<Frame>,
    input: Option<Inlet>,
    output: Option<Outlet>,
    wake: Option<Wake>,
    place: Place,
    inbox: Arc<Inbox>,
    beat: Arc<Beat>,
    maker: Maker,
    processor: Option<Box<dyn Processor>>,
    running: bool,
    /// A source's next turn.
    produce_at: Option<Instant>,
}

impl Thread {
    fn run(&mut self) {
        loop {
            self.wait();
            if self.inbox.waiting() && !self.obey() {
                return;
            }
            if self.running && self.input.is_none() {
                self.produce();
                continue;
            }
            // Until a step of draining finds nothing; each is before the reading of what it told.
            while self.running && self.wake.as_ref().is_some_and(|wake| wake.drain_once(|_| ())) {
                if !self.read() {
                    return;
                }
            }
            // What a lost wake-up did not tell of.
            if self.running && !self.read() {
                return;
            }
        }
    }

    /// Works on all frames that wait; false when the thread shall end.
    fn read(&mut self) -> bool {
        while let Some(frame) = self.input.as_mut().and_then(Inlet::receive) {
            self.process(&frame);
            let keeps = self.processor.as_ref().is_some_and(|p| p.keeps_last());
            if keeps && !frame.payload().is_empty() {
                self.last = Some(frame);
            }
            if self.inbox.waiting() && !self.obey() {
                return false;
            }
        }
        self.after_reading();
        true
    }

    /// Until a frame or an order came, or a safety check is due.
    fn wait(&self) {
        let orders = PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN);
        // An interrupted wait is a round for nothing.
        let _ = match (&self.wake, self.running) {
            (Some(wake), true) => {
                let frames = PollFd::new(wake.as_fd(), PollFlags::POLLIN);
                poll(&mut [orders, frames], PollTimeout::from(SAFETY_CHECK_MS))
            }
            (None, true) => poll(&mut [orders], self.until_turn()),
            // A prepared task has no ports yet.
            (_, false) => poll(&mut [orders], PollTimeout::NONE),
        };
    }

    /// Until a source's next turn, up to a whole millisecond.
    fn until_turn(&self) -> PollTimeout {
        let left = self.produce_at.map(|at| at.saturating_duration_since(Instant::now()));
        let ms = left.map_or(0, |left| left.as_micros().div_ceil(1000));
        PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
    }

    /// A source's turn, when it is due.
    fn produce(&mut self) {
        let now = Instant::now();
        if self.produce_at.is_some_and(|at| now < at) {
            return;
        }
        let again = self.call(0, |processor, out| processor.produce(out));
        // From when it was due, so that a source keeps its rate; one that is behind by a second begins anew.
        let from = self.produce_at.filter(|at| now.duration_since(*at) < PAUSE).unwrap_or(now);
        self.produce_at = Some(from + again.unwrap_or(PAUSE));
        self.publish_counters();
    }

    /// Does what it is told; false when it shall end.
    fn obey(&mut self) -> bool {
        let Orders { stop, start, rewire, keyframe, bitrate, repeat, params } = self.inbox.take();
        if stop {
            return false;
        }
        if let Some(ports) = start {
            (self.input, self.output, self.wake) = (ports.input, ports.output, ports.wake);
            self.running = true;
        }
        for wiring in rewire {
            self.rewire(wiring);
        }
        let plain = [keyframe.then_some(Command::Keyframe), bitrate.map(Command::Bitrate)];
        for command in plain.into_iter().flatten() {
            if let Err(why) = self.command(&command) {
                tracing::warn!(task = self.maker.task.id.0, ?command, why, "a command failed");
            }
        }
        if let Some(media_time_ns) = repeat {
            let last = self.last.take();
            self.call(0, |processor, out| processor.repeat(last.as_ref(), media_time_ns, out));
            self.last = last;
            self.publish_counters();
        }
        for (node, json, answer) in params {
            if let Err(why) = self.command(&Command::Params { node, json }) {
                answer.fail(why);
            }
        }
        true
    }

    fn rewire(&mut self, wiring: Wiring) {
        match (wiring.input, &mut self.input) {
            (Some(Port::Fresh(inlet)), Some(input)) => {
                let old = std::mem::replace(input, *inlet);
                add_read(&mut self.base, &old.counters());
            }
            (Some(Port::Keep(spec)), Some(input)) => {
                if let Err(error) = input.respec(&spec) {
                    tracing::warn!(%error, "a task keeps the old description of its input");
                }
            }
            (None, _) | (_, None) => {}
        }
        match (wiring.output, &mut self.output) {
            (Some(Port::Fresh(outlet)), Some(output)) => {
                let old = std::mem::replace(output, *outlet);
                add_written(&mut self.base, &old.counters());
            }
            (Some(Port::Keep(spec)), Some(output)) => {
                if let Err(error) = output.respec(&self.attachment, &spec) {
                    tracing::warn!(%error, "a task keeps the old description of its output");
                }
            }
            (None, _) | (_, None) => {}
        }
        // A processor that is made anew later is for the new channels.
        self.maker.task.input = self.input.as_ref().map(|input| input.spec().clone());
        self.maker.task.output = self.output.as_ref().map(|output| output.spec().clone());
        if let Some(processor) = &mut self.processor
            && catch_unwind(AssertUnwindSafe(|| processor.rewired())).is_err()
        {
            self.broke("it panicked when it was rewired");
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), String> {
        let Some(processor) = &mut self.processor else {
            return Err("the task's processor is broken".into());
        };
        self.beat.busy(monotonic_ns());
        let done = catch_unwind(AssertUnwindSafe(|| processor.command(command)));
        self.beat.idle(false);
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(TaskError::Broken(why))) => {
                self.broke(&why);
                Err(why)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => {
                let why = format!("it panicked: {}", text(&*panic));
                self.broke(&why);
                Err(why)
            }
        }
    }

    fn process(&mut self, frame: &Frame) {
        self.call(frame.meta().sequence, |processor, out| processor.process(frame, out));
        self.publish_counters();
    }

    /// Calls the processor, for the frame with this sequence, so that its errors and panics are counted, and a crash or a
    /// hang can be told from outside. `None` when it failed.
    fn call<T>(
        &mut self,
        sequence: u64,
        work: impl FnOnce(&mut dyn Processor, &mut Output<'_>) -> Result<T, TaskError>,
    ) -> Option<T> {
        if self.processor.is_none() {
            // It may load a model, or wait for another task that does; but one that never comes back must be seen.
            self.beat.busy(monotonic_ns() + MAKING_NS);
            self.processor = self.maker.again();
        }
        self.beat.busy(monotonic_ns());
        let Some(processor) = &mut self.processor else {
            self.beat.idle(true);
            self.notes.count_drop(DropReason::NodeError);
            return None;
        };
        self.place.begin(sequence);
        let mut out = Output {
            outlet: self.output.as_mut(),
            notes: &mut self.notes,
            input: self.input.as_ref().map(Inlet::spec),
            place: &self.place,
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut **processor, &mut out)));
        self.place.end();
        self.beat.idle(true);
        match done {
            Ok(Ok(made)) => return Some(made),
            Ok(Err(TaskError::Broken(why))) => {
                self.notes.counters.errors += 1;
                self.broke(&why);
            }
            Ok(Err(TaskError::Failed(_) | TaskError::Send(_))) => self.notes.counters.errors += 1,
            Err(panic) => {
                self.notes.counters.errors += 1;
                let why = format!("it panicked: {}", text(&*panic));
                self.broke(&why);
            }
        }
        None
    }

    /// The processor is made anew before the next frame.
    fn broke(&mut self, why: &str) {
        tracing::warn!(task = self.maker.task.id.0, why, "a processor broke and is made anew");
        // Its destructor may panic as well.
        let broken = self.processor.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
    }

    fn after_reading(&mut self) {
        self.publish_counters();
        let Some(input) = &self.input else { return };
        // A tap makes do with what passes.
        if input.keyframe_wanted() && self.maker.task.kind != TaskKind::Tap {
            self.notes.want_keyframe(input.spec(), KeyframeReason::Overflow);
        }
        if let Some(fault) = input.fault() {
            // Nothing can be read any more: the process ends, and the router gives its work to another.
            tracing::error!(%fault, "a task's input is lost");
            super::process::leave(1);
        }
    }

    fn publish_counters(&self) {
        self.beat.count(&self.total());
    }

    fn total(&self) -> Counters {
        let (mut total, own) = (self.base, &self.notes.counters);
        if let Some(input) = &self.input {
            add_read(&mut total, &input.counters());
        }
        if let Some(output) = &self.output {
            add_written(&mut total, &output.counters());
        }
        total.copied_bytes += own.copied_bytes;
        total.concealed += own.concealed;
        total.errors += own.errors;
        total.keyframes += own.keyframes;
        for (sum, count) in total.dropped.iter_mut().zip(own.dropped) {
            *sum = sum.saturating_add(count);
        }
        total
    }
}

fn add_read(total: &mut Counters, read: &InletCounters) {
    total.received += read.received;
    total.keyframes += read.keyframes;
    // A liar's sequence numbers make any count of lost frames.
    for (sum, count) in total.dropped.iter_mut().zip(read.dropped) {
        *sum = sum.saturating_add(count);
    }
}

fn add_written(total: &mut Counters, written: &OutletCounters) {
    total.published += written.published;
    for (reason, count) in
        [(DropReason::TooLarge, written.too_large), (DropReason::NoConsumer, written.no_consumer)]
    {
        if let Some(sum) = total.dropped.get_mut(reason.index()) {
            *sum = sum.saturating_add(count);
        }
    }
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> &str {
    match panic.downcast_ref::<String>() {
        Some(text) => text,
        None => panic.downcast_ref::<&str>().copied().unwrap_or("no text"),
    }
}
