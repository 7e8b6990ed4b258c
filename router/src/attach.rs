//! The listening control socket: programs that attach by hand, and the commands of the operator.
//!
//! It lies in the runtime folder, which only the router's own user may enter; whoever connects must be that user all the
//! same, by the credentials that the kernel tells. Both say hello like any worker. An attacher's messages go to the session
//! that it joined; an operator says one thing and is answered.

use crate::registry;
use crate::session::Joiner;
use crate::sessions::Sessions;
use crate::workers::control::{self, ControlFault, Reader, Writer};
use crate::workers::{Flood, FrameLimits, Role, WorkerEvent, WorkerId, cut, overdue};
use anyhow::Context;
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control as wire;
use remotemedia_shm_schema::control::{Attach, Catalogue, Operation, ToRouter, ToWorker};
use remotemedia_worker::namespace::Runtime;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

/// Connections at once (chosen).
const CONNECTIONS: usize = 256;
/// Hello, catalogue and wish must have come within this (chosen).
const WISH_WITHIN: Duration = Duration::from_secs(5);
/// A node or a source without a heartbeat for so long is cut off.
const SILENT_NODE: Duration = Duration::from_secs(1);
/// The same for a tap, which nobody waits for (DESIGN: 5 s).
const SILENT_TAP: Duration = Duration::from_secs(5);
/// What is left to be said has this long when a session lets a program go (chosen).
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Ids of attached programs begin here: beyond all that the pool ever starts.
const FIRST_ID: u64 = 1 << 32;

/// The socket; dropped, its file is gone.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Opens it in the runtime folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(runtime: &Runtime) -> anyhow::Result<Self> {
        let path = runtime.dir().join(format!("{}.sock", registry::fresh_name()));
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        let socket = Self { path, listener };
        std::fs::set_permissions(&socket.path, Permissions::from_mode(0o600))
            .with_context(|| format!("cannot give a mode to {}", socket.path.display()))?;
        Ok(socket)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until the future is dropped; connections end with it.
    pub async fn serve(self, sessions: Sessions) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let numbers = Arc::new(AtomicU32::new(1));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => {
                    let stream = match accepted {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a control connection");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            continue;
                        }
                    };
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        tracing::warn!("{CONNECTIONS} control connections are open: one more is refused");
                        continue;
                    };
                    let (sessions, numbers) = (sessions.clone(), Arc::clone(&numbers));
                    connections.spawn(async move {
                        if let Err(error) = connection(stream, &sessions, &numbers).await {
                            tracing::info!("a control connection ended: {error}");
                        }
                        drop(place);
                    });
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the control socket");
        }
    }
}

async fn connection(
    stream: UnixStream,
    sessions: &Sessions,
    numbers: &AtomicU32,
) -> Result<(), ControlFault> {
    let who = stream.peer_cred()?;
    if who.uid() != nix::unistd::Uid::effective().as_raw() {
        tracing::warn!(uid = who.uid(), "a program of another user wants to attach: refused");
        return Ok(());
    }
    let pid = who.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
    let (hello, mut reader, mut writer) = control::greet(stream, WISH_WITHIN).await?;
    let first = tokio::time::timeout(WISH_WITHIN, wish(&mut reader)).await;
    let wish = first.map_err(|_| ControlFault::Silent(WISH_WITHIN))??;
    match (hello.role, wish) {
        (wire::Role::Operator, Wish::Operate(operation)) => {
            let said = match sessions.operate(operation).await {
                Ok(()) => ToWorker::Done,
                Err(error) => ToWorker::Denied { error },
            };
            writer.send(&said).await
        }
        (wire::Role::Custom, Wish::Attach(catalogue, wish)) => {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let id = WorkerId(FIRST_ID + u64::from(number));
            let joiner = Joining { id, number, pid, name: hello.name, catalogue, wish };
            attached(joiner, reader, writer, sessions).await
        }
        (role, _) => {
            let error = format!("a program that says it is {role:?} cannot ask for that here");
            writer.send(&ToWorker::Denied { error }).await
        }
    }
}

enum Wish {
    Attach(Catalogue, Attach),
    Operate(Operation),
    Nothing,
}

/// What a connection is for: the catalogue and a wish, or an operation.
async fn wish(reader: &mut Reader) -> Result<Wish, ControlFault> {
    let mut catalogue = Catalogue::default();
    while let Some(message) = reader.next().await? {
        match message {
            ToRouter::Catalogue(told) => catalogue = told,
            ToRouter::Attach(wish) => return Ok(Wish::Attach(catalogue, wish)),
            ToRouter::Operate(operation) => return Ok(Wish::Operate(operation)),
            // Heartbeats may come from the begin.
            ToRouter::Heartbeat { .. } => {}
            _ => return Ok(Wish::Nothing),
        }
    }
    Ok(Wish::Nothing)
}

