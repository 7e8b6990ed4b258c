//! Data channels: those that the peer opens and those that we open, each with a task of its own.

use crate::PeerError;
use crate::event::{DataId, Event};
use crate::outbox::Outbox;
use crate::settings::MAX_MESSAGE;
use crate::tasks::Tasks;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::error::Error;

/// Channels of a connection at once; further ones are closed (chosen: we use two, a page may use some more).
const MAX_CHANNELS: usize = 16;
/// Bytes of a channel's label.
const MAX_LABEL: usize = 256;
/// Bytes of a channel that the peer has not acknowledged, or that wait: sixteen messages of the greatest size.
pub(crate) const SEND_BUFFER: usize = 16 * MAX_MESSAGE;

#[derive(Default)]
struct State {
    channels: HashMap<DataId, Arc<dyn DataChannel>>,
    opened: u32,
}

/// The data channels of one connection.
pub(crate) struct Channels {
    outbox: Arc<Outbox>,
    tasks: Arc<Tasks>,
    state: Mutex<State>,
}

impl Channels {
    pub(crate) fn new(outbox: Arc<Outbox>, tasks: Arc<Tasks>) -> Self {
        Self { outbox, tasks, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a channel into care; one too many is closed.
    pub(crate) fn take(
        self: &Arc<Self>,
        channel: Arc<dyn DataChannel>,
    ) -> Result<DataId, PeerError> {
        let mut state = self.state();
        if state.channels.len() >= MAX_CHANNELS {
            drop(state);
            self.tasks.spawn(async move {
                let _ = channel.close().await;
            });
            return Err(PeerError::Limit { what: "data channels", limit: MAX_CHANNELS });
        }
        state.opened += 1;
        let id = DataId(state.opened);
        state.channels.insert(id, Arc::clone(&channel));
        drop(state);
        let this = Arc::clone(self);
        self.tasks.spawn(async move { this.serve(id, channel).await });
        Ok(id)
    }

    async fn serve(&self, id: DataId, channel: Arc<dyn DataChannel>) {
        let open = self.listen(id, channel.as_ref()).await;
        self.state().channels.remove(&id);
        let _ = channel.close().await;
        if open {
            self.outbox.send(Event::DataClosed(id)).await;
        }
    }

    /// Until it ends; whether the owner was told that it was open. Waiting for the owner is right here: the stack
    /// stops reading then, and the peer's window closes.
    async fn listen(&self, id: DataId, channel: &dyn DataChannel) -> bool {
        let mut open = false;
        while let Some(event) = channel.poll().await {
            match event {
                // It comes again after an ICE restart.
                DataChannelEvent::OnOpen if !open => {
                    let label = channel.label().await.unwrap_or_default();
                    if label.len() > MAX_LABEL {
                        return false;
                    }
                    open = true;
                    self.outbox.send(Event::DataOpen { id, label }).await;
                }
                DataChannelEvent::OnMessage(message) if open => {
                    if message.data.len() > MAX_MESSAGE {
                        return true;
                    }
                    let text = message.is_string && std::str::from_utf8(&message.data).is_ok();
                    self.outbox
                        .send(Event::Data { id, text, payload: message.data.freeze() })
                        .await;
                }
                DataChannelEvent::OnClose => break,
                _ => {}
            }
        }
        open
    }

    fn channel(&self, id: DataId, size: usize) -> Result<Arc<dyn DataChannel>, PeerError> {
        if size > MAX_MESSAGE {
            return Err(PeerError::Limit { what: "bytes in a message", limit: MAX_MESSAGE });
        }
        let channel = self.state().channels.get(&id).cloned();
        channel.ok_or_else(|| PeerError::Unknown(format!("data channel {}", id.0)))
    }

    pub(crate) async fn send_text(&self, id: DataId, text: &str) -> Result<(), PeerError> {
        self.channel(id, text.len())?.try_send_text(text).await.map_err(full)
    }

    pub(crate) async fn send_binary(&self, id: DataId, payload: Bytes) -> Result<(), PeerError> {
        self.channel(id, payload.len())?.try_send(BytesMut::from(payload)).await.map_err(full)
    }

    pub(crate) async fn writable(&self, id: DataId) -> Result<(), PeerError> {
        Ok(self.channel(id, 0)?.writable().await?)
    }

    pub(crate) async fn close(&self, id: DataId) -> Result<(), PeerError> {
        Ok(self.channel(id, 0)?.close().await?)
    }

    pub(crate) fn clear(&self) {
        self.state().channels.clear();
    }
}

fn full(error: Error) -> PeerError {
    match error {
        Error::ErrSendBufferFull => {
            PeerError::Limit { what: "bytes waiting on a data channel", limit: SEND_BUFFER }
        }
        other => other.into(),
    }
}
