//! The WebSocket to the hub: requests with their replies, and what comes in between.

use crate::args::Endpoint;
use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use remotemedia_signaling::message::{self, Id, Message, Parsed};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};

/// How long a server may take to be there; below the three seconds that the contract gives us in all.
const CONNECT: Duration = Duration::from_millis(2_500);
/// How long a reply may take: starting a session's processes is part of one.
const REPLY: Duration = Duration::from_secs(15);
/// Messages that may wait while a reply is awaited; the hub sends far fewer.
const INBOX: usize = 1_024;

/// A connection to the hub.
#[derive(Debug)]
pub(crate) struct Signal {
    socket: WebSocketStream<TcpStream>,
    requests: u64,
    inbox: VecDeque<Message>,
    local: IpAddr,
}

impl Signal {
    /// Connects, within three seconds or not at all.
    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Self> {
        let connecting = async {
            let stream = TcpStream::connect(&endpoint.authority).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?.ip();
            let limits = WebSocketConfig::default()
                .max_message_size(Some(message::MAX_MESSAGE))
                .max_frame_size(Some(message::MAX_MESSAGE));
            let (socket, _) =
                client_async_with_config(&endpoint.socket, stream, Some(limits)).await?;
            Ok::<_, tungstenite::Error>((socket, local))
        };
        let there = format!("no router answers at {}", endpoint.authority);
        let (socket, local) = timeout(CONNECT, connecting)
            .await
            .map_err(|_| anyhow!("{there} within {CONNECT:?}; is it running, and the port right?"))?
            .with_context(|| format!("{there}; start it with `remotemedia serve --webrtc`"))?;
        Ok(Self { socket, requests: 0, inbox: VecDeque::new(), local })
    }

    /// The address of this machine that the hub is reached from.
    pub(crate) fn local_address(&self) -> IpAddr {
        self.local
    }

    /// Sends a request and waits for its result; what comes before it is kept for [`Self::next`].
    pub(crate) async fn request(&mut self, method: &str, params: &impl Serialize) -> Result<Value> {
        self.requests += 1;
        let id = self.requests;
        self.send(message::request(id, method, params)).await?;
        let reply = async {
            loop {
                match self.read().await? {
                    Some(Message::Reply { id: Id::Number(of), result })
                        if of.as_u64() == Some(id) =>
                    {
                        return result.map_err(|e| anyhow!("{method}: {e}"));
                    }
                    Some(Message::Reply { id: Id::Null, result: Err(error) }) => {
                        bail!("{method}: {error}");
                    }
                    Some(other) if self.inbox.len() < INBOX => self.inbox.push_back(other),
                    Some(_) => bail!("{method}: the router sends without end and does not reply"),
                    None => bail!("{method}: the router closed the socket"),
                }
            }
        };
        timeout(REPLY, reply).await.map_err(|_| anyhow!("{method}: no reply within {REPLY:?}"))?
    }

    /// Sends a request whose reply [`Self::next`] will give.
    pub(crate) async fn ask(&mut self, method: &str, params: &impl Serialize) -> Result<u64> {
        self.requests += 1;
        self.send(message::request(self.requests, method, params)).await?;
        Ok(self.requests)
    }

    /// Sends a notification.
    pub(crate) async fn notify(&mut self, method: &str, params: &impl Serialize) -> Result<()> {
        self.send(message::call(method, params)).await
    }

    /// The next message; `None` when the socket is closed. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>> {
        match self.inbox.pop_front() {
            Some(message) => Ok(Some(message)),
            None => self.read().await,
        }
    }

    /// Closes in order.
    pub(crate) async fn close(mut self) {
        // It may be closed already; then there is nobody to tell.
        let _ = timeout(Duration::from_millis(500), self.socket.close(None)).await;
    }

    async fn send(&mut self, text: String) -> Result<()> {
        self.socket.send(tungstenite::Message::text(text)).await.context("the router is gone")
    }

    async fn read(&mut self) -> Result<Option<Message>> {
        while let Some(frame) = self.socket.next().await {
            let text = match frame.context("the router is gone")? {
                tungstenite::Message::Text(text) => text,
                tungstenite::Message::Close(frame) => {
                    tracing::debug!(?frame, "the hub closed the socket");
                    return Ok(None);
                }
                // Pings are answered by the library; binary is not part of the contract.
                _ => continue,
            };
            match message::parse(&text) {
                Parsed::One(Ok(message)) => return Ok(Some(message)),
                Parsed::One(Err(fault)) => bail!("the router speaks nonsense: {}", fault.error),
                Parsed::Batch(_) => bail!("the router sent a batch, which nobody asked for"),
            }
        }
        Ok(None)
    }
}
