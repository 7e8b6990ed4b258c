/* What stands before every payload in shared memory. Generated from src/header.rs: do not edit.
   All integers are in the machine's byte order; a reader copies the header once and checks the copy. */

#ifndef REMOTEMEDIA_SHM_SCHEMA_H
#define REMOTEMEDIA_SHM_SCHEMA_H

#include <stdint.h>

/* Bits of `flags`. */
#define RM_FLAG_KEYFRAME 1
#define RM_FLAG_DISCONTINUITY 2
#define RM_FLAG_END 4
#define RM_FLAG_LOST 8
#define RM_FLAG_SILENCE 16
#define RM_FLAG_MUTED 32

/* Values of `codec`. */
#define RM_CODEC_OPUS 1
#define RM_CODEC_VP8 2
#define RM_CODEC_VP9 3
#define RM_CODEC_H264 4

// The layout of `FrameHeader`; a process that was built for another one is refused at its hello.
#define RM_ABI_VERSION 1

// Stamps that a frame can carry: six of ours and ten nodes; a longer chain keeps the first ones.
#define RM_MAX_STAMPS 16

// Greatest width or height that a header may claim; keeps every size computation within 32 bits.
#define RM_MAX_SIDE 8192

// Greatest stride alignment, a page.
#define RM_MAX_STRIDE_ALIGNMENT 4096

// Most channels of sound: 7.1.
#define RM_MAX_CHANNELS 8

// `FrameHeader::kind` of a raw picture.
#define RM_KIND_PICTURE 1

// `FrameHeader::kind` of raw sound.
#define RM_KIND_SOUND 2

// `FrameHeader::kind` of an access unit.
#define RM_KIND_CODED 3

// `FrameHeader::kind` of text or binary data.
#define RM_KIND_DATA 4

// `FrameHeader::format` of an I420 picture.
#define RM_FORMAT_I420 1

// `FrameHeader::format` of interleaved 32-bit float samples.
#define RM_FORMAT_F32 1

// One plane of a picture: where it begins in the payload and how far its rows are apart, in bytes.
struct rm_plane {
    // Bytes from the payload's begin.
    uint32_t offset;
    // Bytes from row to row.
    uint32_t stride;
};

// When a frame passed a stage.
struct rm_stamp {
    // Nanoseconds of `CLOCK_MONOTONIC`.
    uint64_t ns;
    // 1 received, 2 assembled, 3 decoded, 4 encoded, 5 sent, 256 + n the session's node n.
    uint16_t stage;
    // Zero.
    uint16_t reserved[3];
};

// What stands before every payload in shared memory.
struct rm_frame_header {
    // `ABI_VERSION`.
    uint32_t abi;
    // 1 picture, 2 sound, 3 coded, 4 data.
    uint8_t kind;
    // 1: I420 for a picture, interleaved f32 for sound; 0 otherwise.
    uint8_t format;
    // 0 none, 1 Opus, 2 VP8, 3 VP9, 4 H.264.
    uint8_t codec;
    // How many of `stamps` are set.
    uint8_t stamp_count;
    // Bits of `Flags`.
    uint32_t flags;
    // The wiring that it belongs to.
    uint32_t epoch;
    // The process that made it, counted among those that stood in for one another.
    uint32_t generation;
    // The RTP timestamp as it came from the network.
    uint32_t rtp_time;
    // Counts the producer's frames; a gap is what the reader missed.
    uint64_t sequence;
    // The router's number of the track it stems from.
    uint64_t source;
    // Nanoseconds on the router's `CLOCK_MONOTONIC` line.
    uint64_t media_time_ns;
    // Nanoseconds that it lasts; 0 where unknown.
    uint64_t duration_ns;
    // Pixels.
    uint16_t width;
    // Pixels.
    uint16_t height;
    // Degrees clockwise for display: 0, 90, 180, 270.
    uint16_t rotation;
    // Bytes; every stride is a multiple.
    uint16_t stride_alignment;
    // 0 unspecified, 1 BT.601, 2 BT.709, 3 BT.2020.
    uint8_t matrix;
    // 0 limited (16–235), 1 full.
    uint8_t range;
    // Channels of sound.
    uint8_t channels;
    // Zero.
    uint8_t reserved;
    // Samples a second and channel.
    uint32_t rate;
    // Samples a channel.
    uint32_t samples;
    // Bytes of payload that the producer wrote; the sample may be longer (an encoder learns the length only while it
    // writes, and a loan cannot be shrunk), never shorter. What lies behind is not part of the frame.
    uint32_t payload_len;
    // Y, U, V.
    struct rm_plane planes[3];
    // In the order of passing.
    struct rm_stamp stamps[RM_MAX_STAMPS];
};

#endif  /* REMOTEMEDIA_SHM_SCHEMA_H */
