"""What a user's function is given: pictures and sound as numpy views of shared memory.

Views end with the call that they were given to. What is to be kept is copied: ``frame.y.copy()``. A view that is kept all
the same never crashes the process, but it keeps its frame from being used again, and one that was written through is
made read-only.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from . import convert
from .meta import LOST, SILENCE, AudioGeometry, Coded, Meta, VideoGeometry
from .ports import Block, Bytes

Samples = npt.NDArray[np.float32]


class Frame:
    """A frame of any kind."""

    def __init__(self, meta: Meta, block: Optional[Block], length: int, missed: int = 0) -> None:
        self.meta = meta
        """Times, flags, stamps; a copy, good for as long as it is wanted."""
        self.missed = missed
        """Frames that are missing between the one before this and this."""
        self._block = block
        self._length = length
        self._over = False

    @property
    def empty(self) -> bool:
        """Whether it has no payload: it stands for a lost packet, for silence, or for the end."""
        return self._length == 0

    @property
    def lost(self) -> bool:
        """Whether it stands for what was lost on its way."""
        return bool(self.meta.flags & LOST)

    @property
    def silent(self) -> bool:
        """Whether it stands for a sender that is silent."""
        return bool(self.meta.flags & SILENCE)

    @property
    def payload(self) -> Bytes:
        """All of its bytes, in place."""
        self._check()
        return np.empty(0, np.uint8) if self._block is None else self._block.bytes(self._length)

    def _check(self) -> None:
        if self._over:
            raise RuntimeError("the frame is over: views end with the call that they were given to; copy what is kept")

    def _end(self) -> int:
        """Forgets the views; the bytes that conversions copied."""
        self._over = True
        self._block = None
        return 0


class CodedFrame(Frame):
    """An access unit."""

    @property
    def codec(self) -> str:
        """``opus``, ``vp8``, ``vp9`` or ``h264``."""
        content = self.meta.content
        return content.codec if isinstance(content, Coded) else ""


class VideoFrame(Frame):
    """A picture: planes Y, U and V of shape (rows, columns), one byte a sample, chroma at half the size.

    With ``format="rgb"`` or ``"bgr"`` it also has :attr:`image`, with ``format="nv12"`` :attr:`uv`.
    """

    def __init__(
        self,
        meta: Meta,
        geometry: VideoGeometry,
        block: Optional[Block],
        length: int,
        missed: int = 0,
        format: str = "i420",
        writable: bool = False,
    ) -> None:
        super().__init__(meta, block, length, missed)
        self.geometry = geometry
        self._planes: list[Optional[Bytes]] = [None, None, None]
        self._format = format
        self._writable = writable
        self._converted: Optional[Bytes] = None
        self._copied = 0

    @property
    def width(self) -> int:
        """Columns of :attr:`y`."""
        return self.geometry.width

    @property
    def height(self) -> int:
        """Rows of :attr:`y`."""
        return self.geometry.height

    @property
    def planes(self) -> tuple[Bytes, Bytes, Bytes]:
        """Y, U and V, in place."""
        return self._plane(0), self._plane(1), self._plane(2)

    @property
    def y(self) -> Bytes:
        """Luma."""
        return self._plane(0)

    @property
    def u(self) -> Bytes:
        """First chroma plane."""
        return self._plane(1)

    @property
    def v(self) -> Bytes:
        """Second chroma plane."""
        return self._plane(2)

    @property
    def image(self) -> Bytes:
        """Shape (rows, columns, 3) in the order that ``format`` says, a copy; what is written into an output's is
        converted back. Conversions are of BT.601 in limited range."""
        if self._format not in ("rgb", "bgr"):
            raise RuntimeError(f'ask for it: format="rgb" or "bgr", this is "{self._format}"')
        return self._convert()

    @property
    def uv(self) -> Bytes:
        """Chroma of NV12: shape (rows, columns, 2), a copy; :attr:`y` is in place."""
        if self._format != "nv12":
            raise RuntimeError(f'ask for it: format="nv12", this is "{self._format}"')
        return self._convert()

    def copy_from(self, other: VideoFrame) -> None:
        """Takes over another picture of the same size; counted as copied."""
        for own, theirs in zip(self.planes, other.planes):
            np.copyto(own, theirs)
            self._copied += own.nbytes
        self._converted = None

    def _plane(self, index: int) -> Bytes:
        self._check()
        plane = self._planes[index]
        if plane is None:
            if self._block is None:
                raise RuntimeError("the frame is empty: it stands for a picture that is not there")
            plane = self._planes[index] = self._block.plane(self.geometry, index)
        return plane

    def _convert(self) -> Bytes:
        planes = self.planes
        if self._converted is None:
            if self._writable:
                self._converted = convert.blank(self._format, planes)
            else:
                self._converted, copied = convert.out_of(self._format, planes)
                self._converted.flags.writeable = False
                self._copied += copied
        return self._converted

    def _finish(self) -> None:
        """Puts a converted output back into its planes."""
        if self._writable and self._converted is not None:
            self._copied += convert.back_into(self._format, self._converted, self.planes)

    def _end(self) -> int:
        super()._end()
        self._planes = [None, None, None]
        self._converted = None
        copied, self._copied = self._copied, 0
        return copied


class AudioFrame(Frame):
    """A block of sound."""

    def __init__(
        self, meta: Meta, geometry: AudioGeometry, block: Optional[Block], length: int, missed: int = 0
    ) -> None:
        super().__init__(meta, block, length, missed)
        self.geometry = geometry
        self._samples = block.samples(geometry) if block is not None else None

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.geometry.rate

    @property
    def channels(self) -> int:
        """Columns of :attr:`samples`."""
        return self.geometry.channels

    @property
    def samples(self) -> Samples:
        """Shape (samples, channels), float32 from -1 to 1, in place."""
        self._check()
        if self._samples is None:
            raise RuntimeError("the frame is empty: it stands for sound that is not there")
        return self._samples

    def _end(self) -> int:
        self._samples = None
        return super()._end()


def received(meta: Meta, block: Optional[Block], length: int, missed: int, format: str = "i420") -> Frame:
    """A frame of the kind that its header says."""
    content: Any = meta.content
    if isinstance(content, VideoGeometry):
        return VideoFrame(meta, content, block, length, missed, format)
    if isinstance(content, AudioGeometry):
        return AudioFrame(meta, content, block, length, missed)
    return (CodedFrame if isinstance(content, Coded) else Frame)(meta, block, length, missed)
