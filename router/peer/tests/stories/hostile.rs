//! What strangers send: descriptions, candidates and datagrams.

use crate::relay::Relay;
use crate::support::*;
use remotemedia_peer::{Candidate, Kind, MAX_SDP, PeerError, State, check_sdp};
use remotemedia_shm_schema::Codec;

fn refusal(result: Result<String, PeerError>) -> (String, Option<usize>) {
    match result {
        Err(PeerError::Sdp { reason, line }) => (reason, line),
        other => panic!("not refused as a description: {other:?}"),
    }
}

async fn offer() -> String {
    let caller = Side::offerer().await;
    let _picture = caller.sender(Kind::Video, "cam").await;
    let _sound = caller.sender(Kind::Audio, "mic").await;
    caller.connection.open_data("events").await.unwrap();
    let offer = caller.connection.offer(false).await.unwrap();
    caller.connection.close().await;
    offer
}

#[tokio::test]
async fn what_is_not_encrypted_or_not_sdp_is_refused_with_reason_and_line_and_costs_nothing() {
    let offer = offer().await;
    assert_eq!(check_sdp(&offer), Ok(()));
    let router = Side::answerer().await;
    let line_of =
        |text: &str, start: &str| text.lines().position(|l| l.starts_with(start)).map(|at| at + 1);
    let without: String =
        offer.split_inclusive('\n').filter(|l| !l.starts_with("a=fingerprint")).collect();
    let plain = offer.replacen("UDP/TLS/RTP/SAVPF", "RTP/AVP", 1);
    let sdes = offer.replacen("UDP/TLS/RTP/SAVPF", "RTP/SAVPF", 1);
    let first = line_of(&offer, "m=");
    for (sdp, word, line) in [
        (without.clone(), "fingerprint", line_of(&without, "m=")),
        (plain, "RTP/AVP", first),
        (sdes, "RTP/SAVPF", first),
        (offer.replace("sha-256", "sha-1"), "sha-256", line_of(&offer, "a=fingerprint")),
        (
            offer.replace("a=ice-ufrag:", "a=ice-ufrag:?"),
            "ice-ufrag",
            line_of(&offer, "a=ice-ufrag"),
        ),
        (offer.replace("a=mid:", "a=mud:"), "a=mid", first),
        (offer.replacen("m=video", "m=hologram", 1), "hologram", line_of(&offer, "m=video")),
        (offer.replacen("m=video 9", "m=video x", 1), "port", line_of(&offer, "m=video")),
        (format!("{offer}{}", "a=x\r\n".repeat(MAX_SDP / 5)), "larger", None),
        (format!("{offer}nonsense\r\n"), "<letter>=<value>", Some(offer.lines().count() + 1)),
        ("v=0\r\n".to_owned(), "no media section", None),
        ("hello".to_owned(), "<letter>=<value>", Some(1)),
        (String::new(), "v=0", Some(1)),
        ("\u{0}\u{7f}\u{1F600}".to_owned(), "<letter>=<value>", Some(1)),
    ] {
        let (reason, told) = refusal(router.connection.answer(&sdp).await);
        assert!(reason.contains(word), "{word:?} is not in {reason:?}");
        assert_eq!(told, line, "{reason}");
        assert!(check_sdp(&sdp).is_err());
    }
    // The connection is as it was: a good offer still gets its answer.
    assert!(router.connection.answer(&offer).await.unwrap().contains("m=video 9"));
    router.connection.close().await;
}

#[tokio::test]
async fn an_offer_cut_or_changed_anywhere_gets_an_answer_or_an_error_and_never_more() {
    let offer = offer().await;
    let lines: Vec<&str> = offer.split_inclusive('\n').collect();
    let router = Side::answerer().await;
    let (mut answered, mut refused) = (0, 0);
    for skip in 0..lines.len() {
        let mutants = [
            lines
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != skip)
                .map(|(_, l)| *l)
                .collect::<String>(),
            lines.iter().take(skip).copied().collect(),
            lines
                .iter()
                .enumerate()
                .map(|(i, l)| if i == skip { l.repeat(2) } else { (*l).to_owned() })
                .collect(),
            lines
                .iter()
                .enumerate()
                .map(
                    |(i, l)| {
                        if i == skip { l.replace(char::is_numeric, "9") } else { (*l).to_owned() }
                    },
                )
                .collect(),
            lines
                .iter()
                .enumerate()
                .map(|(i, l)| if i == skip { l.replace(' ', ":") } else { (*l).to_owned() })
                .collect(),
            lines
                .iter()
                .enumerate()
                .map(|(i, l)| if i == skip { l.replace(':', "  ") } else { (*l).to_owned() })
                .collect(),
        ];
        for mutant in mutants {
            let fresh = Side::new(settings(remotemedia_peer::Role::Answerer, &ALL)).await;
            let _picture = fresh.sender(Kind::Video, "v").await;
            match fresh.connection.answer(&mutant).await {
                Ok(answer) => {
                    assert_eq!(
                        answer.matches("m=").count(),
                        mutant.matches("m=").count(),
                        "{mutant}"
                    );
                    answered += 1;
                }
                Err(_) => refused += 1,
            }
            fresh.connection.close().await;
        }
    }
    println!("{answered} answered, {refused} refused");
    assert!(answered > 0 && refused > 0);
    router.connection.close().await;
}

