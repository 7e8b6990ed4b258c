//! Data channels.

use crate::support::*;
use bytes::Bytes;
use remotemedia_peer::{DataId, Event, Kind, MAX_MESSAGE, PeerError};

async fn open(side: &mut Side) -> (DataId, String) {
    side.until("a data channel", |e| match e {
        Event::DataOpen { id, label } => Some((*id, label.clone())),
        _ => None,
    })
    .await
}

async fn message(side: &mut Side) -> (DataId, bool, Bytes) {
    side.until("a message", |e| match e {
        Event::Data { id, text, payload } => Some((*id, *text, payload.clone())),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn text_and_bytes_are_echoed_up_to_the_greatest_size() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let _picture = caller.sender(Kind::Video, "cam").await;
    let mine = caller.connection.open_data("echo").await.unwrap();
    connect(&mut caller, &mut router).await;
    let begun = std::time::Instant::now();
    assert_eq!(open(&mut caller).await, (mine, "echo".into()));
    let (theirs, label) = open(&mut router).await;
    println!("data channel open {:?} after connected", begun.elapsed());
    assert_eq!(label, "echo");

    let longest = "é".repeat(MAX_MESSAGE / 2);
    for text in ["hello", "", &longest] {
        caller.connection.send_text(mine, text).await.unwrap();
        let (id, is_text, payload) = message(&mut router).await;
        assert_eq!((id, is_text, &payload[..]), (theirs, true, text.as_bytes()));
        router.connection.send_binary(id, payload.clone()).await.unwrap();
        assert_eq!(message(&mut caller).await, (mine, false, payload));
    }
    let over = vec![0u8; MAX_MESSAGE + 1];
    assert!(matches!(
        caller.connection.send_binary(mine, over.into()).await,
        Err(PeerError::Limit { .. })
    ));

    // The router opens one of its own on the way, without negotiating again.
    let events = router.connection.open_data("events").await.unwrap();
    assert_eq!(open(&mut caller).await.1, "events");
    router.connection.send_text(events, "{}").await.unwrap();
    assert_eq!(message(&mut caller).await.2, "{}");

    caller.connection.close_data(mine).await.unwrap();
    let closed = router.until("the channel's end", |e| match e {
        Event::DataClosed(id) => Some(*id),
        _ => None,
    });
    assert_eq!(closed.await, theirs);
    assert!(router.connection.send_text(theirs, "x").await.is_err());
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_does_not_make_us_grow_and_one_that_opens_too_many_keeps_sixteen()
{
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    for n in 0..20 {
        let _ = caller.connection.open_data(&format!("c{n}")).await; // the seventeenth is refused here already
    }
    connect(&mut caller, &mut router).await;
    for _ in 0..16 {
        open(&mut router).await;
    }
    let id = open(&mut caller).await.0;
    // Faster than any path: refused, instead of kept, once the window is full.
    let refused = in_time("the buffer to be full", async {
        loop {
            if let Err(error) = caller.connection.send_binary(id, vec![0; MAX_MESSAGE].into()).await
            {
                return error;
            }
        }
    });
    assert!(matches!(refused.await, PeerError::Limit { .. }));
    in_time("room", caller.connection.data_writable(id)).await.unwrap();
    caller.connection.close().await;
    router.connection.close().await;
}
