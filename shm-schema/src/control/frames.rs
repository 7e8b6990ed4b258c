//! Length-delimited messages: a u32 in little endian, then that many bytes of bincode or JSON.

use serde::{Serialize, de::DeserializeOwned};

/// Bytes of one message; a longer one ends the connection (chosen: a wiring of ten peers takes about 20 KiB).
pub const MAX_MESSAGE: usize = 64 * 1024;

/// How a message's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Between our own processes.
    Bincode,
    /// For those that attach.
    Json,
}

/// Why a stream of messages cannot be read further; the connection is to be closed.
#[derive(Debug, thiserror::Error)]
pub enum FrameFault {
    /// Longer than [`MAX_MESSAGE`].
    #[error("a control message of {0} bytes; {MAX_MESSAGE} are allowed")]
    TooLong(usize),
    /// Not a message of ours.
    #[error("a control message that cannot be read: {0}")]
    Malformed(String),
}

/// Writes a message with its length in front.
///
/// # Errors
/// When it is longer than [`MAX_MESSAGE`].
pub fn encode<M: Serialize>(encoding: Encoding, message: &M) -> Result<Vec<u8>, FrameFault> {
    let malformed = |e: &dyn std::fmt::Display| FrameFault::Malformed(e.to_string());
    let body = match encoding {
        Encoding::Bincode => {
            bincode::serde::encode_to_vec(message, config()).map_err(|e| malformed(&e))?
        }
        Encoding::Json => serde_json::to_vec(message).map_err(|e| malformed(&e))?,
    };
    if body.len() > MAX_MESSAGE {
        return Err(FrameFault::TooLong(body.len()));
    }
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn config() -> impl bincode::config::Config {
    // The limit stops a length field inside the body from reserving memory that the body cannot fill.
    bincode::config::standard().with_limit::<MAX_MESSAGE>()
}

/// Takes messages out of a stream of bytes; holds at most one message and what came behind it in the same read.
#[derive(Debug)]
pub struct Frames {
    encoding: Encoding,
    buffer: Vec<u8>,
    /// Bytes of it that were given out as messages.
    given: usize,
}

impl Frames {
    /// For messages of this encoding.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, buffer: Vec::new(), given: 0 }
    }

    /// Takes bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        // Once a read, not once a message: many small ones may come in one.
        self.buffer.drain(..std::mem::take(&mut self.given));
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; call until it gives `None`, then read more.
    ///
    /// # Errors
    /// When the stream cannot be read further.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator cannot choose the message's type"
    )]
    pub fn next<M: DeserializeOwned>(&mut self) -> Result<Option<M>, FrameFault> {
        let left = self.buffer.get(self.given..).unwrap_or_default();
        let Some((length, rest)) = left.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_MESSAGE {
            return Err(FrameFault::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let malformed = |e: &dyn std::fmt::Display| FrameFault::Malformed(e.to_string());
        let message = match self.encoding {
            Encoding::Bincode => {
                let (message, used) =
                    bincode::serde::decode_from_slice(body, config()).map_err(|e| malformed(&e))?;
                if used != length {
                    return Err(malformed(&format_args!("{} bytes too many", length - used)));
                }
                message
            }
            Encoding::Json => serde_json::from_slice(body).map_err(|e| malformed(&e))?,
        };
        self.given += 4 + length;
        Ok(Some(message))
    }
}
