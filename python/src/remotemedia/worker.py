"""What a user's program says: a function or a class, and where its frames come from and go to."""

from __future__ import annotations

import json
from typing import Any, Callable, NoReturn, Optional, Union

from . import convert, messages, server
from .frame import AudioFrame, Frame, VideoFrame, received
from .messages import GraphNode, JsonObject, Task
from .meta import AudioGeometry, Content, Meta, VideoGeometry, monotonic_ns
from .names import NameFault, check_channel_name, check_id, check_node
from .ports import Block, Loan, Taken
from .task import Output, Processor, TaskFault, params_of

ON_FAILURE = ("bypass", "hold", "close")

VideoFunction = Callable[[VideoFrame, VideoFrame], object]
AudioFunction = Callable[[AudioFrame, AudioFrame], object]
NodeClass = type
"""A class that is made with its node's parameters, ``Class(params: dict)``, once per node and task. It has
``process(frame, out)``, and ``on_params(changes: dict)`` where its parameters may change."""

NO_PARAMS: JsonObject = {"type": "object", "additionalProperties": False}

_RECEIVED = 1
_NODE = 256


class Worker:
    """A node: reads frames, writes one of the same shape for each.

    Made by :func:`video` or :func:`audio`; :meth:`run` serves as a process that the router started, :meth:`insert`
    attaches to a running router. Neither returns.
    """

    def __init__(
        self, name: str, media: str, function: Any, format: str, params_schema: JsonObject, summary: Optional[str]
    ) -> None:
        self.name = name
        self._media = media
        self._function = function
        self._format = convert.check(format)
        self._schema = params_schema
        self._summary = summary or f"the custom worker {name}"

    def run(self) -> NoReturn:
        """Serves as a process that the router started; leaves with 0 when it is drained or the router is gone."""
        server.run(self.name, self._catalogue(), lambda task: self._make(task, attached=False))

    def insert(self, channel: str, node: str, on_failure: str = "hold") -> NoReturn:
        """Attaches to a running router as a node between a raw channel and its readers, until Ctrl-C.

        What becomes of the media while the worker is away, or when it fails on a frame, is ``on_failure``: ``hold`` (the
        last picture stays, sound is silent), ``bypass`` (the input takes the output's place), ``close``.
        """
        try:
            if on_failure not in ON_FAILURE:
                raise NameFault(f"on_failure {on_failure!r} is not one of {', '.join(ON_FAILURE)}")
            wish = messages.attach_insert(check_channel_name(channel), check_node(node), on_failure)
        except NameFault as fault:
            server.refuse(self.name, fault)
        server.attach(self.name, self._catalogue(), wish, lambda task: self._make(task, attached=True))

    def _catalogue(self) -> JsonObject:
        video = self._media == "video"
        return messages.catalogue(self.name, self._summary, video, not video, json.dumps(self._schema))

    def _make(self, task: Task, attached: bool) -> Processor:
        if task.kind != "graph":
            raise TaskFault(f"{self.name} runs nodes, not a task `{task.kind}`")
        for node in task.nodes:
            # One that attached has been told which node it is; its type is of no interest.
            if node.kind != self.name and not attached:
                raise TaskFault(f"{self.name} has no node of type `{node.kind}`")
        nodes = [Node(self._function, node) for node in task.nodes]
        return Graph(nodes, self._media, self._format)


class Node:
    """One node of a task: the user's function, or an object of the user's class."""

    def __init__(self, function: Any, node: GraphNode) -> None:
        self.id, self.number, self.on_failure = node.id, node.number, node.on_failure
        self._on_params: Optional[Callable[[JsonObject], object]] = None
        params = params_of(node.params)
        if isinstance(function, type):
            made = function(params)
            self.call = made.process
            self._on_params = getattr(made, "on_params", None)
        elif params:
            raise TaskFault(f"the node `{node.id}` has parameters, and its worker is a function that takes none")
        else:
            self.call = function

    def params(self, changes: JsonObject) -> None:
        """New parameters."""
        if self._on_params is None:
            raise TaskFault("this worker has no parameters that could change")
        self._on_params(changes)


