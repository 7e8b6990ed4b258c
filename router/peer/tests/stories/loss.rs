//! What is lost on the way is sent again, and not more often than it must.

use crate::relay::{From, Relay, rtp};
use crate::support::*;
use remotemedia_peer::{Event, Kind, State};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PACKETS: u16 = 1200;

#[tokio::test]
async fn lost_packets_are_repaired_without_a_storm() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let picture = caller.sender(Kind::Video, "cam").await;
    let (ssrc, lost) = (picture.ssrc(), Arc::new(AtomicU64::new(0)));
    let once = Mutex::new(HashSet::new());
    let counted = Arc::clone(&lost);
    let relay = Relay::between(&mut caller, &mut router, move |from, datagram| {
        // One of twenty, and now and then three in a row; never the stream's first packets, which nobody can miss.
        let Some((of, sequence)) = rtp(datagram).filter(|_| from == From::Offerer) else {
            return true;
        };
        let goes = of != ssrc
            || !(10..PACKETS).contains(&sequence)
            || !(sequence % 20 == 7 || (200..203).contains(&(sequence % 400)))
            || !once.lock().unwrap().insert(sequence);
        if !goes {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        goes
    })
    .await;
    negotiate(&caller, &router).await;
    caller.state(State::Connected).await;
    router.state(State::Connected).await;

    let sending = tokio::spawn({
        let picture = picture.clone();
        async move {
            let mut pace = tokio::time::interval(Duration::from_millis(2));
            // Beyond the counted ones, so that the last of them are missed too.
            for sequence in 0..PACKETS + 30 {
                pace.tick().await;
                picture.send(packet(sequence, vec![sequence as u8; 900])).await.unwrap();
            }
        }
    });
    let (receiver, ..) = router.track(Kind::Video).await;
    let mut came = HashSet::new();
    while (0..PACKETS).any(|sequence| !came.contains(&sequence)) {
        let packet = router.packet(receiver).await;
        assert_eq!(packet.payload, vec![packet.sequence as u8; 900], "unwrapped to what was sent");
        assert_eq!((packet.ssrc, packet.timestamp), (ssrc, u32::from(packet.sequence) * 3000));
        came.insert(packet.sequence);
    }
    sending.await.unwrap();

    let (lost, sent, got) = (
        lost.load(Ordering::Relaxed),
        caller.connection.statistics(),
        router.connection.statistics(),
    );
    println!("lost {lost}, {sent:?}, {got:?}");
    assert!(lost >= 60, "the link did lose: {lost}");
    assert!(sent.retransmitted >= lost);
    assert!(sent.retransmitted <= 4 * lost, "each is asked for about once: {sent:?}");
    assert!(got.repaired <= sent.retransmitted);

    // The receiver's report tells the loss of the path, although all was repaired.
    let told = caller.until("a report of loss", |e| match e {
        Event::ReceiverReport { sender, fraction_lost, round_trip: Some(_), .. }
            if *fraction_lost > 0.0 =>
        {
            Some(*sender)
        }
        _ => None,
    });
    assert_eq!(told.await, picture.id());
    assert!(caller.connection.round_trip().await.is_some());
    drop(relay);
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn a_peer_that_vanishes_is_disconnected_then_failed_and_one_that_comes_back_is_connected() {
    let soon = |settings: remotemedia_peer::Settings| remotemedia_peer::Settings {
        disconnected_after: Duration::from_millis(600),
        failed_after: Duration::from_secs(3),
        ..settings
    };
    let mut caller = Side::new(soon(settings(remotemedia_peer::Role::Offerer, &ALL))).await;
    let mut router = Side::new(soon(settings(remotemedia_peer::Role::Answerer, &ALL))).await;
    let _picture = caller.sender(Kind::Video, "cam").await;
    let relay = Relay::between(&mut caller, &mut router, |_, _| true).await;
    negotiate(&caller, &router).await;
    caller.state(State::Connected).await;
    router.state(State::Connected).await;
    relay.cut(true);
    router.state(State::Disconnected).await;
    relay.cut(false);
    router.state(State::Connected).await;
    relay.cut(true);
    router.state(State::Failed).await;
    caller.connection.close().await;
    router.connection.close().await;
}
