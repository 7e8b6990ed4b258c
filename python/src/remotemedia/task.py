"""One task's thread: waits for frames and orders, calls the processor, survives its errors."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any, Callable, NamedTuple, Optional, Union

from .messages import ChannelSpec, Counters, JsonObject, Task, applied, keyframe_wanted, node_error, thread_beat
from .meta import Meta, monotonic_ns
from .ports import Attachment, Inlet, Loan, Outlet, SendFault, Taken, Wake
from .process import Marks, Place, yield_to_audio

log = logging.getLogger("remotemedia")

PAUSE = 1.0
"""Seconds after which a source that failed is asked again; one that is behind by more does not catch up."""
KEYFRAME_INTERVAL = 0.25
"""Seconds after which the same wish is said again."""
NODE_ERROR_INTERVAL = 1.0
"""Seconds between two tellings of one node's errors."""
MAX_ERROR = 1024
"""Characters of an error's text."""
MAX_PARAMS = 64
"""New parameters that wait for one task; more are refused."""
MAX_AUDIO_BLOCK = 5760 * 2 * 4
"""Bytes of a block of sound at most; a larger channel is one of pictures."""


class TaskFault(RuntimeError):
    """A task that this worker cannot do, or a frame of another kind than it works on."""


class Processor:
    """Does a task's work on the task's own thread."""

    def process(self, taken: Taken, out: Output) -> None:
        """Takes the next frame."""
        raise TaskFault("a source has no input")

    def params(self, node: str, changes: JsonObject) -> None:
        """New parameters of a node."""
        raise TaskFault("this worker has no parameters")

    def produce(self, out: Output) -> float:
        """Makes a frame; gives the seconds until the next."""
        raise TaskFault("this worker makes nothing by itself")


class Output:
    """Where a processor puts its frames, and what else it has to say about them."""

    def __init__(self, session: str, outlet: Optional[Outlet], counters: Counters, tell: Tell, place: Place) -> None:
        self._session = session
        self.outlet = outlet
        self.counters = counters
        self.place = place
        self._tell = tell
        self._told: dict[str, float] = {}

    def loan(self, length: int) -> Loan:
        """Memory for a result."""
        return self._outlet().loan(length)

    def publish_empty(self, meta: Meta) -> None:
        """A frame without payload."""
        self._outlet().publish_empty(meta)

    def node_error(self, node: str, error: BaseException) -> None:
        """The user's function failed on a frame: counted, and told at most once a second and node."""
        self.counters.errors += 1
        self.counters.drop("node_error")
        now = time.monotonic()
        if now - self._told.get(node, -NODE_ERROR_INTERVAL) < NODE_ERROR_INTERVAL:
            return
        self._told[node] = now
        text = f"{type(error).__name__}: {error}"
        log.error("%s failed on a frame", node or "the function", exc_info=error)
        if node:
            self._tell(node_error(self._session, node, text[:MAX_ERROR]))

    def _outlet(self) -> Outlet:
        if self.outlet is None:
            raise SendFault("this task has no output")
        return self.outlet


class Answer:
    """The answer to one ``params``: goes to the router when the last task that it concerned has said how it went."""

    def __init__(self, session: str, request: int, tasks: int, tell: Tell) -> None:
        self._session, self._request, self._left, self._tell = session, request, tasks, tell
        self._error: Optional[str] = None
        self._lock = threading.Lock()

    def done(self, error: Optional[str] = None) -> None:
        """One task has applied it, or could not; the first reason is told."""
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            over = self._left <= 0
        if over:
            self._tell(applied(self._session, self._request, self._error))


class Wiring(NamedTuple):
    """A task's ports in a new wiring: a description is another one of the same service, a port is open for another."""

    input: Optional[Union[ChannelSpec, Inlet]]
    output: Optional[Union[ChannelSpec, Outlet]]


class Made(NamedTuple):
    """The processor of a prepared task is made, or cannot be."""

    session: str
    epoch: int
    task: int
    error: Optional[str]


class Ended(NamedTuple):
    """The thread has ended; all that it held is dropped."""

    session: str
    serial: int


Note = Union[JsonObject, Made, Ended]
Tell = Callable[[Note], None]
Make = Callable[[Task], Processor]


