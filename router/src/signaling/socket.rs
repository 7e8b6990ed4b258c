//! One WebSocket: a reader that tells the hub, a writer that empties the socket's queue.

use super::UNREAD;
use super::hub::{End, Event, Frame, Seat, hopeless};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use remotemedia_signaling::hub::{ConnId, Input};
use remotemedia_signaling::message::MAX_MESSAGE;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite;

/// What the WebSocket library reads at most. A message between the contract's limit and this one is read whole, so that
/// the 1009 can be read by its sender too: closing with unread bytes resets the connection.
pub const MAX_FRAME: usize = 2 * MAX_MESSAGE;
/// How long a close frame and what is queued before it may take (chosen); then the connection is dropped.
const CLOSING: Duration = Duration::from_secs(1);

/// Serves a socket until it is closed by either side.
pub async fn serve(socket: WebSocket, seat: Seat, address: Option<IpAddr>) {
    let (sink, stream) = socket.split();
    let (queue, frames) = mpsc::channel(UNREAD);
    let (end, ended) = oneshot::channel();
    let conn = seat.conn;
    seat.hub.event(Event::Opened { conn, address, queue, end }).await;
    let reading = read(stream, &seat);
    let writing = write(sink, frames, ended);
    tokio::pin!(reading, writing);
    tokio::select! {
        () = &mut reading => {
            // The hub drops the queue now, which ends the writer once it is empty: the answer to a close frame goes out.
            seat.hub.event(Event::Input(Input::Closed { conn })).await;
            let _ = tokio::time::timeout(CLOSING, writing).await;
        }
        () = &mut writing => {
            // Read on until the other side has seen the close frame; unread bytes would reset the connection before.
            let _ = tokio::time::timeout(CLOSING, reading).await;
            seat.hub.event(Event::Input(Input::Closed { conn })).await;
        }
    }
}

async fn read(mut stream: SplitStream<WebSocket>, seat: &Seat) {
    let conn = seat.conn;
    while let Some(message) = stream.next().await {
        let (input, last) = match message {
            Ok(message) => input(conn, message),
            Err(error) => (capacity(&error).then_some(Input::TooLarge { conn }), true),
        };
        if let Some(input) = input {
            seat.hub.event(Event::Input(input)).await;
        }
        if last {
            return;
        }
    }
}

/// What a message is to the hub, and whether it is the last one.
fn input(conn: ConnId, message: Message) -> (Option<Input>, bool) {
    match message {
        Message::Text(text) if text.len() > MAX_MESSAGE => (Some(Input::TooLarge { conn }), false),
        Message::Binary(bytes) if bytes.len() > MAX_MESSAGE => {
            (Some(Input::TooLarge { conn }), false)
        }
        Message::Text(text) => (Some(Input::Text { conn, text: text.as_str().to_owned() }), false),
        Message::Binary(_) => (Some(Input::Binary { conn }), false),
        // The library answers pings itself.
        Message::Ping(_) | Message::Pong(_) => (Some(Input::Heard { conn }), false),
        Message::Close(_) => (None, true),
    }
}

fn capacity(error: &axum::Error) -> bool {
    let inner = std::error::Error::source(error);
    inner
        .and_then(|e| e.downcast_ref::<tungstenite::Error>())
        .is_some_and(|e| matches!(e, tungstenite::Error::Capacity(_)))
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut frames: mpsc::Receiver<Frame>,
    mut ended: oneshot::Receiver<End>,
) {
    loop {
        let frame = tokio::select! {
            biased;
            end = &mut ended => return close(sink, frames, end.ok()).await,
            frame = frames.recv() => frame,
        };
        let Some(frame) = frame else { return close(sink, frames, None).await };
        let sent = tokio::select! {
            biased;
            end = &mut ended => return close(sink, frames, end.ok()).await,
            sent = sink.send(message(frame)) => sent,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::Text(text.into()),
        Frame::Ping => Message::Ping(Vec::new().into()),
    }
}

/// Sends what is queued and the close frame, for as long as that may take. Errors are the other side's end.
async fn close(
    mut sink: SplitSink<WebSocket, Message>,
    mut frames: mpsc::Receiver<Frame>,
    end: Option<End>,
) {
    let closing = async {
        let flush = end.is_none_or(|end| !hopeless(end.code));
        while let Some(frame) = flush.then(|| frames.try_recv().ok()).flatten() {
            sink.send(message(frame)).await?;
        }
        if let Some(End { code, reason }) = end {
            sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        }
        sink.close().await
    };
    let _ = tokio::time::timeout(CLOSING, closing).await;
}
