"""The header before every payload in shared memory: fixed layout, hostile until checked.

Written by hand after ``shm-schema/shm_schema.h``; the tests hold it against ``shm-schema/vectors/frame_header.json``.
A reader copies the header once, calls :meth:`FrameHeader.check` on the copy, and uses only what comes back.
"""

from __future__ import annotations

import ctypes
import functools
import struct

from .meta import (
    ALL_FLAGS,
    CODECS,
    END,
    LOST,
    MAX_CHANNELS,
    MAX_SIDE,
    MAX_STAMPS,
    NODE_STAGE,
    SILENCE,
    AudioGeometry,
    Coded,
    Content,
    Data,
    Meta,
    Plane,
    Stamp,
    VideoGeometry,
)

ABI_VERSION = 1
"""The layout of :class:`FrameHeader`; a process that was built for another one is refused at its hello."""

MAX_STRIDE_ALIGNMENT = 4096

KIND_PICTURE, KIND_SOUND, KIND_CODED, KIND_DATA = 1, 2, 3, 4
FORMAT_I420 = FORMAT_F32 = 1

_CODEC_NUMBERS = {name: number for number, name in CODECS.items()}


class HeaderFault(ValueError):
    """What is wrong with a header."""


class WirePlane(ctypes.Structure):
    """One plane of a picture."""

    _fields_ = [("offset", ctypes.c_uint32), ("stride", ctypes.c_uint32)]


class WireStamp(ctypes.Structure):
    """When a frame passed a stage."""

    _fields_ = [("ns", ctypes.c_uint64), ("stage", ctypes.c_uint16), ("reserved", ctypes.c_uint16 * 3)]


class FrameHeader(ctypes.Structure):
    """What stands before every payload; the fields are those of ``struct rm_frame_header``."""

    _fields_ = [
        ("abi", ctypes.c_uint32),
        ("kind", ctypes.c_uint8),
        ("format", ctypes.c_uint8),
        ("codec", ctypes.c_uint8),
        ("stamp_count", ctypes.c_uint8),
        ("flags", ctypes.c_uint32),
        ("epoch", ctypes.c_uint32),
        ("generation", ctypes.c_uint32),
        ("rtp_time", ctypes.c_uint32),
        ("sequence", ctypes.c_uint64),
        ("source", ctypes.c_uint64),
        ("media_time_ns", ctypes.c_uint64),
        ("duration_ns", ctypes.c_uint64),
        ("width", ctypes.c_uint16),
        ("height", ctypes.c_uint16),
        ("rotation", ctypes.c_uint16),
        ("stride_alignment", ctypes.c_uint16),
        ("matrix", ctypes.c_uint8),
        ("range", ctypes.c_uint8),
        ("channels", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8),
        ("rate", ctypes.c_uint32),
        ("samples", ctypes.c_uint32),
        ("payload_len", ctypes.c_uint32),
        ("planes", WirePlane * 3),
        ("stamps", WireStamp * MAX_STAMPS),
    ]

    @staticmethod
    def type_name() -> str:
        """iceoryx2's name of the type, the same as in Rust."""
        return "FrameHeader"

    def check(self, sample_len: int) -> Meta:
        """Checks a private copy against its sample's length. The payload is the sample's first ``payload_len`` bytes.

        Raises :class:`HeaderFault` with the first fault found; no value of any field does anything else.
        """
        if self.abi != ABI_VERSION:
            raise HeaderFault(f"header has ABI {self.abi}, this process {ABI_VERSION}")
        payload_len: int = self.payload_len
        if payload_len > sample_len:
            raise HeaderFault(f"header says {payload_len} bytes of payload, the sample has {sample_len}")
        flags: int = self.flags
        if flags & ~ALL_FLAGS:
            raise _unknown("flags", flags)
        if payload_len == 0 and not flags & (LOST | SILENCE | END):
            raise _contradiction("payload_len")
        raw = bytes(self)
        # Frames of a channel are alike: what these bytes mean is worked out once.
        content = _content(raw[_KINDS], raw[_SHAPE])
        return Meta(
            content,
            flags,
            self.sequence,
            self.epoch,
            self.generation,
            self.source,
            self.media_time_ns,
            self.duration_ns,
            self.rtp_time,
            self._stamps(raw),
        )

    def _content(self) -> Content:
        """Rests on nothing but the bytes of `_KINDS` and `_SHAPE`."""
        kind: int = self.kind
        if kind == KIND_PICTURE:
            return self._picture(self.payload_len)
        if kind == KIND_SOUND:
            return self._sound(self.payload_len)
        if kind == KIND_CODED:
            codec = CODECS.get(self.codec)
            if codec is None:
                raise _unknown("codec", self.codec)
            return Coded(codec)
        if kind == KIND_DATA:
            return Data()
        raise _unknown("kind", kind)

    def _picture(self, payload_len: int) -> VideoGeometry:
        if self.format != FORMAT_I420:
            raise _unknown("format", self.format)
        width, height, alignment = self.width, self.height, self.stride_alignment
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise _contradiction("width x height")
        if alignment == 0 or alignment & (alignment - 1) or alignment > MAX_STRIDE_ALIGNMENT:
            raise _contradiction("stride_alignment")
        if self.rotation not in (0, 90, 180, 270):
            raise _unknown("rotation", self.rotation)
        if self.matrix > 3:
            raise _unknown("matrix", self.matrix)
        if self.range > 1:
            raise _unknown("range", self.range)
        y, u, v = (Plane(plane.offset, plane.stride) for plane in self.planes)
        geometry = VideoGeometry(width, height, (y, u, v), alignment, self.matrix, self.range, self.rotation)
        end_of_last = 0
        for index, plane in enumerate(geometry.planes):
            columns, rows = geometry.plane_size(index)
            if plane.stride < columns or plane.stride % alignment:
                raise _contradiction("stride")
            end = plane.offset + plane.stride * (rows - 1) + columns
            # Planes lie behind one another, so that none aliases another.
            if plane.offset < end_of_last:
                raise _contradiction("offset")
            # `lost` and `end` carry the geometry of what would have been there.
            if payload_len != 0 and end > payload_len:
                raise _contradiction("planes")
            end_of_last = end
        return geometry

    def _sound(self, payload_len: int) -> AudioGeometry:
        if self.format != FORMAT_F32:
            raise _unknown("format", self.format)
        rate, channels, samples = self.rate, self.channels, self.samples
        if not 0 < channels <= MAX_CHANNELS:
            raise _contradiction("channels")
        if not 8_000 <= rate <= 192_000:
            raise _contradiction("rate")
        if not 0 < samples <= rate:
            raise _contradiction("samples")
        geometry = AudioGeometry(rate, channels, samples)
        if payload_len != 0 and geometry.payload_len() != payload_len:
            raise _contradiction("samples")
        return geometry

    def _stamps(self, raw: bytes) -> list[Stamp]:
        count: int = self.stamp_count
        if count > MAX_STAMPS:
            raise _unknown("stamp_count", count)
        set = raw[_STAMPS : _STAMPS + count * _STAMP.size]
        stamps = [Stamp(stage, ns) for ns, stage in _STAMP.iter_unpack(set)]
        for stage, _ in stamps:
            if not (1 <= stage <= 5 or NODE_STAGE <= stage < 2 * NODE_STAGE):
                raise _unknown("stamps.stage", stage)
        return stamps