class Shelf:
    """Processors that were made for a wiring which never came into force: a model that took long to load is not loaded twice
    because something else had to change meanwhile."""

    MOST = 4
    """Processors that one session keeps: a model may be large."""

    def __init__(self) -> None:
        self._all: list[tuple[tuple[Any, ...], Processor]] = []
        self._lock = threading.Lock()

    def take(self, task: Task) -> Optional[Processor]:
        """One for this task that has not seen a frame yet."""
        with self._lock:
            for place, (key, processor) in enumerate(self._all):
                if key == self._key(task):
                    del self._all[place]
                    return processor
        return None

    def put(self, task: Task, processor: Processor) -> None:
        """Keeps it; the oldest goes when there are too many."""
        with self._lock:
            self._all = [*self._all, (self._key(task), processor)][-self.MOST :]

    @staticmethod
    def _key(task: Task) -> tuple[Any, ...]:
        return (task.kind, task.nodes, task.media)


class TaskThread:
    """A task, its ports, and its thread. The methods up to :meth:`beat` are the main thread's."""

    def __init__(
        self,
        session: str,
        epoch: int,
        serial: int,
        task: Task,
        attachment: Attachment,
        make: Make,
        tell: Tell,
        marks: Marks,
        shelf: Shelf,
    ) -> None:
        self.task = task
        self.serial = serial
        self.counters = Counters()
        self.frames = 0
        self._busy_since = 0
        self._session, self._epoch, self._attachment, self._make, self._tell = session, epoch, attachment, make, tell
        self._input = Inlet(attachment, task.input, self.counters) if task.input else None
        self._output = Outlet(attachment, task.output, self.counters) if task.output else None
        self._wake = Wake(attachment, task.wake) if task.input else None
        self._place = marks.place(task.id)
        # Orders, under the condition's lock.
        self._orders = threading.Condition()
        self._waiting = False
        self._stop = self._start = False
        self._rewire: list[Wiring] = []
        self._params: list[tuple[str, JsonObject, Answer]] = []
        # The thread's own.
        self._running = False
        self._asked = -KEYFRAME_INTERVAL
        self._produce_at: Optional[float] = None
        self._processor = Processor()
        self._shelf = shelf
        self._out = Output(session, self._output, self.counters, tell, self._place)
        self._thread = threading.Thread(target=self._main, name=f"{task.kind}-{task.id}", daemon=True)
        self._thread.start()

    @property
    def input(self) -> Optional[ChannelSpec]:
        """What it reads, as it was told last."""
        return self.task.input

    def start(self) -> None:
        """The epoch that it was prepared for is in force."""
        self._put(lambda: setattr(self, "_start", True))

    def stop(self) -> None:
        """It shall end."""
        self._put(lambda: setattr(self, "_stop", True))

    def rewire(self, task: Task, wiring: Wiring) -> None:
        """Other channels, in force now."""
        self.task = task
        self._put(lambda: self._rewire.append(wiring))

    def params(self, node: str, changes: JsonObject, answer: Answer) -> None:
        """New parameters of a node."""
        with self._orders:
            full = len(self._params) >= MAX_PARAMS
        if full:
            answer.done("the task is busy: too many parameter changes wait for it")
        else:
            self._put(lambda: self._params.append((node, changes, answer)))

    def join(self) -> None:
        """Waits for its last instructions, after :class:`Ended`."""
        self._thread.join()

    def beat(self) -> JsonObject:
        """For the heartbeat."""
        return thread_beat(self._session, self.task.id, self.frames, self._busy_since or None, self.counters)

    def _put(self, change: Callable[[], Any]) -> None:
        with self._orders:
            change()
            self._waiting = True
            self._orders.notify()
        if self._wake is not None:
            self._wake.ring()

    def _main(self) -> None:
        try:
            if self._is_video():
                yield_to_audio()
            error = self._made()
            self._tell(Made(self._session, self._epoch, self.task.id, error))
            # One that could not be made waits for its stop as well: the main thread drops it when it hears of it.
            self._run(broken=error is not None)
            if error is None and not self._running and self.task.kind != "tap":
                self._shelf.put(self.task, self._processor)
        except BaseException:
            log.exception("task %d failed", self.task.id)
        finally:
            self._close()
            self._tell(Ended(self._session, self.serial))

    def _made(self) -> Optional[str]:
        try:
            self._processor = self._shelf.take(self.task) or self._make(self.task)
        except TaskFault as fault:
            return str(fault)
        except Exception as fault:
            log.exception("a task could not be made")
            return f"{type(fault).__name__}: {fault}"[:MAX_ERROR]
        return None

    def _is_video(self) -> bool:
        if self.task.input is None:
            return self.task.media == "video"
        return self.task.input.max_payload > MAX_AUDIO_BLOCK

    def _run(self, broken: bool) -> None:
        while True:
            self._wait()
            if self._waiting and not self._obey():
                return
            if not self._running or broken:
                continue
            if self._wake is None:
                self._produce()
                continue
            # Until a step of draining finds nothing; each is before the reading of what it told.
            while True:
                if not self._read():
                    return
                if not self._wake.drain_once():
                    break

    def _wait(self) -> None:
        """Until a frame or an order came, or a safety check or a source's turn is due."""
        if self._running and self._wake is not None:
            self._wake.wait()
            return
        limit = None
        if self._running:
            limit = 0.0 if self._produce_at is None else max(self._produce_at - time.monotonic(), 0.0)
        with self._orders:
            # A prepared task holds its ports and reads nothing yet.
            if not self._waiting:
                self._orders.wait(limit)

    def _obey(self) -> bool:
        """Does what it is told; false when it shall end."""
        with self._orders:
            self._waiting = False
            rewire, self._rewire = self._rewire, []
            params, self._params = self._params, []
            stop, start = self._stop, self._start
        self._running = self._running or start
        for wiring in rewire:
            self._take(wiring)
        for node, changes, answer in params:
            answer.done("the task ended" if stop else self._apply(node, changes))
        return not stop

    def _take(self, wiring: Wiring) -> None:
        try:
            if isinstance(wiring.input, Inlet) and self._input is not None:
                self._input.close()
                self._input = wiring.input
            elif isinstance(wiring.input, ChannelSpec) and self._input is not None:
                self._input.respec(wiring.input)
            if isinstance(wiring.output, Outlet) and self._output is not None:
                self._output.close()
                self._output = wiring.output
            elif isinstance(wiring.output, ChannelSpec) and self._output is not None:
                self._output.respec(self._attachment, wiring.output)
        except (RuntimeError, ValueError) as fault:
            log.warning("task %d keeps an old description of a channel: %s", self.task.id, fault)
        self._out.outlet = self._output

    def _apply(self, node: str, changes: JsonObject) -> Optional[str]:
        self._busy_since = monotonic_ns()
        try:
            self._processor.params(node, changes)
        except TaskFault as fault:
            return str(fault)
        except Exception as fault:
            return f"{type(fault).__name__}: {fault}"[:MAX_ERROR]
        finally:
            self._busy_since = 0
        return None

    def _read(self) -> bool:
        """Works on all frames that wait; false when the thread shall end."""
        while self._input is not None:
            taken = self._input.receive()
            if taken is None:
                break
            self._call(taken)
            taken.end()
            if self._waiting and not self._obey():
                return False
        self._after_reading()
        return True

    def _after_reading(self) -> None:
        inlet = self._input
        if inlet is None:
            return
        if inlet.damaged:
            # Nothing can be read any more: the process ends, and the router gives its work to another.
            raise TaskFault(f"the shared memory of `{inlet.spec.name}` is damaged")
        now = time.monotonic()
        # A tap makes do with what passes.
        if inlet.keyframe_wanted and self.task.kind != "tap" and now - self._asked >= KEYFRAME_INTERVAL:
            self._asked = now
            self._tell(keyframe_wanted(self._session, inlet.spec.index, inlet.spec.epoch, "overflow"))

    def _produce(self) -> None:
        now = time.monotonic()
        if self._produce_at is not None and now < self._produce_at:
            return
        again = self._call(None)
        # From when it was due, so that a source keeps its rate; one that is behind by a second begins anew.
        due = self._produce_at
        begin = now if due is None or now - due >= PAUSE else due
        self._produce_at = begin + (PAUSE if again is None else again)

    def _call(self, taken: Optional[Taken]) -> Optional[float]:
        """Calls the processor, for a frame or a source's turn, so that its errors are counted, and a crash or a hang can be
        told from outside."""
        self._busy_since = monotonic_ns()
        self._place.begin(taken.meta.sequence if taken else 0)
        try:
            if taken is None:
                return self._processor.produce(self._out)
            self._processor.process(taken, self._out)
        except SendFault as fault:
            self.counters.errors += 1
            log.debug("task %d: %s", self.task.id, fault)
        except Exception as fault:
            self._out.node_error("", fault)
        finally:
            self._place.end()
            self._busy_since = 0
            self.frames += 1
        return None

    def _close(self) -> None:
        with self._orders:
            params, self._params = self._params, []
        for _, _, answer in params:
            answer.done("the task ended")
        if self._input is not None:
            self._input.close()
        if self._output is not None:
            self._output.close()
        if self._wake is not None:
            self._wake.close()
        # What was opened for a wiring that never came.
        for wiring in self._rewire:
            for port in wiring:
                if isinstance(port, (Inlet, Outlet)):
                    port.close()
        self._place.free()


def params_of(text: str) -> JsonObject:
    """A JSON object out of a message's text."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as fault:
        raise TaskFault(f"parameters that are not JSON: {fault}") from None
    if not isinstance(value, dict):
        raise TaskFault("parameters that are not a JSON object")
    return value
