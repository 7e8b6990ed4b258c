//! A call between two ends.

use crate::support::*;
use remotemedia_peer::{Event, Kind, OutPacket, PeerError, State};
use remotemedia_rtp::packetize::Packetizer;
use remotemedia_shm_schema::Codec;

#[tokio::test]
async fn pictures_and_sound_go_both_ways_in_one_section_each() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let (picture, sound) =
        (caller.sender(Kind::Video, "cam").await, caller.sender(Kind::Audio, "mic").await);
    caller.connection.add_receiver(Kind::Video).await.unwrap();
    caller.connection.add_receiver(Kind::Audio).await.unwrap();
    let (back, voice) =
        (router.sender(Kind::Video, "v").await, router.sender(Kind::Audio, "a").await);
    assert_eq!(back.send(packet(1, "early")).await, Err(PeerError::NotNegotiated));
    let begun = std::time::Instant::now();
    connect(&mut caller, &mut router).await;
    println!("connected after {:?}", begun.elapsed());

    for (sender, to_router, codec) in [
        (&picture, true, Codec::Vp8),
        (&sound, true, Codec::Opus),
        (&back, false, Codec::Vp8),
        (&voice, false, Codec::Opus),
    ] {
        let (to, kind) = (if to_router { &mut router } else { &mut caller }, Kind::of(codec));
        let negotiated = sender.codec().unwrap();
        assert_eq!(negotiated.codec, codec);
        let mut parts = Vec::new();
        let unit: Vec<u8> = (0..4000u32).map(|i| i as u8).collect();
        let unit = if codec == Codec::Opus { &unit[..80] } else { &unit[..] };
        Packetizer::new(codec, 1100).packetize(unit, true, &mut parts);
        assert!(!parts.is_empty());
        let last = parts.len() - 1;
        for (index, payload) in parts.iter().enumerate() {
            let out = OutPacket {
                marker: index == last,
                timestamp: 77,
                ..packet(65_535u16.wrapping_add(index as u16), payload.clone())
            };
            sender.send(out).await.unwrap();
        }
        let (receiver, came_as, stream, _) = to.track(kind).await;
        assert_eq!((came_as, stream.as_str()), (codec, "main"));
        for (index, payload) in parts.iter().enumerate() {
            let came = to.packet(receiver).await;
            assert_eq!(came.payload, payload);
            assert_eq!(came.sequence, 65_535u16.wrapping_add(index as u16));
            assert_eq!((came.ssrc, came.timestamp), (sender.ssrc(), 77));
            assert_eq!(came.marker, index == last);
            assert_eq!(came.payload_type, negotiated.payload_type);
            assert!(came.arrival_ns > 0 && came.arrival_ns <= sender.now_ns());
        }
    }
    assert_eq!(router.connection.dropped(), 0);
    caller.connection.close().await;
    router.connection.close().await;
    assert_eq!(picture.send(packet(1, "late")).await, Err(PeerError::Closed));
}

#[tokio::test]
async fn the_answer_keeps_the_order_of_the_offer_for_each_codec() {
    for first in [Codec::Vp8, Codec::Vp9, Codec::H264] {
        let mut codecs = vec![first];
        codecs.extend(ALL.into_iter().filter(|c| *c != first));
        let mut caller = Side::new(settings(remotemedia_peer::Role::Offerer, &codecs)).await;
        let mut router = Side::answerer().await;
        let sent = caller.sender(Kind::Video, "cam").await;
        caller.connection.add_receiver(Kind::Video).await.unwrap();
        let returned = router.sender(Kind::Video, "v").await;
        connect(&mut caller, &mut router).await;
        for sender in [&sent, &returned] {
            let negotiated = sender.codec().unwrap();
            assert_eq!(negotiated.codec, first);
            if first == Codec::H264 {
                assert!(negotiated.fmtp.contains("packetization-mode=1"), "{}", negotiated.fmtp);
                assert!(negotiated.fmtp.contains("profile-level-id=42e01f"), "{}", negotiated.fmtp);
            }
        }
        sent.send(packet(1, "x")).await.unwrap();
        assert_eq!(router.track(Kind::Video).await.1, first);
        caller.connection.close().await;
        router.connection.close().await;
    }
}

