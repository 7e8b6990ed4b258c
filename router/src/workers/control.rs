//! One worker's control socket: hello, then messages both ways; thin.

use remotemedia_shm_schema::control::{
    Encoding, FrameFault, Frames, HELLO_LEN, Hello, HelloFault, Role, ToRouter, ToWorker, encode,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Messages that wait for a worker; one that lets so many pile up is hung (chosen: a busy session sends about 20/s).
pub const OUTBOX: usize = 256;

/// A worker that says nothing for so long after its start is given up (DESIGN: the start limit).
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a control connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ControlFault {
    /// The hello was not one of ours.
    #[error(transparent)]
    Hello(#[from] HelloFault),
    /// It came from another kind of program.
    #[error("a worker that was started as {expected:?} says that it is {said:?}")]
    Role {
        /// What was started.
        expected: Role,
        /// What it says.
        said: Role,
    },
    /// No hello in time.
    #[error("no hello within {} s", HELLO_TIMEOUT.as_secs())]
    Silent,
    /// Not readable.
    #[error(transparent)]
    Frame(#[from] FrameFault),
    /// The socket.
    #[error("control socket: {0}")]
    Io(#[from] std::io::Error),
}

/// Greets, then reads messages into `sink` until either ends; `Ok` is an orderly end of file.
///
/// # Errors
/// When the worker broke the protocol.
pub async fn serve<M: Send>(
    stream: std::os::unix::net::UnixStream,
    expected: Role,
    mut outbox: mpsc::Receiver<ToWorker>,
    sink: mpsc::Sender<M>,
    wrap: impl Fn(ToRouter) -> M + Send,
) -> Result<(), ControlFault> {
    let stream = UnixStream::from_std(stream)?;
    let (mut reader, mut writer) = stream.into_split();
    let own = Hello {
        role: Role::Router,
        name: "router".into(),
        pid: std::process::id(),
        encoding: Encoding::Bincode,
    };
    writer.write_all(&own.to_bytes()).await?;
    let hello = tokio::time::timeout(HELLO_TIMEOUT, read_hello(&mut reader))
        .await
        .map_err(|_| ControlFault::Silent)??;
    if hello.role != expected {
        return Err(ControlFault::Role { expected, said: hello.role });
    }
    let encoding = hello.encoding;
    let writing = async {
        while let Some(message) = outbox.recv().await {
            write(&mut writer, encoding, &message).await?;
        }
        // Nobody will write again; reading goes on until the worker closes.
        std::future::pending::<Result<(), ControlFault>>().await
    };
    let reading = async {
        let mut frames = Frames::new(encoding);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            frames.push(&buffer[..read]);
            while let Some(message) = frames.next()? {
                if sink.send(wrap(message)).await.is_err() {
                    return Ok(());
                }
            }
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

async fn write(
    writer: &mut OwnedWriteHalf,
    encoding: Encoding,
    message: &ToWorker,
) -> Result<(), ControlFault> {
    writer.write_all(&encode(encoding, message)?).await?;
    Ok(())
}

async fn read_hello(reader: &mut OwnedReadHalf) -> Result<Hello, ControlFault> {
    let mut head = [0; HELLO_LEN];
    reader.read_exact(&mut head).await?;
    let mut body = vec![0; Hello::check_head(&head)?];
    reader.read_exact(&mut body).await?;
    Ok(Hello::from_body(&body)?)
}