class Graph(Processor):
    """Frames through a chain of nodes, in place: out of the received frame, into the loan."""

    def __init__(self, nodes: list[Node], media: str, format: str) -> None:
        self._nodes, self._media, self._format = nodes, media, format

    def params(self, node: str, changes: JsonObject) -> None:
        for own in self._nodes:
            if own.id == node:
                own.params(changes)

    def process(self, taken: Taken, out: Output) -> None:
        if taken.block is None:
            # `lost`, `silence` and `end` go on as they are.
            out.publish_empty(taken.meta)
            return
        theirs = taken.meta.content
        content: Content
        if isinstance(theirs, VideoGeometry) and self._media == "video":
            content, length = theirs.like(), theirs.like().payload_len()
        elif isinstance(theirs, AudioGeometry) and self._media == "audio":
            content, length = theirs, theirs.payload_len()
        else:
            raise TaskFault("a frame of another kind of media")
        meta = taken.meta.derive(content)
        loan = out.loan(length)
        if self._through(taken, meta, loan, length, out):
            loan.publish(meta)
        else:
            loan.drop()

    def _through(self, taken: Taken, meta: Meta, loan: Loan, length: int, out: Output) -> bool:
        """Whether there is a frame to publish."""
        frame = received(taken.meta, taken.block, taken.length, taken.missed, self._format)
        if not self._nodes:
            return self._pass_by(frame, self._writable(meta, loan.block, length), out)
        for index, node in enumerate(self._nodes):
            last = index == len(self._nodes) - 1
            block = loan.block if last else Block.own(length)
            target = self._writable(meta, block, length)
            out.place.enter(node.number)
            try:
                node.call(frame, target)
                if isinstance(target, VideoFrame):
                    target._finish()
            except Exception as error:
                out.node_error(node.id, error)
                if node.on_failure != "bypass":
                    # Never unprocessed media: the frame is gone.
                    out.counters.copied_bytes += frame._end() + target._end()
                    return False
                self._pass_by(frame, target, out)
            else:
                out.counters.copied_bytes += frame._end() + target._end()
                meta.stamp(_NODE + node.number)
            if not last and block is not None:
                block.freeze()
                frame = received(meta, block, length, taken.missed, self._format)
        return True

    def _writable(self, meta: Meta, block: Optional[Block], length: int) -> Frame:
        content = meta.content
        if isinstance(content, VideoGeometry):
            return VideoFrame(meta, content, block, length, format=self._format, writable=True)
        assert isinstance(content, AudioGeometry)
        return AudioFrame(meta, content, block, length)

    def _pass_by(self, frame: Frame, target: Frame, out: Output) -> bool:
        """The input takes the output's place: a copy, and counted as one."""
        if isinstance(frame, VideoFrame) and isinstance(target, VideoFrame):
            target.copy_from(frame)
        elif isinstance(frame, AudioFrame) and isinstance(target, AudioFrame):
            target.samples[:] = frame.samples
            out.counters.copied_bytes += target.samples.nbytes
        out.counters.copied_bytes += frame._end() + target._end()
        return True


class Tap(Processor):
    """Frames to the user's function, and nothing out of it."""

    def __init__(self, function: Callable[[Any], object], format: str, empty: bool) -> None:
        self._function, self._format, self._empty = function, format, empty

    def process(self, taken: Taken, out: Output) -> None:
        if taken.block is None and not self._empty:
            return
        frame = received(taken.meta, taken.block, taken.length, taken.missed, self._format)
        try:
            self._function(frame)
        finally:
            out.counters.copied_bytes += frame._end()


class Source(Processor):
    """Frames out of the user's function, on a grid of time from the first one, whatever each took."""

    def __init__(self, function: Callable[[int, Any], object], content: Content, every_ns: int, format: str) -> None:
        self._function, self._content, self._every, self._format = function, content, every_ns, format
        self._begin: Optional[int] = None
        self._made = 0

    def produce(self, out: Output) -> float:
        number, at = self._next()
        content = self._content
        assert isinstance(content, (VideoGeometry, AudioGeometry))
        length = content.payload_len()
        meta = Meta(content, media_time_ns=at, duration_ns=self._every)
        loan = out.loan(length)
        target: Union[VideoFrame, AudioFrame]
        if isinstance(content, VideoGeometry):
            target = VideoFrame(meta, content, loan.block, length, format=self._format, writable=True)
        else:
            target = AudioFrame(meta, content, loan.block, length)
        try:
            self._function(number, target)
            if isinstance(target, VideoFrame):
                target._finish()
        except Exception:
            loan.drop()
            raise
        finally:
            out.counters.copied_bytes += target._end()
        meta.stamp(_RECEIVED)
        loan.publish(meta)
        return self._every / 1e9

    def _next(self) -> tuple[int, int]:
        """The number of the next frame, and when it is."""
        now = monotonic_ns()
        if self._begin is None:
            self._begin = now
        at = self._begin + self._made * self._every
        # Behind by a second: the process was stopped. The grid begins anew.
        if now - at > 1_000_000_000:
            self._begin, at = now - self._made * self._every, now
        self._made += 1
        return self._made - 1, at