struct Joining {
    id: WorkerId,
    number: u32,
    pid: u32,
    name: String,
    catalogue: Catalogue,
    wish: Attach,
}

async fn attached(
    joining: Joining,
    mut reader: Reader,
    mut writer: Writer,
    sessions: &Sessions,
) -> Result<(), ControlFault> {
    let Joining { id, number, pid, name, catalogue, wish } = joining;
    let role = Role::Attached(number);
    let session = session_of(&wish).clone();
    let silent = if matches!(wish, Attach::Tap { .. }) { SILENT_TAP } else { SILENT_NODE };
    let (outbox, mut outgoing) = mpsc::channel(control::OUTBOX);
    let (reply, answer) = oneshot::channel();
    let name: Arc<str> = format!("{}-{number}", printable(&name)).into();
    let limits = FrameLimits::default();
    let joiner = Joiner {
        id,
        role,
        limits: Arc::clone(&limits),
        pid,
        name: Arc::clone(&name),
        catalogue: Arc::new(catalogue),
        wish,
        outbox,
        reply,
    };
    let refused = match sessions.attach(session, joiner).await {
        Err(error) => Err(error),
        Ok(()) => answer.await.unwrap_or_else(|_| Err("the session ended".to_owned())),
    };
    let events = match refused {
        Ok(events) => events,
        Err(error) => return writer.send(&ToWorker::Denied { error }).await,
    };
    // Both ends in one task: what it says is bounded by its session's queue, what it is told by its outbox.
    let patience = Patience { silent, limits };
    let ended = carry(&mut reader, &mut writer, &mut outgoing, &events, (id, patience)).await;
    // The session learns that it is gone, however it went; one that was let go is known to be.
    let _ = events.send(WorkerEvent::Lost { worker: id, role }).await;
    let last = async {
        while let Some(message) = outgoing.recv().await {
            writer.send(&message).await?;
        }
        Ok::<(), ControlFault>(())
    };
    let _ = tokio::time::timeout(LAST_WORDS, last).await;
    tracing::info!(worker = %name, "an attached program is gone");
    ended
}

/// How long an attached program may take.
struct Patience {
    /// Without a word.
    silent: Duration,
    /// For one call, by its tasks.
    limits: FrameLimits,
}

async fn carry(
    reader: &mut Reader,
    writer: &mut Writer,
    outgoing: &mut mpsc::Receiver<ToWorker>,
    events: &mpsc::Sender<WorkerEvent>,
    (id, Patience { silent, limits }): (WorkerId, Patience),
) -> Result<(), ControlFault> {
    let mut heard = tokio::time::Instant::now();
    let mut flood = Flood::new(heard.into_std());
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => {
                    let sending = tokio::time::timeout(silent, writer.send(&message));
                    let Ok(sent) = sending.await else {
                        tracing::warn!(worker = id.0, "an attached program does not read: cut off");
                        return Ok(());
                    };
                    sent?;
                }
                // Its session dropped it.
                None => return Ok(()),
            },
            message = reader.next() => {
                heard = tokio::time::Instant::now();
                let Some(mut message) = message? else { return Ok(()) };
                cut(&mut message);
                let mut beat = false;
                if let ToRouter::Heartbeat { threads, .. } = &message {
                    beat = true;
                    if silent == SILENT_NODE && !overdue(threads, &limits).is_empty() {
                        tracing::warn!(worker = id.0, "one call of an attached program took too long: cut off");
                        return Ok(());
                    }
                }
                let much = flood.heard(heard.into_std(), beat);
                if much || events.try_send(WorkerEvent::Message(id, message)).is_err() {
                    tracing::warn!(worker = id.0, "an attached program floods its session: cut off");
                    return Ok(());
                }
            }
            () = tokio::time::sleep_until(heard + silent) => {
                tracing::warn!(worker = id.0, "an attached program was silent for {silent:?}: cut off");
                return Ok(());
            }
        }
    }
}

fn session_of(wish: &Attach) -> &SessionId {
    match wish {
        Attach::Tap { channel } | Attach::Insert { channel, .. } => &channel.session,
        Attach::Source { session, .. } => session,
    }
}

fn printable(name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_graphic).take(32).collect();
    if name.is_empty() { "attached".into() } else { name }
}
