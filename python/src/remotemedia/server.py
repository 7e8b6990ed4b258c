"""A worker's main thread: one loop over the control socket, the task threads' notes, signals and the heartbeat."""

from __future__ import annotations

import collections
import logging
import select
import signal
import socket
import sys
import threading
import time
from typing import Any, Callable, NoReturn, Optional

from . import process
from .control import Control, HelloFault
from .messages import (
    DETACH,
    DRAINED,
    JsonObject,
    MessageFault,
    applied,
    assigned,
    heartbeat,
    namespace_of,
    number_of,
    refused,
    released,
    tagged,
    text_of,
    unassigned,
)
from .process import Marks, StartFault
from .session import Session
from .task import Ended, Made, Make, Note

log = logging.getLogger("remotemedia")

BEAT = 0.1
"""Seconds between heartbeats; the router counts a worker as hung when five are missing."""
DRAIN = 0.2
"""Seconds after a drain at which threads that have not ended are left to the process's end."""
DETACH_LIMIT = 2.0
"""Seconds that an attached program waits for the router to take it out before it ends all the same."""
MAX_SESSIONS = 64
MAX_NOTES = 1024
"""Messages of task threads that wait for this one; what the router must know is never dropped."""


class Outbox:
    """The queue from task threads to the main thread, and what wakes it: these, and signals."""

    def __init__(self) -> None:
        self.bell, self._ringer = socket.socketpair()
        self.bell.setblocking(False)
        self._ringer.setblocking(False)
        self._notes: collections.deque[Note] = collections.deque()

    def tell(self, note: Note) -> None:
        """From any thread. Wishes and errors are dropped when the queue is full: whoever wants a keyframe asks again."""
        if isinstance(note, dict) and "applied" not in note and len(self._notes) >= MAX_NOTES:
            return
        self._notes.append(note)
        try:
            self._ringer.send(b"\0")
        except OSError:
            # It is full of rings already.
            pass

    def signals(self) -> None:
        """Signals ring as well, each with its number."""
        signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)

    def take(self) -> tuple[list[Note], bool]:
        """All that waits, and whether a signal came."""
        try:
            rung = self.bell.recv(4096)
        except OSError:
            rung = b""
        notes = []
        while self._notes:
            notes.append(self._notes.popleft())
        return notes, any(rung)


class Server:
    """Serves one router until it drains this process, takes it out, or is gone."""

    def __init__(self, control: Control, outbox: Outbox, make: Make, marks: Marks, attached: bool) -> None:
        self._control, self._outbox, self._make, self._marks = control, outbox, make, marks
        # It came by itself, and asks before it goes.
        self._attached = attached
        self._sessions: dict[str, Session] = {}
        self._next_beat = time.monotonic()
        self._beats = 0
        self._draining: Optional[float] = None
        self._detaching: Optional[float] = None

    def serve(self) -> None:
        """Returns when it is over in order; raises :class:`StartFault` otherwise."""
        while True:
            self._wait()
            messages, router = self._control.read()
            for message in messages:
                self._obey(message)
            if not router:
                # What the router started has nothing to live for; what attached has somebody to tell.
                if self._attached and self._detaching is None and self._draining is None:
                    raise StartFault("the router is gone")
                return
            notes, signalled = self._outbox.take()
            if signalled:
                self._end()
            now = time.monotonic()
            if self._detaching is not None and now - self._detaching >= DETACH_LIMIT:
                return
            self._pass_on(notes)
            self._beat()
            if self._draining is not None and (not self._sessions or now - self._draining >= DRAIN):
                self._control.say(DRAINED)
                self._control.finish()
                return

    def _wait(self) -> None:
        self._control.flush()
        poll = select.poll()
        poll.register(self._control.sock, select.POLLIN | (select.POLLOUT if self._control.unsent else 0))
        poll.register(self._outbox.bell, select.POLLIN)
        poll.poll(max(self._next_beat - time.monotonic(), 0.0) * 1000)

    def _obey(self, message: Any) -> None:
        kind, body = tagged(message)
        if kind == "drain":
            self._drain()
        elif kind == "denied":
            raise StartFault(f"the router refuses: {text_of(body, 'error')}")
        elif kind == "done":
            # An operator's word.
            return
        else:
            self._obey_session(kind, text_of(body, "session"), body)

    def _obey_session(self, kind: str, id: str, body: JsonObject) -> None:
        session = self._sessions.get(id)
        if kind == "assign":
            self._control.say(self._assign(id, body))
        elif kind == "prepare":
            epoch = number_of(body, "epoch")
            if session is None:
                self._say(refused(id, epoch, "the session is not assigned to this worker"))
            else:
                self._say(session.prepare(epoch, body))
        elif kind == "switch" and session is not None:
            session.switch(number_of(body, "epoch"))
        elif kind == "abandon" and session is not None:
            session.abandon(number_of(body, "epoch"))
        elif kind == "params":
            request = number_of(body, "request")
            if session is None:
                self._say(applied(id, request, "the session is not assigned to this worker"))
            else:
                session.params(text_of(body, "node"), text_of(body, "params"), request)
        elif kind == "release":
            if session is None:
                self._say(released(id))
                return
            session.release()
            self._bury()
            # It came for this session alone.
            if self._attached:
                self._drain()
        elif kind not in ("keyframe", "bitrate", "repeat", "switch", "abandon"):
            # The three are for encoders, which no custom worker is.
            raise MessageFault(f"a control message that cannot be read: unknown message {kind[:40]!r}")

    def _assign(self, id: str, body: JsonObject) -> JsonObject:
        if id in self._sessions:
            return unassigned(id, "it is assigned already")
        if len(self._sessions) >= MAX_SESSIONS:
            return unassigned(id, f"a worker serves {MAX_SESSIONS} sessions at most")
        try:
            self._sessions[id] = Session(id, namespace_of(body), self._make, self._outbox.tell, self._marks)
        except MessageFault:
            raise
        except (RuntimeError, ValueError) as fault:
            return unassigned(id, str(fault))
        return assigned(id)

    def _end(self) -> None:
        """A signal asked it to end."""
        if self._attached and self._detaching is None and self._draining is None:
            # Taken out at an epoch, so that nobody misses it; `release` comes then.
            self._detaching = time.monotonic()
            self._control.say(DETACH)
        else:
            self._drain()

    def _pass_on(self, notes: list[Note]) -> None:
        """What the task threads have to say."""
        for note in notes:
            if isinstance(note, Made):
                session = self._sessions.get(note.session)
                self._say(session.made(note.epoch, note.task, note.error) if session else None)
            elif isinstance(note, Ended):
                session = self._sessions.get(note.session)
                if session is not None:
                    asked, said = session.ended(note.serial)
                    if not asked:
                        # Half a session is worse than none: the router gives all of it to another worker.
                        raise StartFault("a task ended by itself")
                    self._say(said)
                self._bury()
            elif not self._control.congested:
                self._control.say(note)

    def _bury(self) -> None:
        """Drops what is released and ended, and says so."""
        for id in [id for id, session in self._sessions.items() if session.over]:
            del self._sessions[id]
            self._say(released(id))

    def _drain(self) -> None:
        if self._draining is not None:
            return
        self._draining = time.monotonic()
        for session in self._sessions.values():
            session.release()
        self._bury()

    def _beat(self) -> None:
        now = time.monotonic()
        if now < self._next_beat:
            return
        # Late by more than a beat: the machine was busy, nothing is made up for.
        self._next_beat = max(self._next_beat + BEAT, now)
        if self._control.congested:
            return
        self._beats += 1
        threads = [beat for session in self._sessions.values() for beat in session.beats()]
        self._control.say(heartbeat(self._beats, threads))

    def _say(self, message: Optional[JsonObject]) -> None:
        if message is not None:
            self._control.say(message)


