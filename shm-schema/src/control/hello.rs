//! The first bytes of a control connection, of a layout that never changes.
//!
//! `RMCP`, u16 protocol, u32 ABI, u32 length, all little endian, then `length` bytes of JSON. A reader of any version can
//! tell from the first fourteen bytes whether it can go on, and say why not.

use super::Encoding;
use crate::ABI_VERSION;
use serde::{Deserialize, Serialize};

/// Version of the messages behind the hello.
pub const PROTOCOL_VERSION: u16 = 2;
/// Bytes before the body.
pub const HELLO_LEN: usize = 14;
/// Bytes of the body.
pub const MAX_HELLO_BODY: usize = 4096;

const MAGIC: [u8; 4] = *b"RMCP";

/// What a process is to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The router itself, in its answer.
    Router,
    /// Decodes and encodes.
    Codec,
    /// Runs nodes.
    Pipeline,
    /// Anybody's program.
    Custom,
    /// A person's command to a running router.
    Operator,
    /// Keeps a session's services and carries access units between them and the router.
    Steward,
}

/// Who speaks, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it is.
    pub role: Role,
    /// Its name in `ps`, 64 bytes at most.
    pub name: String,
    /// Its process id, as it sees it.
    pub pid: u32,
    /// How it writes and reads messages.
    pub encoding: Encoding,
}

/// Why a hello is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloFault {
    /// Not ours at all.
    #[error("this is not a remotemedia control connection: it begins with {0:02x?}")]
    Magic([u8; 4]),
    /// Other messages.
    #[error(
        "it speaks control protocol {0}, this process {PROTOCOL_VERSION}: build both from the same release"
    )]
    Protocol(u16),
    /// Other frame headers.
    #[error("it has frame ABI {0}, this process {ABI_VERSION}: build both from the same release")]
    Abi(u32),
    /// Longer than [`MAX_HELLO_BODY`].
    #[error("its hello has {0} bytes; {MAX_HELLO_BODY} are allowed")]
    TooLong(u32),
    /// The body does not say who it is.
    #[error("its hello cannot be read: {0}")]
    Body(String),
}

impl Hello {
    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = serde_json::json!({
            "role": self.role, "name": self.name, "pid": self.pid, "encoding": self.encoding,
        })
        .to_string();
        let mut bytes = Vec::with_capacity(HELLO_LEN + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        bytes.extend_from_slice(&ABI_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }

    /// Reads the fixed part and gives the length of the body that follows.
    ///
    /// # Errors
    /// When this process cannot speak with the other.
    pub fn check_head(head: &[u8; HELLO_LEN]) -> Result<usize, HelloFault> {
        let [a, b, c, d, p0, p1, i0, i1, i2, i3, l0, l1, l2, l3] = *head;
        if [a, b, c, d] != MAGIC {
            return Err(HelloFault::Magic([a, b, c, d]));
        }
        let protocol = u16::from_le_bytes([p0, p1]);
        if protocol != PROTOCOL_VERSION {
            return Err(HelloFault::Protocol(protocol));
        }
        let abi = u32::from_le_bytes([i0, i1, i2, i3]);
        if abi != ABI_VERSION {
            return Err(HelloFault::Abi(abi));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length as usize > MAX_HELLO_BODY {
            return Err(HelloFault::TooLong(length));
        }
        Ok(length as usize)
    }

    /// Reads the body.
    ///
    /// # Errors
    /// When it does not say who speaks.
    pub fn from_body(body: &[u8]) -> Result<Self, HelloFault> {
        let hello: Self =
            serde_json::from_slice(body).map_err(|e| HelloFault::Body(e.to_string()))?;
        if hello.name.len() > 64 {
            return Err(HelloFault::Body("`name` is longer than 64 bytes".into()));
        }
        Ok(hello)
    }
}
