//! A header that contradicts itself or its payload is refused; one that is accepted can be read by its geometry.

mod any;

use proptest::prelude::*;
use remotemedia_shm_schema::header::{MAX_CHANNELS, MAX_SIDE, MAX_STAMPS, WirePlane, WireStamp};
use remotemedia_shm_schema::{
    AudioGeometry, Codec, Content, Flags, FrameHeader, HeaderFault, Meta, VideoGeometry,
};

/// What a liar changes in an otherwise good header.
type Lie = (&'static str, fn(&mut FrameHeader));

const LIES_OF_ANY: &[Lie] = &[
    ("another abi", |h| h.abi ^= 2),
    ("no kind", |h| h.kind = 0),
    ("an unknown kind", |h| h.kind = 5),
    ("an unknown flag", |h| h.flags |= 1 << 6),
    ("the highest flag", |h| h.flags |= 1 << 31),
    ("more payload than there is", |h| h.payload_len += 1),
    ("no payload", |h| h.payload_len = 0),
    ("the most payload", |h| h.payload_len = u32::MAX),
    ("more stamps than fit", |h| h.stamp_count = MAX_STAMPS as u8 + 1),
    ("the most stamps", |h| h.stamp_count = u8::MAX),
    ("a stamp of stage 0", |h| stamp(h, 0)),
    ("a stamp of an unknown stage", |h| stamp(h, 6)),
    ("a stamp just before the nodes", |h| stamp(h, 255)),
    ("a stamp behind the last node", |h| stamp(h, 512)),
    ("a stamp of the highest stage", |h| stamp(h, u16::MAX)),
];

const LIES_OF_PICTURES: &[Lie] = &[
    ("half of the payload", |h| h.payload_len /= 2),
    ("no width", |h| h.width = 0),
    ("no height", |h| h.height = 0),
    ("too wide", |h| h.width = MAX_SIDE + 1),
    ("too high", |h| h.height = MAX_SIDE + 1),
    ("the widest", |h| h.width = u16::MAX),
    ("the highest", |h| h.height = u16::MAX),
    ("wider than its rows", |h| h.width = h.planes[0].stride as u16 + 1),
    ("two rows more than there are", |h| h.height += 2),
    ("no format", |h| h.format = 0),
    ("an unknown format", |h| h.format = 2),
    ("a slanted rotation", |h| h.rotation = 45),
    ("a full turn", |h| h.rotation = 360),
    ("an unknown matrix", |h| h.matrix = 4),
    ("an unknown range", |h| h.range = 2),
    ("no alignment", |h| h.stride_alignment = 0),
    ("an odd alignment", |h| h.stride_alignment = 3),
    ("more than a page of alignment", |h| h.stride_alignment = 8192),
    ("strides off their alignment", |h| h.planes[0].stride += 1),
    ("a stride of nothing", |h| h.planes[0].stride = 0),
    ("a chroma stride of nothing", |h| h.planes[1].stride = 0),
    ("rows that overlap", |h| h.planes[0].stride = 64),
    ("the longest stride", |h| h.planes[0].stride = u32::MAX - 63),
    ("the longest chroma stride", |h| h.planes[2].stride = u32::MAX - 63),
    ("luma behind the payload", |h| h.planes[0].offset = h.payload_len),
    ("chroma behind the payload", |h| h.planes[2].offset = h.payload_len),
    ("an offset that wraps", |h| h.planes[2].offset = u32::MAX),
    ("U over Y", |h| h.planes[1].offset = 0),
    ("V over U", |h| h.planes[2].offset = h.planes[1].offset),
    ("V before U", |h| h.planes.swap(1, 2)),
];

const LIES_OF_SOUND: &[Lie] = &[
    ("half of the payload", |h| h.payload_len /= 2),
    ("a byte less than its samples", |h| h.payload_len -= 1),
    ("no channel", |h| h.channels = 0),
    ("a channel more", |h| h.channels += 1),
    ("too many channels", |h| h.channels = MAX_CHANNELS + 1),
    ("the most channels", |h| h.channels = u8::MAX),
    ("no sample", |h| h.samples = 0),
    ("a sample more", |h| h.samples += 1),
    ("a sample less", |h| h.samples -= 1),
    ("the most samples", |h| h.samples = u32::MAX),
    ("samples whose bytes wrap to the payload", |h| h.samples += 1 << 29),
    ("no rate", |h| h.rate = 0),
    ("too low a rate", |h| h.rate = 7_999),
    ("too high a rate", |h| h.rate = 192_001),
    ("no format", |h| h.format = 0),
    ("an unknown format", |h| h.format = 2),
];

const LIES_OF_ACCESS_UNITS: &[Lie] =
    &[("no codec", |h| h.codec = 0), ("an unknown codec", |h| h.codec = 5)];

fn stamp(header: &mut FrameHeader, stage: u16) {
    header.stamp_count = header.stamp_count.max(1);
    header.stamps[0] = WireStamp { ns: 1, stage, reserved: [0; 3] };
}

#[test]
fn each_lie_about_a_frame_is_refused() {
    let picture = Content::Picture(VideoGeometry::i420(321, 181));
    let sound = Content::Sound(AudioGeometry { rate: 48_000, channels: 2, samples: 480 });
    let lies: [(Content, u32, &[Lie]); 4] = [
        (picture, VideoGeometry::i420(321, 181).payload_len() as u32, LIES_OF_PICTURES),
        (sound, 480 * 2 * 4, LIES_OF_SOUND),
        (Content::Coded(Codec::Vp8), 1000, LIES_OF_ACCESS_UNITS),
        (Content::Data, 10, &[]),
    ];
    for (content, length, lies) in lies {
        let honest = Meta::new(content).to_wire(length);
        assert!(honest.check(length as usize).is_ok(), "{content:?}");
        for (what, lie) in LIES_OF_ANY.iter().chain(lies) {
            let mut header = honest;
            lie(&mut header);
            let found = header.check(length as usize);
            assert!(found.is_err(), "{what} of {content:?} was taken as {found:?}");
        }
    }
}

#[test]
fn an_empty_frame_must_say_why() {
    let sound = Content::Sound(AudioGeometry { rate: 48_000, channels: 1, samples: 960 });
    for content in [sound, Content::Coded(Codec::Opus), Content::Data] {
        let mut meta = Meta::new(content);
        assert_eq!(meta.to_wire(0).check(0), Err(HeaderFault::Geometry("payload_len")));
        for why in [Flags::LOST, Flags::SILENCE, Flags::END] {
            meta.flags = why;
            assert_eq!(meta.to_wire(0).check(0), Ok(meta));
        }
    }
}

#[test]
fn a_sample_shorter_than_the_header_says_is_told_both_lengths() {
    let header = Meta::new(Content::Coded(Codec::Vp9)).to_wire(100);
    assert_eq!(header.check(99), Err(HeaderFault::Length { said: 100, has: 99 }));
    assert_eq!(header.check(0), Err(HeaderFault::Length { said: 100, has: 0 }));
}

/// Encoders do not know a frame's length when they loan its sample; what lies behind the payload is not looked at.
#[test]
fn a_sample_may_be_longer_than_its_payload_but_lends_it_nothing() {
    let unit = Meta::new(Content::Coded(Codec::Vp9));
    assert_eq!(unit.to_wire(100).check(usize::MAX), Ok(unit));
    let geometry = VideoGeometry::i420(321, 181);
    let picture = Meta::new(Content::Picture(geometry));
    let length = geometry.payload_len();
    assert_eq!(picture.to_wire(length as u32).check(length * 2), Ok(picture));
    assert!(picture.to_wire(length as u32 / 2).check(length * 2).is_err());
}

proptest! {
    /// Small pictures with planes anywhere: what the check says must be what slicing the payload finds.
    #[test]
    fn a_picture_is_accepted_exactly_when_all_its_rows_lie_in_the_payload_apart_from_each_other(
        width in 1..20u16, height in 1..12u16, log in 0..4u32, far in 1..700u32,
        planes in proptest::array::uniform3((0..500u32, 0..40u32)),
        (tidy, aligned, tight) in any::<(bool, bool, bool)>(), off in -2..=2i64,
    ) {
        let mut geometry = VideoGeometry::i420(width, height);
        geometry.stride_alignment = 1 << log;
        let mut free = 0;
        for (index, (offset, stride)) in planes.into_iter().enumerate() {
            let (columns, rows) = geometry.plane_size(index);
            let plane = &mut geometry.planes[index];
            // Half of the cases are nearly right in each respect, or too few would ever be accepted.
            plane.offset = if tidy { free + offset % 9 } else { offset };
            plane.stride = if aligned { (stride & !7).next_multiple_of(1 << log) } else { stride };
            free = plane.offset + plane.stride * (rows - 1) + columns;
        }
        let length = if tight { (i64::from(free) + off).max(1) as u32 } else { far };
        let header = Meta::new(Content::Picture(geometry)).to_wire(length);
        prop_assert_eq!(
            header.check(length as usize).is_ok(),
            reads_apart(&geometry, length as usize),
            "{:?} in {} bytes", geometry, length
        );
    }

    #[test]
    fn an_accepted_picture_never_reaches_past_its_payload(
        geometry in any::picture(), short in 0..200_000u32, plane in 0..3usize,
        offset in any::<u32>(), stride in any::<u32>(), which in 0..3,
    ) {
        let length = (geometry.payload_len() as u32).saturating_sub(short).max(1);
        let mut header = Meta::new(Content::Picture(geometry)).to_wire(length);
        let WirePlane { offset: o, stride: s } = &mut header.planes[plane];
        if which == 1 { *o = offset } else if which == 2 { *s = stride }
        if let Ok(meta) = header.check(length as usize) {
            let Content::Picture(geometry) = meta.content else { panic!("a picture") };
            for index in 0..3 {
                prop_assert!(last_byte(&geometry, index) < u128::from(length));
            }
        }
    }

    #[test]
    fn sound_is_accepted_exactly_when_its_samples_fill_the_payload(
        rate in prop_oneof![8_000..=192_000u32, any::<u32>()], channels in any::<u8>(),
        samples in prop_oneof![1..5_000u32, any::<u32>()], off in -4..=4i64,
    ) {
        let bytes = u128::from(samples) * u128::from(channels) * 4;
        let length = (bytes as i128 + i128::from(off)).clamp(1, i128::from(u32::MAX)) as u32;
        let geometry = AudioGeometry { rate, channels, samples };
        let header = Meta::new(Content::Sound(geometry)).to_wire(length);
        let fits = u128::from(length) == bytes
            && (1..=MAX_CHANNELS).contains(&channels)
            && (8_000..=192_000).contains(&rate)
            && (1..=rate).contains(&samples);
        prop_assert_eq!(header.check(length as usize).is_ok(), fits);
    }
}

/// By the plain way: marks every byte of every row, in the planes' order.
fn reads_apart(geometry: &VideoGeometry, length: usize) -> bool {
    let mut behind = 0;
    for (index, plane) in geometry.planes.iter().enumerate() {
        let (columns, rows) = geometry.plane_size(index);
        let (columns, offset, stride) =
            (columns as usize, plane.offset as usize, plane.stride as usize);
        if stride % usize::from(geometry.stride_alignment) != 0 || offset < behind {
            return false;
        }
        let mut free = 0;
        for row in 0..rows as usize {
            let begin = offset + row * stride;
            if begin < free || begin + columns > length {
                return false;
            }
            free = begin + columns;
        }
        // Rows that may touch must not overlap, also where there is a single one.
        if stride < columns {
            return false;
        }
        behind = free;
    }
    true
}

fn last_byte(geometry: &VideoGeometry, index: usize) -> u128 {
    let (columns, rows) = geometry.plane_size(index);
    let plane = geometry.planes[index];
    u128::from(plane.offset) + u128::from(plane.stride) * u128::from(rows - 1) + u128::from(columns)
        - 1
}