def run(name: str, catalogue: JsonObject, make: Make) -> NoReturn:
    """Runs a worker that the router started, until it is drained or the router is gone."""

    def begin() -> Server:
        # In this order: nothing to lose before the parent is known to live.
        outbox = _signals(attached=False)
        sock, marks = process.control_socket(), process.marks()
        process.harden()
        control = Control.greet(sock, name)
        control.say(catalogue)
        return Server(control, outbox, make, marks, attached=False)

    _serve(name, begin)


def attach(name: str, catalogue: JsonObject, wish: JsonObject, make: Make) -> NoReturn:
    """Attaches to a running router, until Ctrl-C or SIGTERM, or until the router takes it out or is gone."""

    def begin() -> Server:
        control = Control.greet(process.connect(), name)
        # Not before, so that Ctrl-C ends it while the router keeps it waiting.
        outbox = _signals(attached=True)
        control.say(catalogue)
        control.say(wish)
        return Server(control, outbox, make, Marks(None), attached=True)

    _serve(name, begin)


def refuse(name: str, why: object) -> NoReturn:
    """Used wrongly."""
    print(f"{name}: {why}", file=sys.stderr)
    raise SystemExit(2)


def _serve(name: str, begin: Callable[[], Server]) -> NoReturn:
    try:
        server = begin()
    except (StartFault, HelloFault, OSError) as fault:
        print(f"{name}: {fault}", file=sys.stderr)
        raise SystemExit(fault.code if isinstance(fault, StartFault) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    try:
        server.serve()
    except (StartFault, MessageFault) as fault:
        print(f"{name}: {fault}", file=sys.stderr)
        process.leave(1)
    except BaseException:
        log.exception("%s ends", name)
        process.leave(1)
    process.leave(0)


def _signals(attached: bool) -> Outbox:
    """SIGTERM as a ring. SIGINT goes to the whole foreground group on Ctrl-C: a worker that the router started ignores it,
    for the router drains it then; one that attached by itself takes it as SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        raise StartFault("a worker runs in the main thread, which alone takes signals", 2)
    outbox = Outbox()
    outbox.signals()
    # Python writes the number of a signal to the ringer only where a handler of its own is installed.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, (lambda *_: None) if attached else signal.SIG_IGN)
    if attached:
        # Its terminal was closed.
        signal.signal(signal.SIGHUP, lambda *_: None)
    return outbox