SIZE = ctypes.sizeof(FrameHeader)

PADDED = (SIZE + 63) // 64 * 64
"""Bytes of the header as iceoryx2 knows it: a cache line's multiple, zeros behind the fields."""


class PaddedHeader(ctypes.Structure):
    """The header as iceoryx2 knows it. Its alignment of 64, which ctypes cannot say before Python 3.13, is the service's:
    whoever opens one may ask for less."""

    _fields_ = [("wire", FrameHeader), ("pad", ctypes.c_uint8 * (PADDED - SIZE))]

    @staticmethod
    def type_name() -> str:
        """iceoryx2's name of the type, the same as in Rust."""
        return FrameHeader.type_name()


# The parts of a header, by place: what is of each frame, what kind it is, what shape it has with `payload_len`, stamps.
_FRAME = struct.Struct("=I3sBIIIIQQQQ")
_KINDS = slice(FrameHeader.kind.offset, FrameHeader.stamp_count.offset)
_SHAPE = slice(FrameHeader.width.offset, FrameHeader.stamps.offset)
_STAMPS = FrameHeader.stamps.offset
_STAMP = struct.Struct("=QH6x")


def to_bytes(meta: Meta, payload_len: int) -> bytes:
    """The header to put before a payload of this length, with the zeros behind it."""
    kinds, shape = _shape(meta.content, payload_len)
    stamps = meta.stamps[:MAX_STAMPS]
    frame = _FRAME.pack(
        ABI_VERSION,
        kinds,
        len(stamps),
        meta.flags,
        meta.epoch,
        meta.generation,
        meta.rtp_time,
        meta.sequence,
        meta.source,
        meta.media_time_ns,
        meta.duration_ns,
    )
    return (frame + shape + b"".join([_STAMP.pack(ns, stage) for stage, ns in stamps])).ljust(PADDED, b"\0")


def to_wire(meta: Meta, payload_len: int) -> FrameHeader:
    """As :func:`to_bytes`, with its fields."""
    return FrameHeader.from_buffer_copy(to_bytes(meta, payload_len))


@functools.lru_cache(maxsize=64)
def _content(kinds: bytes, shape: bytes) -> Content:
    raw = bytearray(SIZE)
    raw[_KINDS], raw[_SHAPE] = kinds, shape
    return FrameHeader.from_buffer(raw)._content()


@functools.lru_cache(maxsize=64)
def _shape(content: Content, payload_len: int) -> tuple[bytes, bytes]:
    header = FrameHeader(payload_len=payload_len)
    if isinstance(content, VideoGeometry):
        header.kind, header.format = KIND_PICTURE, FORMAT_I420
        header.width, header.height, header.rotation = content.width, content.height, content.rotation
        header.stride_alignment, header.matrix, header.range = content.stride_alignment, content.matrix, content.range
        header.planes[:] = [WirePlane(*plane) for plane in content.planes]
    elif isinstance(content, AudioGeometry):
        header.kind, header.format = KIND_SOUND, FORMAT_F32
        header.rate, header.channels, header.samples = content
    elif isinstance(content, Coded):
        header.kind, header.codec = KIND_CODED, _CODEC_NUMBERS[content.codec]
    else:
        header.kind = KIND_DATA
    raw = bytes(header)
    return raw[_KINDS], raw[_SHAPE]


def _unknown(field: str, value: int) -> HeaderFault:
    return HeaderFault(f"header field `{field}` has the unknown value {value}")


def _contradiction(what: str) -> HeaderFault:
    return HeaderFault(f"header's `{what}` contradicts its payload")
