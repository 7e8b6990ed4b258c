//! One session as a worker sees it: its open namespace, its tasks, and the wiring that is prepared.

use super::Command;
use super::beat::Beat;
use super::control::Outbox;
use super::inbox::{Answer, Inbox, Port, Ports, Wiring};
use super::mark::Marks;
use super::shelf::Shelf;
use super::task::{self, Parts, SharedFactory};
use crate::Attachment;
use remotemedia_shm_schema::control::{
    Change, ChannelSpec, Namespace, Task, TaskId, TaskKind, ThreadBeat, ToRouter,
};
use remotemedia_shm_schema::{ChannelIndex, NodeId, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Tasks of one session in one worker, prepared ones included (DESIGN: 10 peers with 4 tracks each).
const MAX_TASKS: usize = 128;

/// A task and the way to its thread.
#[derive(Debug)]
struct Handle {
    task: Task,
    inbox: Arc<Inbox>,
    beat: Arc<Beat>,
    serial: u64,
    thread: JoinHandle<()>,
    /// Until it is in force: whatever its processor's making takes, they can be given up at once.
    ports: Option<Ports>,
}

/// A thread that was told to stop and has not ended yet.
#[derive(Debug)]
struct Ending {
    thread: JoinHandle<()>,
    /// It has ports; one that has not may take as long as its processor's making takes.
    holds: bool,
}

/// A wiring that is opened and not yet in force.
#[derive(Debug)]
struct Prepared {
    epoch: u32,
    added: BTreeMap<TaskId, Handle>,
    rewired: Vec<(TaskId, Option<ChannelSpec>, Option<ChannelSpec>, Wiring)>,
    removed: Vec<TaskId>,
    /// Tasks whose processor is still being made.
    unmade: BTreeSet<TaskId>,
}

/// How a thread came to end.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to; with what is to be said now that it has.
    Asked(Option<ToRouter>),
    /// Nobody told it.
    Unasked,
}

/// A session's tasks.
pub(super) struct Session {
    id: SessionId,
    attachment: Attachment,
    factory: SharedFactory,
    outbox: Arc<Outbox>,
    marks: Arc<Marks>,
    shelf: Arc<Shelf>,
    epoch: Option<u32>,
    tasks: BTreeMap<TaskId, Handle>,
    prepared: Option<Prepared>,
    /// By serial.
    ending: BTreeMap<u64, Ending>,
    /// A wiring that is opened when those have ended that are in its way.
    deferred: Option<(u32, Vec<Change>)>,
    released: bool,
    serial: u64,
}

impl Session {
    pub(super) fn open(
        id: SessionId,
        namespace: &Namespace,
        factory: SharedFactory,
        outbox: Arc<Outbox>,
        marks: Arc<Marks>,
    ) -> Result<Self, crate::Fault> {
        Ok(Self {
            id,
            attachment: Attachment::open(namespace)?,
            factory,
            outbox,
            marks,
            shelf: Arc::default(),
            epoch: None,
            tasks: BTreeMap::new(),
            prepared: None,
            ending: BTreeMap::new(),
            deferred: None,
            released: false,
            serial: 0,
        })
    }

    /// Opens what a new wiring needs. `Ready` follows when all processors are made; `None` is nothing to say yet.
    pub(super) fn prepare(&mut self, epoch: u32, changes: Vec<Change>) -> Option<ToRouter> {
        if self.epoch.is_some_and(|current| epoch < current) {
            return None;
        }
        let done = if self.epoch == Some(epoch) {
            Err(format!("epoch {epoch} is in force already"))
        } else if self.released {
            Err("the session was released".to_owned())
        } else {
            // The router prepares one wiring at a time; an older one that it forgot is dropped.
            self.abandon();
            if self.in_the_way(&changes) {
                self.deferred = Some((epoch, changes));
                return None;
            }
            self.open_changes(epoch, changes)
        };
        match done {
            Ok(()) => self.ready(),
            Err(error) => {
                self.abandon();
                Some(ToRouter::Refused { session: self.id.clone(), epoch, error })
            }
        }
    }

    /// Whether threads must end before these changes can be opened: a channel has no more ports than it needs, and what a
    /// thread makes for nobody goes on the shelf when it is made, where a new task shall find it.
    fn in_the_way(&self, changes: &[Change]) -> bool {
        let adds = changes.iter().any(|change| matches!(change, Change::Add(_)));
        self.ending.values().any(|ending| adds || ending.holds)
    }

