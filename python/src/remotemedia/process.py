"""What a worker process does to itself at its start, how it finds its router, and how it leaves."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import threading
from typing import NoReturn, Optional

from .names import MAX_ROOT_AND_PREFIX

MARK_LEN = 16
"""Bytes of one place in the file of marks."""
MARK_SLOTS = 128
_MARK = struct.Struct("<IIQ")
_NO_NODE = 0xFFFF_FFFF
_CLEAR = _MARK.pack(0xFFFF_FFFF, _NO_NODE, 0)

_TMPFS = 0x0102_1994
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4

VIDEO_NICENESS = 5
"""How much later than audio a video thread gets the processor."""


class StartFault(RuntimeError):
    """Why a worker cannot begin, or go on; with the exit code that tells."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


class Marks:
    """Calls under way, in a file that the router keeps: what a worker died of is read there."""

    def __init__(self, fd: Optional[int]) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._taken = [False] * MARK_SLOTS

    def place(self, task: int) -> Place:
        """A place for one thread of this task; one that is not there marks nothing."""
        with self._lock:
            if self._fd is None or all(self._taken):
                return Place(self, None, task)
            slot = self._taken.index(False)
            self._taken[slot] = True
            return Place(self, slot, task)

    def write(self, slot: int, mark: bytes) -> None:
        """Writes one place."""
        if self._fd is not None:
            try:
                os.pwrite(self._fd, mark, slot * MARK_LEN)
            except OSError:
                # The router gave something else than it says; then nothing is marked.
                self._fd = None

    def free(self, slot: int) -> None:
        """Gives a place back."""
        with self._lock:
            self._taken[slot] = False


class Place:
    """One thread's place."""

    def __init__(self, marks: Marks, slot: Optional[int], task: int) -> None:
        self._marks, self._slot, self._task, self._sequence = marks, slot, task, 0

    def begin(self, sequence: int) -> None:
        """A call for this frame begins."""
        self._sequence = sequence
        self.enter(None)

    def enter(self, node: Optional[int]) -> None:
        """Within the call, a node begins."""
        if self._slot is not None:
            number = _NO_NODE if node is None else node
            self._marks.write(self._slot, _MARK.pack(self._task, number, self._sequence))

    def end(self) -> None:
        """The call came back."""
        if self._slot is not None:
            self._marks.write(self._slot, _CLEAR)

    def free(self) -> None:
        """No more calls."""
        self.end()
        if self._slot is not None:
            self._marks.free(self._slot)
            self._slot = None


def control_socket() -> socket.socket:
    """The socket that the router left us, by the descriptor that ``REMOTEMEDIA_CONTROL_FD`` names."""
    named = os.environ.pop("REMOTEMEDIA_CONTROL_FD", None)
    told = "this program is started by the remotemedia router, which gives it a socket: REMOTEMEDIA_CONTROL_FD is "
    if named is None:
        raise StartFault(told + "not set", 2)
    if not named.isdecimal() or int(named) <= 2:
        raise StartFault(told + f"{named!r}, not a descriptor", 2)
    try:
        os.set_inheritable(int(named), False)
    except OSError as fault:
        raise StartFault(told + f"{named}, which is not open ({fault})", 2) from None
    try:
        return socket.socket(fileno=int(named))
    except OSError as fault:
        raise StartFault(f"control socket: {fault}") from None


def marks() -> Marks:
    """The file for marks that the router left us, if it did."""
    named = os.environ.pop("REMOTEMEDIA_MARKS_FD", "")
    if not named.isdecimal() or int(named) <= 2:
        return Marks(None)
    try:
        os.set_inheritable(int(named), False)
    except OSError:
        return Marks(None)
    return Marks(int(named))


def harden() -> None:
    """Ends with the router, dumps no media, opens as many descriptors as it may."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise StartFault(f"cannot ask for the parent-death signal: {os.strerror(ctypes.get_errno())}")
    # Asked after: a parent that died before the line above sends nothing.
    router = os.environ.get("REMOTEMEDIA_ROUTER_PID", "")
    if router.isdecimal() and int(router) != os.getppid():
        raise StartFault("the process that started it is gone")
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise StartFault(f"cannot forbid core dumps: {os.strerror(ctypes.get_errno())}")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # The hard limit is the administrator's word.
        pass


def connect() -> socket.socket:
    """The control socket of a running router: of the one that ``REMOTEMEDIA_CONTROL`` names by its socket's path, else of
    the only live one in the runtime folder (``REMOTEMEDIA_RUNTIME_DIR``, else this user's own)."""
    named = os.environ.get("REMOTEMEDIA_CONTROL")
    if named:
        try:
            return _to(named)
        except OSError as fault:
            raise StartFault(f"cannot reach the router at {named}: {fault}") from None
    folder = os.environ.get("REMOTEMEDIA_RUNTIME_DIR") or default_runtime_dir()
    try:
        names = sorted(os.listdir(folder))
    except OSError as fault:
        raise StartFault(f"cannot look for routers in {folder}: {fault}") from None
    live: list[tuple[str, socket.socket]] = []
    for name in names:
        if name.startswith("router-") and name.endswith(".sock"):
            path = os.path.join(folder, name)
            try:
                live.append((path, _to(path)))
            except OSError:
                # A dead router's socket refuses.
                continue
    if len(live) == 1:
        return live[0][1]
    for _, sock in live:
        sock.close()
    if not live:
        raise StartFault(
            f"no live router in {folder}; start one with `remotemedia serve --webrtc`, or name its control socket with "
            "REMOTEMEDIA_CONTROL"
        )
    paths = "".join(f"\n  {path}" for path, _ in live)
    raise StartFault(f"several routers are alive in {folder}; name one with REMOTEMEDIA_CONTROL:{paths}")


def default_runtime_dir() -> str:
    """A folder of this user's own on tmpfs: below ``XDG_RUNTIME_DIR`` where that is one, else in ``/dev/shm``."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = os.path.join(base, "remotemedia")
    # What a session's root (a slash and 8 digits) and prefix (18) leave.
    if base.startswith("/") and len(folder.encode()) <= MAX_ROOT_AND_PREFIX - 18 - 13 and _is_tmpfs(base):
        return folder
    return f"/dev/shm/remotemedia-{os.geteuid()}"


def yield_to_audio() -> None:
    """Lets this thread yield to those that work on sound."""
    try:
        # On Linux 0 is the calling thread.
        os.setpriority(os.PRIO_PROCESS, 0, VIDEO_NICENESS)
    except OSError:
        # It keeps its priority.
        pass


def leave(code: int) -> NoReturn:
    """Ends the process without running destructors: the router sweeps the namespace, and iceoryx2's destructors can hang
    or panic when another process of the session has died."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # Nobody reads it any more.
            continue
    os._exit(code)


def _to(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def _is_tmpfs(path: str) -> bool:
    # `struct statfs` begins with the filesystem's magic as a long; 256 bytes are twice what it has.
    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.statfs(os.fsencode(path), buffer) == 0 and ctypes.c_long.from_buffer(buffer).value == _TMPFS