#[tokio::test]
async fn too_many_candidates_are_refused_and_odd_ones_passed_over() {
    let router = Side::answerer().await;
    router.connection.answer(&offer().await).await.unwrap();
    let add = |text: String| {
        let connection = router.connection.clone();
        async move {
            connection.add_candidate(Candidate { candidate: text, ..Candidate::default() }).await
        }
    };
    assert!(matches!(add("candidate:nonsense".into()).await, Err(PeerError::Candidate(_))));
    assert_eq!(
        add("candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype passive".into()).await,
        Ok(())
    );
    assert_eq!(add("candidate:1 1 udp 1 localhost 9 typ host".into()).await, Ok(()));
    assert_eq!(add(String::new()).await, Ok(()));
    let mut last = Ok(());
    for port in 1000..2000 {
        last = add(format!("candidate:1 1 udp 1 127.0.0.1 {port} typ host")).await;
        if last.is_err() {
            break;
        }
    }
    assert!(matches!(last, Err(PeerError::Limit { .. })));
    router.connection.close().await;
}

#[tokio::test]
async fn garbage_on_the_media_port_does_not_end_the_call() {
    let (mut caller, mut router) = (Side::offerer().await, Side::answerer().await);
    let picture = caller.sender(Kind::Video, "cam").await;
    let back = router.sender(Kind::Video, "v").await;
    caller.connection.add_receiver(Kind::Video).await.unwrap();
    caller.connection.open_data("events").await.unwrap();
    let relay = Relay::between(&mut caller, &mut router, |_, _| true).await;
    negotiate(&caller, &router).await;
    caller.state(State::Connected).await;
    router.state(State::Connected).await;
    picture.send(packet(1, "before")).await.unwrap();
    let (receiver, ..) = router.track(Kind::Video).await;
    assert_eq!(router.packet(receiver).await.payload, "before");

    back.send(packet(1, "back")).await.unwrap();
    let (returned, ..) = caller.track(Kind::Video).await;

    // As if from the peer's own address: every first byte (STUN, TURN, DTLS, RTP, RTCP and none of them) with every
    // short length and some long ones, then headers of our own streams. After each handful media passes both ways,
    // which also keeps the sockets' buffers from running over.
    let mut noise = 0x1234_5678_u32;
    let mut random = || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise as u8
    };
    let mut sequence = 1u16;
    for round in 0..=255u8 {
        for len in (0..24).chain([100, 1400]) {
            let mut datagram: Vec<u8> = (0..len).map(|_| random()).collect();
            if let Some(first) = datagram.first_mut() {
                *first = round;
            }
            relay.inject(&datagram).await;
        }
        for ssrc in [picture.ssrc(), back.ssrc()] {
            let mut datagram =
                vec![0x80 | (random() & 0x3f), round, random() & 1, random(), 0, 0, 0, 1];
            datagram.extend(ssrc.to_be_bytes());
            datagram.extend((0..60).map(|_| random()));
            relay.inject(&datagram).await;
        }
        // One may be lost in a full buffer, and is repaired when the next one comes.
        for _ in 0..4 {
            sequence += 1;
            picture.send(packet(sequence, "there")).await.unwrap();
            back.send(packet(sequence, "back")).await.unwrap();
        }
        while router.packet(receiver).await.sequence < sequence - 3 {}
        while caller.packet(returned).await.sequence < sequence - 3 {}
    }
    caller.connection.close().await;
    router.connection.close().await;
}

/// As a browser writes it: codecs that we do not have, H.264 in profiles and modes that we cannot do, FEC.
fn browser(video: &str) -> String {
    format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS s\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=ice-options:trickle\r\na=fingerprint:sha-256 {print}\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=msid:s mic\r\na=rtcp-mux\r\n\
a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n\
a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=ssrc:1001 cname:c\r\na=ssrc:1001 msid:s mic\r\n\
{video}",
        print = ["AB"; 32].join(":"),
    )
}

fn video(payload_types: &str, codecs: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF {payload_types}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=fingerprint:sha-256 {print}\r\na=setup:actpass\r\na=mid:1\r\na=sendrecv\r\na=msid:s cam\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=extmap:9 urn:unknown\r\n\
{codecs}a=ssrc-group:FID 2001 2002\r\na=ssrc:2001 cname:c\r\na=ssrc:2002 cname:c\r\n",
        print = ["AB"; 32].join(":"),
    )
}