    fn open_changes(&mut self, epoch: u32, changes: Vec<Change>) -> Result<(), String> {
        self.prepared = Some(Prepared {
            epoch,
            added: BTreeMap::new(),
            rewired: Vec::new(),
            removed: Vec::new(),
            unmade: BTreeSet::new(),
        });
        for change in changes {
            match change {
                Change::Add(task) => self.add(epoch, task)?,
                Change::Rewire { task, input, output } => self.rewire(task, input, output)?,
                Change::Remove(task) => {
                    if !self.tasks.contains_key(&task) {
                        return Err(format!("there is no task {}", task.0));
                    }
                    if let Some(prepared) = &mut self.prepared {
                        prepared.removed.push(task);
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, epoch: u32, task: Task) -> Result<(), String> {
        let Some(prepared) = &mut self.prepared else { return Ok(()) };
        let id = task.id;
        let standing = self.tasks.contains_key(&id) && !prepared.removed.contains(&id);
        if standing || prepared.added.contains_key(&id) {
            return Err(format!("task {} is there already", id.0));
        }
        if self.tasks.len() + prepared.added.len() >= MAX_TASKS {
            return Err(format!("a session may have {MAX_TASKS} tasks in one worker"));
        }
        let text = |e: crate::Fault| e.to_string();
        let open = |spec: &ChannelSpec| self.attachment.inlet(spec).map_err(text);
        let input = task.input.as_ref().map(open).transpose()?;
        let open = |spec: &ChannelSpec| self.attachment.outlet(spec).map_err(text);
        let output = task.output.as_ref().map(open).transpose()?;
        let wake = match &input {
            Some(_) => Some(self.attachment.wake(&task.wake).map_err(text)?),
            None => None,
        };
        let inbox = Arc::new(Inbox::new().map_err(|e| e.to_string())?);
        let beat = Arc::new(Beat::new());
        self.serial += 1;
        let serial = self.serial;
        let thread = task::spawn(Parts {
            session: self.id.clone(),
            epoch,
            task: task.clone(),
            attachment: self.attachment.clone(),
            inbox: Arc::clone(&inbox),
            beat: Arc::clone(&beat),
            place: self.marks.place(id),
            factory: Arc::clone(&self.factory),
            outbox: Arc::clone(&self.outbox),
            shelf: Arc::clone(&self.shelf),
            serial,
        })
        .map_err(|e| format!("cannot start a thread: {e}"))?;
        prepared.unmade.insert(id);
        let ports = Some(Ports { input, output, wake });
        prepared.added.insert(id, Handle { task, inbox, beat, serial, thread, ports });
        Ok(())
    }

    fn rewire(
        &mut self,
        id: TaskId,
        input: Option<ChannelSpec>,
        output: Option<ChannelSpec>,
    ) -> Result<(), String> {
        let Some(handle) = self.tasks.get(&id) else {
            return Err(format!("there is no task {}", id.0));
        };
        let text = |e: crate::Fault| e.to_string();
        // Opened here, so that the task's thread goes on with its frames meanwhile.
        let same = |one: &Option<ChannelSpec>, other: &ChannelSpec| {
            one.as_ref().is_some_and(|spec| spec.service == other.service)
        };
        if input.is_some() != handle.task.input.is_some()
            || output.is_some() != handle.task.output.is_some()
        {
            return Err(format!("task {} cannot win or lose an end", id.0));
        }
        let wiring = Wiring {
            input: match &input {
                Some(spec) if same(&handle.task.input, spec) => Some(Port::Keep(spec.clone())),
                Some(spec) => {
                    let inlet = self.attachment.inlet(spec).map_err(text)?;
                    Some(Port::Fresh(Box::new(inlet)))
                }
                None => None,
            },
            output: match &output {
                Some(spec) if same(&handle.task.output, spec) => Some(Port::Keep(spec.clone())),
                Some(spec) => {
                    let outlet = self.attachment.outlet(spec).map_err(text)?;
                    Some(Port::Fresh(Box::new(outlet)))
                }
                None => None,
            },
        };
        if let Some(prepared) = &mut self.prepared {
            prepared.rewired.push((id, input, output, wiring));
        }
        Ok(())
    }

    /// A thread made its processor, or could not.
    pub(super) fn made(
        &mut self,
        epoch: u32,
        task: TaskId,
        result: Result<(), String>,
    ) -> Option<ToRouter> {
        let prepared = self.prepared.as_mut().filter(|prepared| prepared.epoch == epoch)?;
        if !prepared.unmade.remove(&task) {
            return None;
        }
        match result {
            Ok(()) => self.ready(),
            Err(error) => {
                self.abandon();
                Some(ToRouter::Refused { session: self.id.clone(), epoch, error })
            }
        }
    }

    fn ready(&self) -> Option<ToRouter> {
        let prepared = self.prepared.as_ref().filter(|prepared| prepared.unmade.is_empty())?;
        Some(ToRouter::Ready { session: self.id.clone(), epoch: prepared.epoch })
    }

    /// Puts the prepared wiring in force.
    pub(super) fn switch(&mut self, epoch: u32) {
        let ready = self.prepared.as_ref().is_some_and(|p| p.epoch == epoch && p.unmade.is_empty());
        let Some(prepared) = self.prepared.take_if(|_| ready) else {
            tracing::warn!(session = %self.id, epoch, "a switch to an epoch that is not prepared");
            return;
        };
        for id in prepared.removed {
            if let Some(handle) = self.tasks.remove(&id) {
                self.stop(handle);
            }
        }
        for (id, input, output, wiring) in prepared.rewired {
            if let Some(handle) = self.tasks.get_mut(&id) {
                handle.task.input = input;
                handle.task.output = output;
                handle.inbox.rewire(wiring);
            }
        }
        for (id, mut handle) in prepared.added {
            if let Some(ports) = handle.ports.take() {
                handle.inbox.start(ports);
            }
            self.tasks.insert(id, handle);
        }
        self.epoch = Some(epoch);
    }

    /// Forgets what is prepared, if it is this epoch.
    pub(super) fn abandon_epoch(&mut self, epoch: u32) {
        let prepared = self.prepared.as_ref().map(|prepared| prepared.epoch);
        let deferred = self.deferred.as_ref().map(|(epoch, _)| *epoch);
        if prepared == Some(epoch) || deferred == Some(epoch) {
            self.abandon();
        }
    }

    fn abandon(&mut self) {
        self.deferred = None;
        let Some(prepared) = self.prepared.take() else { return };
        for handle in prepared.added.into_values() {
            self.stop(handle);
        }
    }

    fn stop(&mut self, handle: Handle) {
        handle.inbox.stop();
        let holds = handle.ports.is_none();
        self.ending.insert(handle.serial, Ending { thread: handle.thread, holds });
    }

    /// The task that writes this channel gets a command. An old epoch does not matter: a keyframe too many costs less
    /// than one too few.
    pub(super) fn command_writer(&self, channel: ChannelIndex, command: &Command) {
        for handle in self.writers(channel) {
            handle.inbox.command(command.clone(), None);
        }
    }

    /// The task that writes this channel shows its last frame again.
    pub(super) fn repeat(&self, channel: ChannelIndex, media_time_ns: u64) {
        for handle in self.writers(channel) {
            handle.inbox.repeat(media_time_ns);
        }
    }

    fn writers(&self, channel: ChannelIndex) -> impl Iterator<Item = &Handle> {
        self.tasks.values().filter(move |handle| {
            handle.task.output.as_ref().is_some_and(|output| output.index == channel)
        })
    }

    /// New parameters for a node, in all tasks that run it; the answer follows when all have applied them.
    pub(super) fn params(&self, node: &NodeId, json: &str, request: u32) {
        let answer = Answer::new(self.id.clone(), request, Arc::clone(&self.outbox));
        let answer = Arc::new(answer);
        let mut found = false;
        for handle in self.tasks.values().filter(|h| runs(&h.task.kind, node)) {
            let command = Command::Params { node: node.clone(), json: json.to_owned() };
            handle.inbox.command(command, Some(Arc::clone(&answer)));
            found = true;
        }
        if !found {
            answer.fail(format!("no task here runs the node `{node}`"));
        }
    }

    /// Stops everything; [`Session::over`] tells when it is done.
    pub(super) fn release(&mut self) {
        self.abandon();
        for handle in std::mem::take(&mut self.tasks).into_values() {
            self.stop(handle);
        }
        self.released = true;
    }

    /// A thread ended, of itself or because it was told to.
    pub(super) fn ended(&mut self, task: TaskId, serial: u64) -> Ended {
        let Some(Ending { thread, .. }) = self.ending.remove(&serial) else {
            tracing::error!(session = %self.id, task = task.0, "a task ended by itself");
            return Ended::Unasked;
        };
        // It has dropped all that it held and is on its last instructions.
        let _ = thread.join();
        let ready = self.deferred.as_ref().is_some_and(|(_, changes)| !self.in_the_way(changes));
        match self.deferred.take_if(|_| ready) {
            Some((epoch, changes)) => Ended::Asked(self.prepare(epoch, changes)),
            None => Ended::Asked(None),
        }
    }

    /// Whether it is released and no thread holds anything of it.
    pub(super) fn over(&self) -> bool {
        self.released && self.ending.is_empty()
    }

    /// Each task's state; a prepared one's too, whose processor may take long to make.
    pub(super) fn beats(&self) -> impl Iterator<Item = ThreadBeat> {
        let prepared = self.prepared.iter().flat_map(|prepared| &prepared.added);
        // A task that is replaced under its own number is told once, as the running one.
        let prepared = prepared.filter(|(id, _)| !self.tasks.contains_key(id));
        self.tasks.iter().chain(prepared).map(|(id, h)| h.beat.read(self.id.clone(), *id))
    }
}

fn runs(kind: &TaskKind, node: &NodeId) -> bool {
    match kind {
        TaskKind::Graph { nodes } => nodes.iter().any(|n| n.id == *node),
        TaskKind::Decode { .. }
        | TaskKind::EncodeVideo(_)
        | TaskKind::EncodeAudio(_)
        | TaskKind::Tap
        | TaskKind::Enter
        | TaskKind::Exit
        | TaskKind::Source { .. } => false,
    }
}
