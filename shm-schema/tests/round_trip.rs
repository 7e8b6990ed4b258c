//! Whatever one process writes, the other reads as the same.

mod any;

use proptest::prelude::*;
use remotemedia_shm_schema::control::{Encoding, Frames, HELLO_LEN, Hello, encode};
use remotemedia_shm_schema::{ChannelName, FrameHeader, VideoGeometry};

proptest! {
    #[test]
    fn every_frame_header_comes_out_as_it_went_in((meta, length) in any::frame()) {
        let header = meta.to_wire(length);
        let bytes = bytemuck::bytes_of(&header).to_vec();
        let copy: FrameHeader = bytemuck::pod_read_unaligned(&bytes);
        prop_assert_eq!(copy, header);
        prop_assert_eq!(copy.check(length as usize), Ok(meta));
    }

    #[test]
    fn every_size_of_picture_has_a_layout_of_its_own(width in 1..=8192u16, height in 1..=8192u16) {
        let geometry = VideoGeometry::i420(width, height);
        let length = geometry.payload_len();
        let meta = remotemedia_shm_schema::Meta::new(
            remotemedia_shm_schema::Content::Picture(geometry),
        );
        prop_assert_eq!(meta.to_wire(length as u32).check(length), Ok(meta));
        for plane in geometry.planes {
            prop_assert_eq!(plane.offset % 64, 0);
            prop_assert_eq!(plane.stride % 64, 0);
        }
    }

    #[test]
    fn every_channel_name_reads_back(name in any::channel()) {
        let text = name.to_string();
        prop_assert_eq!(text.parse::<ChannelName>(), Ok(name.clone()));
        prop_assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{text}\""));
    }

    #[test]
    fn every_hello_reads_back(hello in any::hello()) {
        let bytes = hello.to_bytes();
        let (head, body) = bytes.split_first_chunk::<HELLO_LEN>().unwrap();
        prop_assert_eq!(Hello::check_head(head), Ok(body.len()));
        prop_assert_eq!(Hello::from_body(body), Ok(hello));
    }

    #[test]
    fn control_messages_read_back_however_the_stream_is_cut(
        orders in proptest::collection::vec(any::to_worker(), 1..5),
        answers in proptest::collection::vec(any::to_router(), 1..5),
        encoding in any::encoding(),
        cut in 1..200usize,
    ) {
        prop_assert_eq!(&across(encoding, &orders, cut), &orders);
        prop_assert_eq!(&across(encoding, &answers, cut), &answers);
    }
}

fn across<M>(encoding: Encoding, messages: &[M], cut: usize) -> Vec<M>
where
    M: serde::Serialize + serde::de::DeserializeOwned,
{
    let stream: Vec<u8> =
        messages.iter().flat_map(|m| encode(encoding, m).expect("short enough")).collect();
    let (mut frames, mut read) = (Frames::new(encoding), Vec::new());
    for part in stream.chunks(cut) {
        frames.push(part);
        while let Some(message) = frames.next().expect("what we wrote ourselves") {
            read.push(message);
        }
    }
    read
}
