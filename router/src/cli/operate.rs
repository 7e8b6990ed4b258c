//! `remotemedia restart` and `detach`: an operator's word over the router's control socket.

use super::Failure;
use super::target::Target;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use remotemedia_shm_schema::control::{
    Encoding, Frames, HELLO_LEN, Hello, Operation, Role, ToRouter, ToWorker, encode,
};
use remotemedia_shm_schema::{NodeId, SessionId};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A router answers within this, or it is taken for hung (chosen).
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Put what failed in a session to work again.
#[derive(Debug, Args)]
pub struct Restart {
    /// The session's id
    session: SessionId,
    /// Only this node, also if it works; without it all that failed
    node: Option<NodeId>,
    #[command(flatten)]
    target: Target,
}

/// Take an attached node, source or tap out of a session.
#[derive(Debug, Args)]
pub struct Detach {
    /// The session's id
    session: SessionId,
    /// The node's id, the source's name, or the tap's name in `remotemedia ps`
    name: String,
    #[command(flatten)]
    target: Target,
}

pub(super) fn restart(args: Restart) -> Result<(), Failure> {
    let Restart { session, node, target } = args;
    Ok(operate(&target, Operation::Restart { session, node })?)
}

pub(super) fn detach(args: Detach) -> Result<(), Failure> {
    let Detach { session, name, target } = args;
    Ok(operate(&target, Operation::Detach { session, name })?)
}

fn operate(target: &Target, operation: Operation) -> anyhow::Result<()> {
    let mut socket = target.control()?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    let encoding = Encoding::Json;
    let own =
        Hello { role: Role::Operator, name: "operator".into(), pid: std::process::id(), encoding };
    socket.write_all(&own.to_bytes())?;
    read_hello(&mut socket).context("the router's hello")?;
    socket.write_all(&encode(encoding, &ToRouter::Operate(operation))?)?;
    let mut frames = Frames::new(encoding);
    let mut buffer = [0; 4096];
    loop {
        match frames.next()? {
            Some(ToWorker::Done) => return Ok(()),
            Some(ToWorker::Denied { error }) => return Err(anyhow!(error)),
            Some(other) => bail!("the router answered {other:?}"),
            None => {}
        }
        let read = socket.read(&mut buffer).context("the router did not answer")?;
        if read == 0 {
            bail!("the router closed the connection without an answer");
        }
        frames.push(buffer.get(..read).unwrap_or_default());
    }
}

fn read_hello(socket: &mut UnixStream) -> anyhow::Result<Hello> {
    let mut head = [0; HELLO_LEN];
    socket.read_exact(&mut head)?;
    let mut body = vec![0; Hello::check_head(&head)?];
    socket.read_exact(&mut body)?;
    Ok(Hello::from_body(&body)?)
}
