"""One session as a worker sees it: its open namespace, its tasks, and the wiring that is prepared."""

from __future__ import annotations

import logging
from typing import Any, Optional, Union

from .messages import (
    Add,
    ChannelSpec,
    JsonObject,
    Namespace,
    Remove,
    Rewire,
    Task,
    applied,
    changes_of,
    ready,
    refused,
)
from .ports import Attachment, Inlet, Outlet
from .process import Marks
from .task import Answer, Make, Shelf, TaskFault, TaskThread, Tell, Wiring, params_of

log = logging.getLogger("remotemedia")

MAX_TASKS = 128
"""Tasks of one session in one worker, prepared ones included."""


class Refusal(RuntimeError):
    """A wiring that cannot be had; the text is for a person."""


class Prepared:
    """A wiring that is opened and not yet in force."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.added: dict[int, TaskThread] = {}
        self.rewired: list[tuple[TaskThread, Task, Wiring]] = []
        self.removed: list[int] = []
        self.unmade: set[int] = set()
        """Tasks whose processor is still being made."""


class Session:
    """A session's tasks."""

    def __init__(self, id: str, namespace: Namespace, make: Make, tell: Tell, marks: Marks) -> None:
        self._id, self._make, self._tell, self._marks = id, make, tell, marks
        self._attachment = Attachment(namespace)
        self._shelf = Shelf()
        self._epoch: Optional[int] = None
        self._tasks: dict[int, TaskThread] = {}
        self._prepared: Optional[Prepared] = None
        # Threads that were told to stop and have not ended yet, by serial; they still hold their ports.
        self._ending: dict[int, TaskThread] = {}
        # A wiring that is opened when these have ended: a channel has no more ports than it needs.
        self._deferred: Optional[tuple[int, Any]] = None
        self._released = False
        self._serial = 0

    def prepare(self, epoch: int, body: Any) -> Optional[JsonObject]:
        """Opens what a new wiring needs. ``ready`` follows when all processors are made; ``None`` is nothing to say yet."""
        if self._epoch is not None and epoch < self._epoch:
            return None
        changes = changes_of(body)
        try:
            if self._epoch == epoch:
                raise Refusal(f"epoch {epoch} is in force already")
            if self._released:
                raise Refusal("the session was released")
            # The router prepares one wiring at a time; an older one that it forgot is dropped.
            self._abandon()
            if self._ending:
                self._deferred = (epoch, body)
                return None
            self._open(epoch, changes)
        except (RuntimeError, ValueError) as fault:
            self._abandon()
            return refused(self._id, epoch, str(fault))
        return self._ready()

    def made(self, epoch: int, task: int, error: Optional[str]) -> Optional[JsonObject]:
        """A thread made its processor, or could not."""
        prepared = self._prepared
        if prepared is None or prepared.epoch != epoch or task not in prepared.unmade:
            return None
        prepared.unmade.remove(task)
        if error is None:
            return self._ready()
        self._abandon()
        return refused(self._id, epoch, error)

    def switch(self, epoch: int) -> None:
        """Puts the prepared wiring in force."""
        prepared = self._prepared
        if prepared is None or prepared.epoch != epoch or prepared.unmade:
            log.warning("a switch of session %s to epoch %d, which is not prepared", self._id, epoch)
            return
        self._prepared = None
        for id in prepared.removed:
            self._stop(self._tasks.pop(id))
        for thread, task, wiring in prepared.rewired:
            thread.rewire(task, wiring)
        for id, thread in prepared.added.items():
            thread.start()
            self._tasks[id] = thread
        self._epoch = epoch

    def abandon(self, epoch: int) -> None:
        """Forgets what is prepared, if it is this epoch."""
        if (self._prepared and self._prepared.epoch == epoch) or (self._deferred and self._deferred[0] == epoch):
            self._abandon()

    def params(self, node: str, text: str, request: int) -> None:
        """New parameters for a node, in all tasks that run it; the answer follows when all have applied them."""
        threads = [t for t in self._tasks.values() if any(n.id == node for n in t.task.nodes)]
        try:
            if not threads:
                raise TaskFault(f"no task here runs the node `{node}`")
            changes = params_of(text)
        except TaskFault as fault:
            self._tell(applied(self._id, request, str(fault)))
            return
        answer = Answer(self._id, request, len(threads), self._tell)
        for thread in threads:
            thread.params(node, dict(changes), answer)

    def release(self) -> None:
        """Stops everything; :attr:`over` tells when it is done."""
        self._abandon()
        for thread in self._tasks.values():
            self._stop(thread)
        self._tasks = {}
        self._released = True

    def ended(self, serial: int) -> tuple[bool, Optional[JsonObject]]:
        """A thread ended: whether it was told to, and what is to be said now."""
        thread = self._ending.pop(serial, None)
        if thread is None:
            return False, None
        thread.join()
        if self._ending or self._deferred is None:
            return True, None
        (epoch, body), self._deferred = self._deferred, None
        return True, self.prepare(epoch, body)

    @property
    def over(self) -> bool:
        """Whether it is released and no thread holds anything of it."""
        return self._released and not self._ending

    def beats(self) -> list[JsonObject]:
        """Each task's state; a prepared one's too, whose processor may take long to make."""
        threads = dict(self._prepared.added) if self._prepared else {}
        # A task that is replaced under its own number is told once, as the running one.
        threads.update(self._tasks)
        return [threads[id].beat() for id in sorted(threads)]

    def _open(self, epoch: int, changes: list[Add | Rewire | Remove]) -> None:
        prepared = self._prepared = Prepared(epoch)
        for change in changes:
            if isinstance(change, Add):
                self._add(prepared, change.task)
            elif isinstance(change, Rewire):
                self._rewire(prepared, change)
            elif change.task in self._tasks:
                prepared.removed.append(change.task)
            else:
                raise Refusal(f"there is no task {change.task}")

    def _add(self, prepared: Prepared, task: Task) -> None:
        standing = task.id in self._tasks and task.id not in prepared.removed
        if standing or task.id in prepared.added:
            raise Refusal(f"task {task.id} is there already")
        if len(self._tasks) + len(prepared.added) >= MAX_TASKS:
            raise Refusal(f"a session may have {MAX_TASKS} tasks in one worker")
        self._serial += 1
        prepared.added[task.id] = TaskThread(
            self._id,
            prepared.epoch,
            self._serial,
            task,
            self._attachment,
            self._make,
            self._tell,
            self._marks,
            self._shelf,
        )
        prepared.unmade.add(task.id)

    def _rewire(self, prepared: Prepared, change: Rewire) -> None:
        thread = self._tasks.get(change.task)
        if thread is None:
            raise Refusal(f"there is no task {change.task}")
        old = thread.task
        if (change.input is None, change.output is None) != (old.input is None, old.output is None):
            raise Refusal(f"task {change.task} cannot win or lose an end")
        # Opened here, so that the task's thread goes on with its frames meanwhile.
        input: Optional[Union[ChannelSpec, Inlet]] = change.input
        if change.input and old.input and change.input.service != old.input.service:
            input = Inlet(self._attachment, change.input, thread.counters)
        output: Optional[Union[ChannelSpec, Outlet]] = change.output
        try:
            if change.output and old.output and change.output.service != old.output.service:
                output = Outlet(self._attachment, change.output, thread.counters)
        except (RuntimeError, ValueError):
            if isinstance(input, Inlet):
                input.close()
            raise
        task = old._replace(input=change.input, output=change.output)
        prepared.rewired.append((thread, task, Wiring(input, output)))

    def _ready(self) -> Optional[JsonObject]:
        if self._prepared is None or self._prepared.unmade:
            return None
        return ready(self._id, self._prepared.epoch)

    def _abandon(self) -> None:
        self._deferred = None
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        for thread in prepared.added.values():
            self._stop(thread)
        for _, _, wiring in prepared.rewired:
            for port in wiring:
                if isinstance(port, (Inlet, Outlet)):
                    port.close()

    def _stop(self, thread: TaskThread) -> None:
        self._ending[thread.serial] = thread
        thread.stop()
