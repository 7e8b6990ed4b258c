"""The messages of the control socket as JSON: what the router says, taken apart; what a worker says, put together.

They are serde's types of ``shm-schema/src/control/message.rs``: a message is a string, or an object with one key.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, NamedTuple, Optional

JsonObject = Dict[str, Any]

DROP_REASONS = (
    "overflow",
    "too_old",
    "too_large",
    "stale",
    "malformed",
    "awaiting_keyframe",
    "corrupt",
    "node_error",
    "rate_control",
    "no_consumer",
)
"""Why a frame was not used, in the order of :attr:`Counters.dropped`."""


class MessageFault(ValueError):
    """A control message that cannot be read; the connection is to be closed."""


class Namespace(NamedTuple):
    """Where a session's iceoryx2 objects are."""

    prefix: str
    root: str


class Contract(NamedTuple):
    """A channel's bound, what happens when it is full, how old a frame may grow."""

    capacity: int
    when_full: str
    max_age_ms: int


@dataclasses.dataclass(frozen=True)
class ChannelSpec:
    """A channel as one generation of it stands."""

    index: int
    name: str
    service: str
    epoch: int
    generation: int
    contract: Contract
    max_payload: int
    max_readers: int
    wakes: tuple[str, ...]

    @staticmethod
    def of(value: Any) -> ChannelSpec:
        """Out of a message."""
        contract = _object(value, "contract")
        return ChannelSpec(
            _number(value, "index"),
            _text(value, "name"),
            _text(value, "service"),
            _number(value, "epoch"),
            _number(value, "generation"),
            Contract(_number(contract, "capacity"), _text(contract, "when_full"), _number(contract, "max_age_ms")),
            _number(value, "max_payload"),
            _number(value, "max_readers"),
            tuple(_is(wake, str, "wakes") for wake in _list(value, "wakes")),
        )


class GraphNode(NamedTuple):
    """A node as the graph names it."""

    id: str
    number: int
    kind: str
    params: str
    """A JSON object."""
    on_failure: str


class Task(NamedTuple):
    """A unit of work of a session: one thread."""

    id: int
    kind: str
    """``graph``, ``tap``, ``source``; or one that a custom worker cannot do."""
    nodes: tuple[GraphNode, ...]
    """Of a graph."""
    media: Optional[str]
    """Of a source."""
    input: Optional[ChannelSpec]
    output: Optional[ChannelSpec]
    wake: str

    @staticmethod
    def of(value: Any) -> Task:
        """Out of a message."""
        kind, body = tagged(value.get("kind") if isinstance(value, dict) else None)
        nodes = tuple(
            GraphNode(
                _text(node, "id"),
                _number(node, "number"),
                _text(node, "kind"),
                _text(node, "params"),
                _text(node, "on_failure"),
            )
            for node in (_list(body, "nodes") if kind == "graph" else [])
        )
        media = _text(body, "media") if kind == "source" else None
        return Task(
            _number(value, "id"), kind, nodes, media, _spec(value, "input"), _spec(value, "output"), _text(value, "wake")
        )


class Add(NamedTuple):
    """Begin a task."""

    task: Task


class Rewire(NamedTuple):
    """Give a running task other channels."""

    task: int
    input: Optional[ChannelSpec]
    output: Optional[ChannelSpec]


class Remove(NamedTuple):
    """End a task."""

    task: int


def changes_of(body: Any) -> list[Add | Rewire | Remove]:
    """The steps of a ``prepare``."""
    changes: list[Add | Rewire | Remove] = []
    for value in _list(body, "changes"):
        kind, change = tagged(value)
        if kind == "add":
            changes.append(Add(Task.of(change)))
        elif kind == "rewire":
            changes.append(Rewire(_number(change, "task"), _spec(change, "input"), _spec(change, "output")))
        elif kind == "remove":
            changes.append(Remove(_is(change, int, "remove")))
        else:
            raise MessageFault(f"a control message that cannot be read: unknown change {kind[:40]!r}")
    return changes


def namespace_of(body: Any) -> Namespace:
    """Where the session of an ``assign`` is."""
    value = _object(body, "namespace")
    return Namespace(_text(value, "prefix"), _text(value, "root"))


def tagged(message: Any) -> tuple[str, Any]:
    """An enum's variant as JSON has it: its name and its body, which is ``None`` where it has none."""
    if isinstance(message, str):
        return message, None
    if isinstance(message, dict) and len(message) == 1:
        return next(iter(message.items()))
    raise MessageFault("a control message that cannot be read: neither a name nor an object with one key")


def text_of(body: Any, key: str) -> str:
    """A text field of a message's body."""
    return _text(body, key)


def number_of(body: Any, key: str) -> int:
    """A number field of a message's body."""
    return _number(body, key)


