//! Negotiating again on a call that goes on.

use crate::support::*;
use remotemedia_peer::{Event, Kind, PeerError, Role, Settings, State};

#[tokio::test]
async fn the_router_adds_a_track_in_mid_call_and_takes_it_back() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let sound = caller.sender(Kind::Audio, "mic").await;
    connect(&mut caller, &mut router).await;
    sound.send(packet(1, "a")).await.unwrap();
    let (heard, ..) = router.track(Kind::Audio).await;

    let other = router.sender(Kind::Video, "other").await;
    negotiate(&router, &caller).await;
    other.send(packet(1, "new")).await.unwrap();
    let (receiver, _, stream, track) = caller.track(Kind::Video).await;
    assert_eq!((stream.as_str(), track.as_str()), ("main", "other"));
    assert_eq!(caller.packet(receiver).await.payload, "new");
    sound.send(packet(2, "b")).await.unwrap();
    while router.packet(heard).await.payload != "b" {}

    router.connection.remove_sender(&other).await.unwrap();
    negotiate(&router, &caller).await;
    let ended = caller.until("the track's end", |e| match e {
        Event::TrackEnded(receiver) => Some(*receiver),
        _ => None,
    });
    assert_eq!(ended.await, receiver);
    sound.send(packet(3, "c")).await.unwrap();
    while router.packet(heard).await.payload != "c" {}
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn the_caller_adds_a_track_in_mid_call() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let _sound = caller.sender(Kind::Audio, "mic").await;
    connect(&mut caller, &mut router).await;
    let picture = caller.sender(Kind::Video, "cam").await;
    caller.connection.add_receiver(Kind::Video).await.unwrap();
    let back = router.sender(Kind::Video, "v").await;
    negotiate(&caller, &router).await;
    picture.send(packet(1, "there")).await.unwrap();
    back.send(packet(1, "back")).await.unwrap();
    let (there, ..) = router.track(Kind::Video).await;
    assert_eq!(router.packet(there).await.payload, "there");
    let (came, ..) = caller.track(Kind::Video).await;
    assert_eq!(caller.packet(came).await.payload, "back");
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn in_a_glare_the_router_yields_and_offers_again_later() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let sound = caller.sender(Kind::Audio, "mic").await;
    connect(&mut caller, &mut router).await;
    let picture = caller.sender(Kind::Video, "cam").await;
    let other = router.sender(Kind::Video, "other").await;
    let mine = caller.connection.offer(false).await.unwrap();
    let _theirs = router.connection.offer(false).await.unwrap();
    assert!(matches!(router.connection.offer(false).await, Err(PeerError::State(_))));
    let answer = router.connection.answer(&mine).await.unwrap(); // takes its own back
    caller.connection.accept(&answer).await.unwrap();
    negotiate(&router, &caller).await;
    picture.send(packet(1, "there")).await.unwrap();
    other.send(packet(1, "other")).await.unwrap();
    sound.send(packet(1, "sound")).await.unwrap();
    let (there, ..) = router.track(Kind::Video).await;
    assert_eq!(router.packet(there).await.payload, "there");
    let (came, ..) = caller.track(Kind::Video).await;
    assert_eq!(caller.packet(came).await.payload, "other");
    router.track(Kind::Audio).await;
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn an_offer_taken_back_leaves_the_call_as_it_was() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let sound = caller.sender(Kind::Audio, "mic").await;
    connect(&mut caller, &mut router).await;
    let other = router.sender(Kind::Video, "other").await;
    let offer = router.connection.offer(false).await.unwrap();
    router.connection.rollback().await.unwrap();
    router.connection.rollback().await.unwrap();
    let answer = caller.connection.answer(&offer).await.unwrap();
    assert!(matches!(router.connection.accept(&answer).await, Err(PeerError::State(_))));
    assert_eq!(other.send(packet(1, "x")).await, Err(PeerError::NotNegotiated));
    sound.send(packet(1, "on")).await.unwrap();
    let (heard, ..) = router.track(Kind::Audio).await;
    assert_eq!(router.packet(heard).await.payload, "on");
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn an_ice_restart_keeps_the_call() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let sound = caller.sender(Kind::Audio, "mic").await;
    let mine = caller.connection.open_data("echo").await.unwrap();
    connect(&mut caller, &mut router).await;
    caller.until("the channel", |e| matches!(e, Event::DataOpen { .. }).then_some(())).await;
    let ufrag = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=ice-ufrag")).unwrap().to_owned();
    let first = caller.connection.offer(true).await.unwrap();
    let answer = router.connection.answer(&first).await.unwrap();
    caller.connection.accept(&answer).await.unwrap();
    let second = caller.connection.offer(false).await.unwrap();
    caller.connection.rollback().await.unwrap();
    assert_eq!(ufrag(&first), ufrag(&second), "the new generation stays");
    // What is sent while there is no pair is lost, and sound is not repaired.
    let speaking = tokio::spawn(async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
        for sequence in 1.. {
            pace.tick().await;
            if sound.send(packet(sequence, "on")).await == Err(PeerError::Closed) {
                return;
            }
        }
    });
    let (heard, ..) = router.track(Kind::Audio).await;
    assert_eq!(router.packet(heard).await.payload, "on");
    caller.connection.send_text(mine, "still there").await.unwrap();
    router
        .until("the message", |e| {
            matches!(e, Event::Data { payload, .. } if payload == "still there").then_some(())
        })
        .await;
    caller.connection.close().await;
    router.connection.close().await;
    speaking.await.unwrap();
}

