"""What a frame is, after its header was checked: content, times, stamps."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import NamedTuple, Union

MAX_STAMPS = 16
"""Stamps that a frame can carry; a longer chain keeps the first ones."""

STRIDE_ALIGNMENT = 64
"""Bytes by which rows and planes of our own pictures are aligned: a cache line."""

MAX_SIDE = 8192
"""Greatest width or height of a picture."""

MAX_CHANNELS = 8
"""Most channels of sound: 7.1."""

KEYFRAME, DISCONTINUITY, END, LOST, SILENCE, MUTED = (1 << bit for bit in range(6))
ALL_FLAGS = (1 << 6) - 1

CODECS = {1: "opus", 2: "vp8", 3: "vp9", 4: "h264"}

NODE_STAGE = 256
"""Stage of the session's node 0; 1 received, 2 assembled, 3 decoded, 4 encoded, 5 sent."""


def monotonic_ns() -> int:
    """Nanoseconds of ``CLOCK_MONOTONIC``: the same line in every process of a machine."""
    return time.monotonic_ns()


class Plane(NamedTuple):
    """Where a plane begins in the payload, and the distance of its rows, in bytes."""

    offset: int
    stride: int


class VideoGeometry(NamedTuple):
    """Shape of an I420 picture; odd sizes are allowed, chroma then rounds up."""

    width: int
    height: int
    planes: tuple[Plane, Plane, Plane]
    stride_alignment: int = STRIDE_ALIGNMENT
    matrix: int = 0
    """0 unspecified, 1 BT.601, 2 BT.709, 3 BT.2020."""
    range: int = 0
    """0 limited (16 to 235), 1 full."""
    rotation: int = 0
    """Degrees clockwise for display."""

    @staticmethod
    def i420(width: int, height: int) -> VideoGeometry:
        """The layout in which workers write a picture of this size."""
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise ValueError(f"a picture of {width}x{height}; 1x1 to {MAX_SIDE}x{MAX_SIDE} are allowed")
        luma, chroma = _align(width), _align((width + 1) // 2)
        u = luma * height
        v = u + chroma * ((height + 1) // 2)
        return VideoGeometry(width, height, (Plane(0, luma), Plane(u, chroma), Plane(v, chroma)))

    @functools.lru_cache(maxsize=64)
    def like(self) -> VideoGeometry:
        """Our own layout for a picture of this size, with the same colours and rotation."""
        own = VideoGeometry.i420(self.width, self.height)
        return own._replace(matrix=self.matrix, range=self.range, rotation=self.rotation)

    def plane_size(self, plane: int) -> tuple[int, int]:
        """Columns and rows of plane 0 (Y), 1 (U) or 2 (V)."""
        if plane == 0:
            return self.width, self.height
        return (self.width + 1) // 2, (self.height + 1) // 2

    def payload_len(self) -> int:
        """Bytes of a payload that holds all rows in full."""
        return self.planes[2].offset + self.planes[2].stride * self.plane_size(2)[1]


class AudioGeometry(NamedTuple):
    """Shape of a block of interleaved 32-bit float samples."""

    rate: int
    channels: int
    samples: int

    def payload_len(self) -> int:
        """Bytes of its payload."""
        return self.samples * self.channels * 4

    def duration_ns(self) -> int:
        """How long it lasts."""
        return self.samples * 1_000_000_000 // max(self.rate, 1)


class Coded(NamedTuple):
    """An access unit of this codec."""

    codec: str


class Data(NamedTuple):
    """Text or bytes that the router passes through."""


Content = Union[VideoGeometry, AudioGeometry, Coded, Data]


class Stamp(NamedTuple):
    """When a frame passed a stage."""

    stage: int
    ns: int


@dataclasses.dataclass
class Meta:
    """A checked frame's description."""

    content: Content
    flags: int = 0
    sequence: int = 0
    """Counts the producer's frames."""
    epoch: int = 0
    generation: int = 0
    source: int = 0
    """The router's number of the track that it stems from."""
    media_time_ns: int = 0
    """On the router's ``CLOCK_MONOTONIC`` line."""
    duration_ns: int = 0
    """0 where unknown."""
    rtp_time: int = 0
    stamps: list[Stamp] = dataclasses.field(default_factory=list)

    def derive(self, content: Content) -> Meta:
        """The same frame as another content: times, source and stamps stay."""
        return Meta(
            content,
            self.flags,
            self.sequence,
            self.epoch,
            self.generation,
            self.source,
            self.media_time_ns,
            self.duration_ns,
            self.rtp_time,
            list(self.stamps),
        )

    def stamp(self, stage: int) -> None:
        """Adds a stamp of now; a seventeenth is not kept."""
        if len(self.stamps) < MAX_STAMPS:
            self.stamps.append(Stamp(stage, monotonic_ns()))


def _align(length: int) -> int:
    return (length + STRIDE_ALIGNMENT - 1) // STRIDE_ALIGNMENT * STRIDE_ALIGNMENT