#[tokio::test]
async fn a_keyframe_that_is_asked_for_is_wanted_from_the_right_sender_by_pli_or_by_fir() {
    for fir in [false, true] {
        let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
        let (picture, _sound) =
            (caller.sender(Kind::Video, "cam").await, caller.sender(Kind::Audio, "mic").await);
        trickle(&mut caller, &router);
        trickle(&mut router, &caller);
        let mut offer = caller.connection.offer(false).await.unwrap();
        if fir {
            offer = offer.split_inclusive('\n').filter(|line| !line.contains("nack pli")).collect();
        }
        let answer = router.connection.answer(&offer).await.unwrap();
        assert_eq!(answer.contains("nack pli"), !fir);
        caller.connection.accept(&answer).await.unwrap();
        caller.state(State::Connected).await;
        for sequence in 1..4 {
            picture.send(packet(sequence, "x")).await.unwrap();
        }
        let (receiver, ..) = router.track(Kind::Video).await;
        for _ in 0..2 {
            router.connection.request_keyframe(receiver).await.unwrap();
            let wanted = caller.until("a keyframe request", |e| match e {
                Event::KeyframeWanted(sender) => Some(*sender),
                _ => None,
            });
            assert_eq!(wanted.await, picture.id());
        }
        caller.connection.close().await;
        router.connection.close().await;
        assert!(router.connection.request_keyframe(receiver).await.is_err());
    }
}

#[tokio::test]
async fn sender_reports_put_sound_and_picture_of_one_moment_at_one_moment_although_the_picture_is_sent_later()
 {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let (picture, sound) =
        (caller.sender(Kind::Video, "cam").await, caller.sender(Kind::Audio, "mic").await);
    connect(&mut caller, &mut router).await;
    // Both were taken half a second ago; the picture is sent after the sound's report has been made.
    let taken = picture.now_ns() - 500_000_000;
    let mut moments = Vec::new();
    for (sender, rate, timestamp) in
        [(&sound, 48_000.0, 1_000_000u32), (&picture, 90_000.0, 4_000_000_000)]
    {
        let out = OutPacket { timestamp, media_time_ns: Some(taken), ..packet(1, "x") };
        sender.send(out).await.unwrap();
        let (track, ..) = router.track(sender.kind()).await;
        let (ntp, rtp_time, arrival_ns) = router
            .until("a sender report", |e| match e {
                Event::SenderReport { receiver, ntp, rtp_time, arrival_ns }
                    if *receiver == track =>
                {
                    Some((*ntp, *rtp_time, *arrival_ns))
                }
                _ => None,
            })
            .await;
        assert!(arrival_ns > taken);
        let since = f64::from(rtp_time.wrapping_sub(timestamp)) / rate;
        assert!(since >= 0.5, "the report is about its own moment, {since} s after the media's");
        moments.push(ntp as f64 / f64::powi(2.0, 32) - since);
    }
    assert!((moments[0] - moments[1]).abs() < 0.001, "{moments:?}");
    caller.connection.close().await;
    router.connection.close().await;
}

#[tokio::test]
async fn the_fate_of_each_packet_is_told_to_who_asks_for_it() {
    let asking = remotemedia_peer::Settings {
        transport_feedback: true,
        ..settings(remotemedia_peer::Role::Offerer, &ALL)
    };
    let (mut caller, mut router) = (Side::new(asking).await, Side::answerer().await);
    let picture = caller.sender(Kind::Video, "cam").await;
    connect(&mut caller, &mut router).await;
    let before = picture.now_ns();
    for sequence in 0..50 {
        picture.send(packet(sequence, vec![0; 500])).await.unwrap();
    }
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 50 {
        let fates = caller.until("fates", |e| match e {
            Event::Transport(fates) => Some(fates.clone()),
            _ => None,
        });
        for fate in fates.await.into_iter().filter(|fate| fate.ssrc == picture.ssrc()) {
            assert!(
                fate.arrival_ns.is_some() && fate.size > 500 && fate.departure_ns > before,
                "{fate:?}"
            );
            told.insert(fate.sequence);
        }
    }
    caller.connection.close().await;
    router.connection.close().await;
}

/// Not a promise, but printed with `--nocapture`: how long a connection takes, and then a data channel.
#[tokio::test]
async fn a_connection_comes_about_ten_times_over() {
    let mut times = Vec::new();
    for _ in 0..10 {
        let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
        let _picture = caller.sender(Kind::Video, "cam").await;
        caller.connection.open_data("events").await.unwrap();
        let begun = std::time::Instant::now();
        connect(&mut caller, &mut router).await;
        let connected = begun.elapsed();
        caller.until("the channel", |e| matches!(e, Event::DataOpen { .. }).then_some(())).await;
        times.push((connected, begun.elapsed() - connected));
        caller.connection.close().await;
        router.connection.close().await;
    }
    times.sort();
    println!("connected, and the data channel after that: {times:?}");
}
