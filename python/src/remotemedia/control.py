"""The control connection: a hello of a layout that never changes, then length-delimited JSON both ways."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from typing import Any, NamedTuple

from .header import ABI_VERSION
from .messages import MessageFault

log = logging.getLogger("remotemedia")

PROTOCOL_VERSION = 2
"""Version of the messages behind the hello."""
HELLO_LEN = 14
"""Bytes before the hello's body."""
MAX_HELLO_BODY = 4096
MAX_MESSAGE = 64 * 1024
"""Bytes of one message; a longer one ends the connection."""

MAX_UNSENT = 256 * 1024
"""Bytes that wait for a router that does not read; above it, heartbeats and requests are held back."""
HELLO_TIMEOUT = 30.0
"""Seconds that the router may take to greet."""

_HEAD = struct.Struct("<4sHII")
_LENGTH = struct.Struct("<I")


class HelloFault(ValueError):
    """The other end is none that this process can speak with."""


class Hello(NamedTuple):
    """Who speaks, and how."""

    role: str
    name: str
    pid: int
    encoding: str

    def to_bytes(self) -> bytes:
        """The bytes to send."""
        body = json.dumps(self._asdict(), separators=(",", ":"), sort_keys=True).encode()
        return _HEAD.pack(b"RMCP", PROTOCOL_VERSION, ABI_VERSION, len(body)) + body

    @staticmethod
    def check_head(head: bytes) -> int:
        """Reads the fixed part, and gives the length of the body that follows."""
        magic, protocol, abi, length = _HEAD.unpack(head)
        if magic != b"RMCP":
            raise HelloFault(f"this is not a remotemedia control connection: it begins with {magic.hex()}")
        if protocol != PROTOCOL_VERSION:
            raise HelloFault(_other("control protocol", protocol, PROTOCOL_VERSION))
        if abi != ABI_VERSION:
            raise HelloFault(_other("frame ABI", abi, ABI_VERSION))
        if length > MAX_HELLO_BODY:
            raise HelloFault(f"its hello has {length} bytes; {MAX_HELLO_BODY} are allowed")
        return int(length)

    @staticmethod
    def from_body(body: bytes) -> Hello:
        """Reads the body."""
        try:
            value = json.loads(body)
            hello = Hello(str(value["role"]), str(value["name"]), int(value["pid"]), str(value["encoding"]))
        except (ValueError, KeyError, TypeError) as fault:
            raise HelloFault(f"its hello cannot be read: {fault!r}") from None
        if len(hello.name.encode()) > 64:
            raise HelloFault("its hello cannot be read: `name` is longer than 64 bytes")
        return hello


def encode(message: Any) -> bytes:
    """A message with its length in front."""
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if len(body) > MAX_MESSAGE:
        raise MessageFault(f"a control message of {len(body)} bytes; {MAX_MESSAGE} are allowed")
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Takes messages out of a stream of bytes; holds one at most, and what came behind it in the same read."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def push(self, data: bytes) -> None:
        """Takes bytes as they were read."""
        self._buffer += data

    def next(self) -> Any:
        """The next whole message, ``None`` when there is none yet; raises :class:`MessageFault`."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_MESSAGE:
            raise MessageFault(f"a control message of {length} bytes; {MAX_MESSAGE} are allowed")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        try:
            message = json.loads(self._buffer[_LENGTH.size : end])
        except (ValueError, RecursionError) as fault:
            raise MessageFault(f"a control message that cannot be read: {fault}") from None
        if message is None:
            raise MessageFault("a control message that cannot be read: null")
        del self._buffer[:end]
        return message


class Control:
    """The greeted connection."""

    def __init__(self, sock: socket.socket, router: Hello) -> None:
        self.sock = sock
        self.router = router
        self._frames = Frames()
        self._unsent = bytearray()

    @staticmethod
    def greet(sock: socket.socket, name: str) -> Control:
        """Says hello both ways, as a custom worker that speaks JSON."""
        name = "".join(c for c in name if "!" <= c <= "~")[:64]
        sock.settimeout(HELLO_TIMEOUT)
        sock.sendall(Hello("custom", name, os.getpid(), "json").to_bytes())
        router = Hello.from_body(_exactly(sock, Hello.check_head(_exactly(sock, HELLO_LEN))))
        if router.role != "router":
            raise HelloFault(f"the other end of the control socket is not a router but {router.role!r}")
        sock.setblocking(False)
        return Control(sock, router)

    def read(self) -> tuple[list[Any], bool]:
        """The messages that are there, and whether the router is."""
        messages: list[Any] = []
        while True:
            try:
                data = self.sock.recv(16 * 1024)
            except BlockingIOError:
                return messages, True
            except OSError:
                return messages, False
            if not data:
                return messages, False
            self._frames.push(data)
            while (message := self._frames.next()) is not None:
                messages.append(message)

    @property
    def unsent(self) -> bool:
        """Whether something waits for the socket to take it."""
        return bool(self._unsent)

    @property
    def congested(self) -> bool:
        """Whether as much waits that nothing should be added."""
        return len(self._unsent) > MAX_UNSENT

    def say(self, message: Any) -> None:
        """Says something, now or as soon as the socket takes it."""
        try:
            self._unsent += encode(message)
        except MessageFault as fault:
            log.error("a message to the router was not sent: %s", fault)
        self.flush()

    def flush(self) -> None:
        """Writes what the socket takes; a broken one shows at the next read."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent)]
        except OSError:
            return

    def finish(self) -> None:
        """Writes all, waiting for the socket; for the last words."""
        self.sock.settimeout(0.1)
        self.flush()


def _exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise HelloFault("the router closed the connection before it greeted")
        data += more
    return data


def _other(what: str, theirs: int, own: int) -> str:
    return f"it speaks {what} {theirs}, this process {own}: take both from the same release"