class Counters:
    """What one task did since it began. Written by its thread, read by the heartbeat: each value is right by itself."""

    __slots__ = ("concealed", "copied_bytes", "dropped", "errors", "keyframes", "published", "received")

    def __init__(self) -> None:
        self.received = 0
        self.published = 0
        self.copied_bytes = 0
        self.concealed = 0
        self.errors = 0
        self.keyframes = 0
        self.dropped = [0] * len(DROP_REASONS)

    def drop(self, reason: str, frames: int = 1) -> None:
        """Counts frames that were not used; a liar's sequence numbers make any count of them."""
        index = DROP_REASONS.index(reason)
        self.dropped[index] = min(self.dropped[index] + frames, 2**64 - 1)

    def json(self) -> JsonObject:
        """As the heartbeat has it."""
        return {
            "received": self.received,
            "published": self.published,
            "copied_bytes": self.copied_bytes,
            "concealed": self.concealed,
            "errors": self.errors,
            "keyframes": self.keyframes,
            "dropped": list(self.dropped),
        }


# From a worker to the router.


def catalogue(kind: str, summary: str, video: bool, audio: bool, params_schema: str) -> JsonObject:
    """What this worker can do: one node."""
    node = {"kind": kind, "summary": summary, "video": video, "audio": audio, "params_schema": params_schema}
    return {"catalogue": {"codecs": [], "nodes": [node]}}


def empty_catalogue() -> JsonObject:
    """Of a tap or a source, which run no nodes."""
    return {"catalogue": {"codecs": [], "nodes": []}}


def attach_tap(channel: str) -> JsonObject:
    """The wish to read a channel beside its readers."""
    return {"attach": {"tap": {"channel": channel}}}


def attach_insert(channel: str, node: str, on_failure: str) -> JsonObject:
    """The wish to stand between a raw channel and its readers."""
    return {"attach": {"insert": {"channel": channel, "node": node, "on_failure": on_failure}}}


def attach_source(session: str, peer: str, media: str) -> JsonObject:
    """The wish to be a further input of a session."""
    return {"attach": {"source": {"session": session, "peer": peer, "media": media}}}


def assigned(session: str) -> JsonObject:
    """The session's namespace is open."""
    return {"assigned": {"session": session, "sandbox": {"landlock": 0, "seccomp": False}}}


def unassigned(session: str, error: str) -> JsonObject:
    """The session's namespace cannot be opened."""
    return {"unassigned": {"session": session, "error": error}}


def ready(session: str, epoch: int) -> JsonObject:
    """All that ``prepare`` named is open."""
    return {"ready": {"session": session, "epoch": epoch}}


def refused(session: str, epoch: int, error: str) -> JsonObject:
    """It cannot be done; the old wiring stays."""
    return {"refused": {"session": session, "epoch": epoch, "error": error}}


def keyframe_wanted(session: str, channel: int, epoch: int, reason: str) -> JsonObject:
    """A keyframe is needed on this input."""
    return {"keyframe_wanted": {"session": session, "channel": channel, "epoch": epoch, "reason": reason}}


def applied(session: str, request: int, error: Optional[str]) -> JsonObject:
    """The answer to ``params``."""
    return {"applied": {"session": session, "request": request, "error": error}}


def node_error(session: str, node: str, error: str) -> JsonObject:
    """A node failed on a frame."""
    return {"node_error": {"session": session, "node": node, "error": error}}


def heartbeat(sequence: int, threads: list[JsonObject]) -> JsonObject:
    """Each task's thread, every 100 ms."""
    return {"heartbeat": {"sequence": sequence, "threads": threads}}


def thread_beat(
    session: str, task: int, frames: int, busy_since_ns: Optional[int], counters: Counters
) -> JsonObject:
    """How one task's thread is."""
    return {
        "session": session,
        "task": task,
        "frames": frames,
        "busy_since_ns": busy_since_ns,
        "counters": counters.json(),
    }


def released(session: str) -> JsonObject:
    """The session's ports are gone."""
    return {"released": {"session": session}}


DRAINED = "drained"
"""All is finished; the process exits now."""

DETACH = "detach"
"""An attacher leaves."""


def _spec(value: Any, key: str) -> Optional[ChannelSpec]:
    field = _field(value, key)
    return None if field is None else ChannelSpec.of(field)


def _field(value: Any, key: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise MessageFault(f"a control message that cannot be read: `{key}` is missing")
    return value[key]


def _is(value: Any, kind: type, key: str) -> Any:
    number = value if isinstance(value, int) else 0
    if not isinstance(value, kind) or isinstance(value, bool) or not 0 <= number < 2**64:
        raise MessageFault(f"a control message that cannot be read: `{key}` is not {kind.__name__}")
    return value


def _number(value: Any, key: str) -> int:
    number: int = _is(_field(value, key), int, key)
    return number


def _text(value: Any, key: str) -> str:
    text: str = _is(_field(value, key), str, key)
    return text


def _list(value: Any, key: str) -> list[Any]:
    items: list[Any] = _is(_field(value, key), list, key)
    return items


def _object(value: Any, key: str) -> JsonObject:
    body: JsonObject = _is(_field(value, key), dict, key)
    return body
