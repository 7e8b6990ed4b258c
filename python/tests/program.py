"""The workers of `worker-sdk/tests/python.rs`, by name: `program.py invert`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

import numpy as np

import remotemedia
from remotemedia import AudioFrame, VideoFrame

kept: list[Any] = []


def invert(frame: VideoFrame, out: VideoFrame) -> None:
    for theirs, own in zip(frame.planes, out.planes):
        np.subtract(255, theirs, out=own)


def untouched(frame: VideoFrame, out: VideoFrame) -> None:
    """For measuring the way alone."""


def half(frame: AudioFrame, out: AudioFrame) -> None:
    np.multiply(frame.samples, 0.5, out=out.samples)


class Add:
    """Adds to luma; fails on pictures that are darker than its floor."""

    def __init__(self, params: dict[str, Any]) -> None:
        if params.get("add") == "impossible":
            raise ValueError("nobody can make this")
        self.add = int(params.get("add", 0))

    def on_params(self, changes: dict[str, Any]) -> None:
        if changes["add"] < 0:
            raise ValueError("add must not be negative")
        self.add = changes["add"]

    def process(self, frame: VideoFrame, out: VideoFrame) -> None:
        first = int(frame.y[0, 0])
        if first == 13:
            raise RuntimeError("thirteen brings bad luck")
        out.copy_from(frame)
        out.y[:] = frame.y + np.uint8(self.add)


def keep(frame: VideoFrame, out: VideoFrame) -> None:
    """What one must not do: keeps views of what it reads and of what it writes."""
    # Of the frame before; after a new wiring of ports that are closed.
    assert all(int(view[0, 0]) >= 0 and int(view.sum()) >= 0 for view in kept)
    out.copy_from(frame)
    kept[:] = [frame.y, out.y]


def naughty(frame: VideoFrame, out: VideoFrame) -> None:
    """Tries to write what it may only read, and to use what is over."""
    refused = []
    for attempt in (
        lambda: frame.y.fill(0),
        lambda: frame.payload.fill(0),
        lambda: frame.y.setflags(write=True),
        lambda: kept[0].y,
    ):
        try:
            attempt()
        except (ValueError, RuntimeError, IndexError):
            refused.append(attempt)
    out.copy_from(frame)
    out.y[:] = len(refused)
    kept[:] = [frame]


def rgb(frame: VideoFrame, out: VideoFrame) -> None:
    """Red and blue change places."""
    out.image[:] = frame.image[:, :, ::-1]


def spin(frame: VideoFrame, out: VideoFrame) -> None:
    """Computes in Python, without a pause, until a file is there."""
    while not os.path.exists(os.environ["SPIN_UNTIL"]):
        pass
    out.copy_from(frame)


def die(frame: VideoFrame, out: VideoFrame) -> None:
    """In the middle of its call."""
    out.copy_from(frame)
    if frame.y[0, 0] == 66:
        os.kill(os.getpid(), signal.SIGKILL)


def see(frame: remotemedia.Frame) -> None:
    """Prints what a tap sees."""
    if isinstance(frame, VideoFrame):
        print("picture", frame.y[0, 0], frame.u[0, 0], frame.missed, flush=True)
    elif isinstance(frame, remotemedia.CodedFrame):
        print("coded", frame.codec, int(frame.payload[0]), frame.missed, flush=True)


def ramp(number: int, out: AudioFrame) -> None:
    out.samples[:] = number


def flat(number: int, out: VideoFrame) -> None:
    out.y[:] = number % 256
    out.u[:] = 1
    out.v[:] = 2


def main(name: str, *rest: str) -> NoReturn:
    if name == "tap":
        remotemedia.tap(rest[0], see)
    if name == "insert":
        remotemedia.video("negative", invert).insert(rest[0], "node", on_failure="bypass")
    if name == "tone":
        remotemedia.audio_source("s", "tone", ramp, channels=2)
    if name == "flat":
        remotemedia.video_source("s", "flat", flat, width=320, height=180, rate=100)
    if name == "half":
        remotemedia.audio("half", half).run()
    if name == "rgb":
        remotemedia.video("rgb", rgb, format="rgb").run()
    functions: dict[str, Any] = {"invert": invert, "add": Add, "die": die, "spin": spin, "keep": keep, "naughty": naughty, "untouched": untouched}
    remotemedia.video(name, functions[name], params_schema={"type": "object"}).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
