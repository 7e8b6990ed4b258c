//! The stream of access units between the router and a session's steward: bounded both ways, nobody waits for it.

use crate::workers::WorkerId;
use bytes::Bytes;
use remotemedia_shm_schema::Meta;
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::TaskId;
use remotemedia_shm_schema::unit::{UNIT_HEAD, UnitHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Units that wait for the steward to take them (chosen: 200 ms of ten senders); one more is dropped, and its sender's next
/// keyframe asked for.
const ENTERING: usize = 256;
/// Units that wait for the session's task (chosen: what a channel holds, for 16 channels).
pub(super) const ARRIVED: usize = 128;

/// A unit that came out of the session's workers.
pub(super) struct Unit {
    pub(super) task: TaskId,
    pub(super) missed: u64,
    pub(super) meta: Meta,
    pub(super) payload: Bytes,
}

/// What the stream tells.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are units; a box would be an allocation a frame"
)]
pub(super) enum Arrived {
    Unit(Unit),
    /// It cannot be read further.
    Broken(WorkerId, String),
}

/// A track's way into the session's workers.
#[derive(Debug, Clone)]
pub(super) struct Inflow {
    task: TaskId,
    /// Of the wiring: the steward may not have been told yet that it is in force.
    epoch: u32,
    to: mpsc::Sender<Vec<u8>>,
}

/// The router's end of the stream.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    to: mpsc::Sender<Vec<u8>>,
}

impl Relay {
    /// Carries until the stream or the session ends.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub(super) fn start(
        steward: WorkerId,
        stream: std::os::unix::net::UnixStream,
        tasks: &mut JoinSet<()>,
        arrived: mpsc::Sender<Arrived>,
    ) -> std::io::Result<Self> {
        let (reader, mut writer) = UnixStream::from_std(stream)?.into_split();
        let (to, mut waiting) = mpsc::channel::<Vec<u8>>(ENTERING);
        tasks.spawn(async move {
            while let Some(unit) = waiting.recv().await {
                // A broken stream is told by its reader.
                if writer.write_all(&unit).await.is_err() {
                    return;
                }
            }
        });
        tasks.spawn(async move {
            let why = read(reader, &arrived).await;
            let _ = arrived.send(Arrived::Broken(steward, why)).await;
        });
        Ok(Self { to })
    }

    /// A track's way in, by this task of the steward's.
    pub(super) fn inflow(&self, task: TaskId, epoch: u32) -> Inflow {
        Inflow { task, epoch, to: self.to.clone() }
    }
}

impl Inflow {
    /// Sends a unit of `len` bytes, which `fill` writes: the one copy on the way in.
    pub(super) fn write(
        &self,
        len: usize,
        mut meta: Meta,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), DropReason> {
        let permit = self.to.try_reserve().map_err(|_| DropReason::Overflow)?;
        meta.epoch = self.epoch;
        let short = u32::try_from(len).map_err(|_| DropReason::TooLarge)?;
        let head = UnitHead { len: short, task: self.task, missed: 0, meta };
        let mut unit = vec![0; UNIT_HEAD + len];
        let (begin, payload) = unit.split_at_mut(UNIT_HEAD);
        begin.copy_from_slice(&head.to_bytes());
        if fill(payload) != len {
            return Err(DropReason::Malformed);
        }
        permit.send(unit);
        Ok(())
    }
}

/// Reads units until the stream ends or says something else; tells why.
async fn read(reader: OwnedReadHalf, arrived: &mpsc::Sender<Arrived>) -> String {
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let mut head = [0; UNIT_HEAD];
    loop {
        if let Err(error) = reader.read_exact(&mut head).await {
            return error.to_string();
        }
        let UnitHead { len, task, missed, meta } = match UnitHead::from_bytes(&head) {
            Ok(head) => head,
            Err(fault) => return fault.to_string(),
        };
        let mut payload = vec![0; len as usize];
        if let Err(error) = reader.read_exact(&mut payload).await {
            return error.to_string();
        }
        let unit = Unit { task, missed, meta, payload: payload.into() };
        if arrived.send(Arrived::Unit(unit)).await.is_err() {
            return "the session ended".into();
        }
    }
}