#[tokio::test]
async fn of_a_browsers_many_codecs_ours_are_answered_in_its_order() {
    let h264 = |pt: u8, mode: u8, profile: &str| {
        format!(
            "a=rtpmap:{pt} H264/90000\r\na=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\na=fmtp:{pt} level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}\r\n"
        )
    };
    let codecs = [
        "a=rtpmap:45 AV1/90000\r\na=rtpmap:46 rtx/90000\r\na=fmtp:46 apt=45\r\n".to_owned(),
        h264(102, 0, "42e01f"),
        h264(103, 1, "640032"),
        h264(104, 1, "42e02a"),
        "a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\n".to_owned(),
        "a=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=2\r\na=rtpmap:99 VP9/90000\r\na=fmtp:99 profile-id=0\r\n".to_owned(),
        "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n".to_owned(),
        "a=rtpmap:116 red/90000\r\na=rtpmap:117 ulpfec/90000\r\n".to_owned(),
    ]
    .concat();
    let offer = browser(&video("45 46 102 103 104 105 98 99 96 97 116 117", &codecs));
    let router = Side::answerer().await;
    let (back, voice) =
        (router.sender(Kind::Video, "v").await, router.sender(Kind::Audio, "a").await);
    let answer = router.connection.answer(&offer).await.unwrap();
    let picture = &answer[answer.find("m=video").unwrap()..];
    let ours: Vec<&str> = picture
        .lines()
        .filter_map(|l| l.strip_prefix("a=rtpmap:"))
        .filter(|l| !l.contains("rtx"))
        .collect();
    assert_eq!(ours, ["104 H264/90000", "99 VP9/90000", "96 VP8/90000"]);
    for has in [
        "a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e02a",
        "a=fmtp:105 apt=104",
        "a=fmtp:97 apt=96",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
        "a=rtcp-fb:96 transport-cc",
        "a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a=ssrc-group:FID",
        "a=setup:passive",
        "a=sendrecv",
    ] {
        assert!(picture.contains(has), "{has} is not in {picture}");
    }
    for not in ["AV1", "red", "ulpfec", "640032", "goog-remb", "urn:unknown", "a=rtpmap:102"] {
        assert!(!picture.contains(not), "{not} is in {picture}");
    }
    let sound = &answer[answer.find("m=audio").unwrap()..answer.find("m=video").unwrap()];
    assert!(
        sound.contains("a=fmtp:111 minptime=10;useinbandfec=1") && !sound.contains("PCMU"),
        "{sound}"
    );
    let negotiated = back.codec().unwrap();
    assert_eq!((negotiated.codec, negotiated.payload_type), (Codec::H264, 104));
    assert_eq!(voice.codec().unwrap().payload_type, 111);
    router.connection.close().await;
}

#[tokio::test]
async fn pictures_in_codecs_that_we_do_not_have_cost_the_pictures_only() {
    let offer = browser(&video("45", "a=rtpmap:45 AV1/90000\r\n"));
    let router = Side::answerer().await;
    let (back, voice) =
        (router.sender(Kind::Video, "v").await, router.sender(Kind::Audio, "a").await);
    let answer = router.connection.answer(&offer).await.unwrap();
    assert!(answer.contains("m=video 0 ") && answer.contains("m=audio 9 "), "{answer}");
    assert_eq!(back.codec(), None);
    assert!(voice.codec().is_some());
    router.connection.close().await;
}

#[tokio::test]
async fn of_a_browser_that_only_sends_no_track_is_sent_and_of_one_that_only_listens_none_is_awaited()
 {
    let vp8 = video("96", "a=rtpmap:96 VP8/90000\r\n");
    for (theirs, ours, sends) in [
        ("sendonly", "recvonly", false),
        ("recvonly", "sendonly", true),
        ("inactive", "inactive", false),
    ] {
        let router = Side::answerer().await;
        let back = router.sender(Kind::Video, "v").await;
        let answer = router
            .connection
            .answer(&browser(&vp8.replace("a=sendrecv", &format!("a={theirs}"))))
            .await
            .unwrap();
        let picture = &answer[answer.find("m=video").unwrap()..];
        assert!(picture.contains(&format!("a={ours}")), "{theirs}: {picture}");
        assert_eq!(back.codec().is_some(), sends, "{theirs}");
        router.connection.close().await;
    }
}

#[tokio::test]
async fn another_fingerprint_in_mid_call_is_refused() {
    let offer = browser(&video("96", "a=rtpmap:96 VP8/90000\r\n"));
    let router = Side::answerer().await;
    router.connection.answer(&offer).await.unwrap();
    let (reason, _) = refusal(router.connection.answer(&offer.replace("AB:", "CD:")).await);
    assert!(reason.contains("fingerprint"), "{reason}");
    let (reason, _) = refusal(router.connection.answer(&offer.replace("a=mid:1", "a=mid:x")).await);
    assert!(reason.contains("place"), "{reason}");
    router.connection.answer(&offer).await.unwrap();
    router.connection.close().await;
}
