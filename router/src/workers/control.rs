//! One control socket: hello, then messages both ways; thin.

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
    #[error("no hello within {} s", .0.as_secs())]
    Silent(Duration),
    /// Not readable.
    #[error(transparent)]
    Frame(#[from] FrameFault),
    /// The socket.
    #[error("control socket: {0}")]
    Io(#[from] std::io::Error),
}

/// The reading end of a greeted connection.
#[derive(Debug)]
pub struct Reader {
    socket: OwnedReadHalf,
    frames: Frames,
    buffer: Vec<u8>,
}

/// The writing end of a greeted connection.
#[derive(Debug)]
pub struct Writer {
    socket: OwnedWriteHalf,
    encoding: Encoding,
}

/// Says hello both ways; what the other end says it is, is the caller's to judge.
///
/// # Errors
/// When it says nothing in time, or something else.
pub async fn greet(
    stream: UnixStream,
    within: Duration,
) -> Result<(Hello, Reader, Writer), ControlFault> {
    let (mut reader, mut writer) = stream.into_split();
    let own = Hello {
        role: Role::Router,
        name: "router".into(),
        pid: std::process::id(),
        encoding: Encoding::Bincode,
    };
    writer.write_all(&own.to_bytes()).await?;
    let hello = tokio::time::timeout(within, read_hello(&mut reader))
        .await
        .map_err(|_| ControlFault::Silent(within))??;
    let encoding = hello.encoding;
    let buffer = vec![0; 16 * 1024];
    let reader = Reader { socket: reader, frames: Frames::new(encoding), buffer };
    Ok((hello, reader, Writer { socket: writer, encoding }))
}

impl Reader {
    /// The next message; `None` is an orderly end of file. May be dropped while it waits without losing anything.
    ///
    /// # Errors
    /// When the other end broke the protocol.
    pub async fn next(&mut self) -> Result<Option<ToRouter>, ControlFault> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(message));
            }
            let read = self.socket.read(&mut self.buffer).await?;
            if read == 0 {
                return Ok(None);
            }
            self.frames.push(self.buffer.get(..read).unwrap_or_default());
        }
    }
}

impl Writer {
    /// Sends a message.
    ///
    /// # Errors
    /// When the socket is closed.
    pub async fn send(&mut self, message: &ToWorker) -> Result<(), ControlFault> {
        self.socket.write_all(&encode(self.encoding, message)?).await?;
        Ok(())
    }
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
    let (hello, mut reader, mut writer) = greet(stream, HELLO_TIMEOUT).await?;
    if hello.role != expected {
        return Err(ControlFault::Role { expected, said: hello.role });
    }
    let writing = async {
        while let Some(message) = outbox.recv().await {
            writer.send(&message).await?;
        }
        // Nobody will write again; reading goes on until the worker closes.
        std::future::pending::<Result<(), ControlFault>>().await
    };
    let reading = async {
        while let Some(message) = reader.next().await? {
            if sink.send(wrap(message)).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

async fn read_hello(reader: &mut OwnedReadHalf) -> Result<Hello, ControlFault> {
    let mut head = [0; HELLO_LEN];
    reader.read_exact(&mut head).await?;
    let mut body = vec![0; Hello::check_head(&head)?];
    reader.read_exact(&mut body).await?;
    Ok(Hello::from_body(&body)?)
}
