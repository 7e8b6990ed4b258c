//! No bytes of another process make us panic, or hold more of them than one message.

mod any;

use proptest::{collection::vec, prelude::*};
use remotemedia_shm_schema::control::{
    Encoding, FrameFault, Frames, HELLO_LEN, Hello, HelloFault, MAX_HELLO_BODY, MAX_MESSAGE,
    ToRouter, ToWorker, encode,
};
use remotemedia_shm_schema::{
    ChannelName, Codec, FrameHeader, NodeId, OutputId, PeerId, PortId, SessionId, TierId, TrackId,
};

const HEADER_LEN: usize = size_of::<FrameHeader>();

proptest! {
    #[test]
    fn any_header_bytes_are_read_or_refused(
        bytes in vec(any::<u8>(), HEADER_LEN), length in prop_oneof![any::<usize>(), 0..4096usize],
    ) {
        let header: FrameHeader = bytemuck::pod_read_unaligned(&bytes);
        if header.check(length).is_ok() {
            prop_assert!(header.payload_len as usize <= length);
        }
    }

    #[test]
    fn a_good_header_with_a_few_bytes_overwritten_is_read_or_refused(
        (meta, length) in any::frame(),
        damage in vec((0..HEADER_LEN, any::<u8>()), 1..8),
    ) {
        let header = meta.to_wire(length);
        let mut bytes = bytemuck::bytes_of(&header).to_vec();
        for (place, byte) in damage {
            bytes[place] = byte;
        }
        let header: FrameHeader = bytemuck::pod_read_unaligned(&bytes);
        if let Ok(meta) = header.check(length as usize) {
            // What was accepted can be written again: it holds nothing that the types cannot say.
            prop_assert_eq!(meta.to_wire(length).check(length as usize), Ok(meta));
        }
    }

    #[test]
    fn any_text_is_a_channel_name_or_is_refused(text in "\\PC{0,200}") {
        if let Ok(name) = text.parse::<ChannelName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn a_channel_name_with_a_piece_changed_still_says_what_it_reads_as(
        name in any::channel(), from in any::<prop::sample::Index>(), piece in "[/@.~a-zA-Z0-9]{0,3}",
    ) {
        let mut text = name.to_string();
        let place = from.index(text.len());
        text.replace_range(place..=place, &piece);
        if let Ok(name) = text.parse::<ChannelName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn any_text_is_an_id_or_is_refused_in_few_words(text in "\\PC{0,300}") {
        fn read<T: std::str::FromStr<Err: std::fmt::Display> + std::fmt::Display>(text: &str) {
            match text.parse::<T>() {
                Ok(id) => assert_eq!(id.to_string(), text),
                // A character may need ten to be quoted: `\u{10ffff}`.
                Err(fault) => assert!(fault.to_string().len() < 80 * 10 + 200, "{fault}"),
            }
        }
        read::<SessionId>(&text);
        read::<PeerId>(&text);
        read::<TrackId>(&text);
        read::<NodeId>(&text);
        read::<PortId>(&text);
        read::<OutputId>(&text);
        read::<TierId>(&text);
        read::<Codec>(&text);
    }

    #[test]
    fn any_bytes_are_a_hello_or_are_refused(
        head in any::<[u8; HELLO_LEN]>(), body in vec(any::<u8>(), 0..200),
    ) {
        if let Ok(length) = Hello::check_head(&head) {
            prop_assert!(length <= MAX_HELLO_BODY);
        }
        let _ = Hello::from_body(&body);
    }

    #[test]
    fn a_hello_with_a_byte_changed_is_read_or_refused(
        hello in any::hello(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = hello.to_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let (head, body) = bytes.split_first_chunk::<HELLO_LEN>().unwrap();
        let _ = Hello::check_head(head);
        let _ = Hello::from_body(body);
    }

    #[test]
    fn any_stream_of_bytes_ends_in_nothing_more_or_in_an_error(
        stream in vec(any::<u8>(), 0..2000), encoding in any::encoding(),
    ) {
        drain::<ToWorker>(encoding, &stream);
        drain::<ToRouter>(encoding, &stream);
    }

    #[test]
    fn any_body_of_the_right_length_is_a_message_or_an_error(
        body in vec(any::<u8>(), 0..300), encoding in any::encoding(),
    ) {
        let mut stream = (body.len() as u32).to_le_bytes().to_vec();
        stream.extend(body);
        drain::<ToWorker>(encoding, &stream);
        drain::<ToRouter>(encoding, &stream);
    }

    #[test]
    fn a_message_with_bytes_changed_is_a_message_or_an_error(
        order in any::to_worker(), answer in any::to_router(), encoding in any::encoding(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let damaged = |mut stream: Vec<u8>| {
            for (place, byte) in &damage {
                let place = place.index(stream.len());
                stream[place] = *byte;
            }
            stream
        };
        drain::<ToWorker>(encoding, &damaged(encode(encoding, &order).unwrap()));
        drain::<ToRouter>(encoding, &damaged(encode(encoding, &answer).unwrap()));
    }

    #[test]
    fn a_message_for_one_side_does_not_upset_the_other(
        order in any::to_worker(), answer in any::to_router(), encoding in any::encoding(),
    ) {
        drain::<ToRouter>(encoding, &encode(encoding, &order).unwrap());
        drain::<ToWorker>(encoding, &encode(encoding, &answer).unwrap());
    }
}

/// Every start of a message is incomplete, never an error: the rest may still come.
#[test]
fn a_message_that_is_still_on_its_way_is_waited_for() {
    for encoding in [Encoding::Bincode, Encoding::Json] {
        let whole = encode(encoding, &ToRouter::Drained).unwrap();
        for length in 0..whole.len() {
            let mut frames = Frames::new(encoding);
            frames.push(&whole[..length]);
            assert!(
                matches!(frames.next::<ToRouter>(), Ok(None)),
                "{length} bytes of {encoding:?}"
            );
        }
    }
}

#[test]
fn a_length_above_the_limit_is_refused_before_its_body_comes() {
    let mut frames = Frames::new(Encoding::Json);
    frames.push(&(MAX_MESSAGE as u32 + 1).to_le_bytes());
    assert!(matches!(frames.next::<ToWorker>(), Err(FrameFault::TooLong(_))));
}

#[test]
fn a_message_above_the_limit_is_not_sent() {
    let long = ToRouter::NodeError {
        session: "s".parse().unwrap(),
        node: "n".parse().unwrap(),
        error: "x".repeat(MAX_MESSAGE),
    };
    for encoding in [Encoding::Bincode, Encoding::Json] {
        assert!(encode(encoding, &long).is_err(), "{encoding:?}");
    }
}

#[test]
fn bytes_behind_a_message_inside_its_length_are_refused() {
    for encoding in [Encoding::Bincode, Encoding::Json] {
        let mut stream = encode(encoding, &ToRouter::Drained).unwrap();
        stream.push(7);
        let length = stream.len() as u32 - 4;
        stream[..4].copy_from_slice(&length.to_le_bytes());
        let mut frames = Frames::new(encoding);
        frames.push(&stream);
        assert!(frames.next::<ToRouter>().is_err(), "{encoding:?}");
    }
}

#[test]
fn a_hello_of_another_version_is_told_which_one_and_what_to_do() {
    let hello = Hello {
        role: remotemedia_shm_schema::control::Role::Codec,
        name: "old".into(),
        pid: 1,
        encoding: Encoding::Bincode,
    };
    let bytes = hello.to_bytes();
    let refused = |place: usize, byte: u8| {
        let mut head: [u8; HELLO_LEN] = bytes[..HELLO_LEN].try_into().unwrap();
        head[place] = byte;
        Hello::check_head(&head).expect_err("another version")
    };
    assert_eq!(refused(0, b'X'), HelloFault::Magic(*b"XMCP"));
    assert_eq!(refused(4, 9), HelloFault::Protocol(9));
    assert_eq!(refused(6, 9), HelloFault::Abi(9));
    assert!(matches!(refused(13, 1), HelloFault::TooLong(_)));
    assert!(refused(4, 9).to_string().contains("build both from the same release"));
}

#[test]
fn a_name_longer_than_ps_can_show_is_refused() {
    let body =
        format!(r#"{{"role":"codec","name":"{}","pid":1,"encoding":"json"}}"#, "x".repeat(65));
    assert!(matches!(Hello::from_body(body.as_bytes()), Err(HelloFault::Body(_))));
}

/// Reads until there is nothing more; a reader stops at the first error.
fn drain<M: serde::de::DeserializeOwned>(encoding: Encoding, stream: &[u8]) {
    let mut frames = Frames::new(encoding);
    frames.push(stream);
    while let Ok(Some(_)) = frames.next::<M>() {}
}