#[tokio::test]
async fn a_second_picture_of_the_peers_is_answered_and_not_received() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let first = caller.sender(Kind::Video, "cam").await;
    let second = caller.sender(Kind::Video, "screen").await;
    let sound = caller.sender(Kind::Audio, "mic").await;
    connect(&mut caller, &mut router).await;
    for sequence in 1..5 {
        second.send(packet(sequence, "second")).await.unwrap();
        first.send(packet(sequence, "first")).await.unwrap();
    }
    sound.send(packet(1, "sound")).await.unwrap();
    let (receiver, _, _, track) = router.track(Kind::Video).await;
    assert_eq!(track, "cam");
    while router.packet(receiver).await.sequence != 4 {}
    let (heard, ..) = router.track(Kind::Audio).await;
    assert_eq!(router.packet(heard).await.payload, "sound");
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn a_native_peer_that_says_so_receives_several_pictures_of_the_router() {
    let settings = Settings { tracks: 3, ..settings(Role::Offerer, &ALL) };
    let (mut caller, mut router) = (Side::new(settings).await, Side::answerer().await);
    let own = caller.sender(Kind::Video, "own").await;
    connect(&mut caller, &mut router).await;
    own.send(packet(1, "own")).await.unwrap();
    let (received, ..) = router.track(Kind::Video).await;
    let mut others = Vec::new();
    for name in ["anna", "bert"] {
        others.push((name, router.sender(Kind::Video, name).await));
    }
    negotiate(&router, &caller).await;
    for (name, sender) in &others {
        sender.send(packet(1, *name)).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in &others {
        let (receiver, .., track) = caller.track(Kind::Video).await;
        assert_eq!(caller.packet(receiver).await.payload, track);
        seen.push(track);
    }
    seen.sort();
    assert_eq!(seen, ["anna", "bert"]);
    own.send(packet(2, "goes on")).await.unwrap();
    while router.packet(received).await.payload != "goes on" {}
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn a_goodbye_is_heard_at_once() {
    // With and without a data channel: the stack tells only data channels of it.
    for data in [false, true] {
        let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
        let _sound = caller.sender(Kind::Audio, "mic").await;
        let _voice = router.sender(Kind::Audio, "v").await;
        if data {
            caller.connection.open_data("events").await.unwrap();
        } else {
            caller.connection.add_receiver(Kind::Audio).await.unwrap();
        }
        connect(&mut caller, &mut router).await;
        caller.connection.close().await;
        router.state(State::Closed).await;
        router.connection.close().await;
    }
}