def video(
    name: str,
    function: Union[VideoFunction, NodeClass],
    *,
    format: str = "i420",
    params_schema: Optional[JsonObject] = None,
    summary: Optional[str] = None,
) -> Worker:
    """A worker over pictures: ``function(frame, out)`` reads one, in place and read-only, and writes all of another of the
    same size.

    A function may be called by several tasks at once, each in its own thread; a class (see :data:`NodeClass`) is made
    for each. ``params_schema`` is a JSON Schema of its parameters, as a ``dict``. With a ``format`` of ``rgb``, ``bgr``
    or ``nv12`` OpenCV converts, and the bytes are counted as copied.
    """
    return Worker(name, "video", function, format, params_schema or NO_PARAMS, summary)


def audio(
    name: str,
    function: Union[AudioFunction, NodeClass],
    *,
    params_schema: Optional[JsonObject] = None,
    summary: Optional[str] = None,
) -> Worker:
    """A worker over sound: ``function(frame, out)`` reads ``frame.samples`` and writes all of ``out.samples``; see
    :func:`video`."""
    return Worker(name, "audio", function, "i420", params_schema or NO_PARAMS, summary)


def tap(
    channel: str,
    function: Callable[[Any], object],
    *,
    name: str = "tap",
    format: str = "i420",
    empty: bool = False,
) -> NoReturn:
    """Attaches to a running router as a reader beside a channel's own, until Ctrl-C: ``function(frame)`` sees each frame in
    place, and holds nobody up.

    It gets a :class:`VideoFrame`, an :class:`AudioFrame` or a :class:`CodedFrame`, as the channel has them; of an encoded
    channel it sees nothing before a keyframe. Frames without payload, which stand for what was lost or for silence, come
    with ``empty=True`` only.
    """
    convert.check(format)
    try:
        wish = messages.attach_tap(check_channel_name(channel))
    except NameFault as fault:
        server.refuse(name, fault)
    _alone(name, wish, "tap", lambda: Tap(function, format, empty))


def video_source(
    session: str,
    peer: str,
    function: Callable[[int, VideoFrame], object],
    *,
    width: int = 1280,
    height: int = 720,
    rate: float = 30.0,
    format: str = "i420",
) -> NoReturn:
    """Attaches to a running router as a source of pictures, until Ctrl-C: ``function(number, out)`` writes all of a picture,
    is told how many came before, and is called ``rate`` times a second. It is routed as a peer's of this name."""
    convert.check(format)
    geometry = VideoGeometry.i420(width, height)
    every = round(1e9 / rate)
    _source(session, peer, "video", lambda: Source(function, geometry, every, format))


def audio_source(
    session: str,
    peer: str,
    function: Callable[[int, AudioFrame], object],
    *,
    samples: int = 480,
    channels: int = 1,
    rate: int = 48_000,
) -> NoReturn:
    """Attaches to a running router as a source of sound, until Ctrl-C: ``function(number, out)`` writes all of a block, is
    told how many came before, and is called as often as blocks of this size last (480 samples: 10 ms)."""
    geometry = AudioGeometry(rate, channels, samples)
    _source(session, peer, "audio", lambda: Source(function, geometry, geometry.duration_ns(), "i420"))


def _source(session: str, peer: str, media: str, make: Callable[[], Processor]) -> NoReturn:
    try:
        wish = messages.attach_source(check_id("session", session), check_id("peer", peer), media)
    except NameFault as fault:
        server.refuse(peer, fault)
    _alone(peer, wish, "source", make)


def _alone(name: str, wish: JsonObject, kind: str, make: Callable[[], Processor]) -> NoReturn:
    """A program with one kind of task and no nodes."""

    def make_task(task: Task) -> Processor:
        if task.kind != kind:
            raise TaskFault(f"{name} is a {kind}, and does no task `{task.kind}`")
        return make()

    server.attach(name, messages.empty_catalogue(), wish, make_task)

