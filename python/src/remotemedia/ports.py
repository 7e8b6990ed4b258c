"""Ports of a session's channels: the only file that names iceoryx2.

The numbers and rules are those of ``worker-sdk/src/namespace/config.rs``, ``inlet.rs`` and ``outlet.rs``.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
import weakref
from typing import Any, Optional

import iceoryx2 as iox2
import numpy as np
import numpy.typing as npt

from .header import PADDED, SIZE, FrameHeader, HeaderFault, PaddedHeader, to_bytes
from .messages import ChannelSpec, Counters, Namespace
from .meta import KEYFRAME, AudioGeometry, Content, Meta, VideoGeometry, monotonic_ns
from .names import MAX_INDEX, check_channel, check_namespace, check_service
from .order import Order

Bytes = npt.NDArray[np.uint8]

log = logging.getLogger("remotemedia")

BORROWED = 2
"""Frames that one reader may hold besides those that wait for it."""
LOANED = 1
"""Frames that a producer may be writing at once."""
MAX_LOOKED_AT = 64
"""Frames that one call looks at: a producer of rubbish must not keep its reader for ever."""

# iceoryx2 0.10 narrows the process's umask while it binds a listener's socket: of two at once the second would restore
# the first's narrow one, and every folder made later would have mode 0600.
_binding = threading.Lock()


class PortFault(RuntimeError):
    """A namespace or a port cannot be had, or not any more."""


class SendFault(RuntimeError):
    """A frame was not sent."""


class Attachment:
    """A process's place in a session: opens the ports that the router's services allow."""

    def __init__(self, namespace: Namespace) -> None:
        check_namespace(namespace)
        # Never the global configuration, which reads files.
        config = iox2.config.default()
        config.global_cfg.prefix = iox2.FileName.new(namespace.prefix)
        config.global_cfg.root_path = iox2.Path.new(namespace.root)
        # Its cleaner can spin for ever on half-made objects: nobody here runs it, the router sweeps.
        config.global_cfg.node.cleanup_dead_nodes_on_creation = False
        config.global_cfg.node.cleanup_dead_nodes_on_destruction = False
        config.global_cfg.service.cleanup_dead_nodes_on_open = False
        # How long opening waits for an object that another process is just making.
        config.global_cfg.creation_timeout = iox2.Duration.from_millis(500)
        config.defaults.publish_subscribe.subscriber_expired_connection_buffer = BORROWED
        iox2.set_log_level(iox2.LogLevel.Warn)
        try:
            builder = iox2.NodeBuilder.new().config(config).signal_handling_mode(iox2.SignalHandlingMode.Disabled)
            self._node = builder.create(iox2.ServiceType.Ipc)
        except Exception as fault:
            raise PortFault(f"cannot create the node in `{namespace.root}`: {fault}") from None

    def channel(self, service: str) -> Any:
        """A channel's service, which the router has made."""
        try:
            builder = self._node.service_builder(iox2.ServiceName.new(service))
            builder = builder.publish_subscribe(iox2.Slice[ctypes.c_uint8])
            builder = builder.user_header(PaddedHeader)
            return builder.open()
        except Exception as fault:
            raise PortFault(f"cannot open the channel `{service}`: {fault}") from None

    def event(self, service: str) -> Any:
        """A wake-up's service, which the router has made."""
        try:
            return self._node.service_builder(iox2.ServiceName.new(service)).event().open()
        except Exception as fault:
            raise PortFault(f"cannot open the wake-up `{service}`: {fault}") from None


class Memory:
    """A place in memory as numpy's array interface tells it. All views of it refer to this object, and through it to the
    sample or the port that keeps it mapped. It exports no buffer, so numpy makes no read-only view writable again."""

    __slots__ = ("__array_interface__", "__weakref__", "_keeper")

    def __init__(self, address: int, length: int, keeper: Any, writable: bool) -> None:
        self._keeper = keeper
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (length,), "data": (address, not writable)}


class Block:
    """Memory of a channel as numpy sees it. While a view of it lives, so does what keeps it mapped."""

    def __init__(self, address: int, length: int, keeper: Any, writable: bool) -> None:
        memory = Memory(address, length, keeper, writable)
        self._alive = weakref.ref(memory)
        self._memory: Optional[Bytes] = np.asarray(memory)
        self._given: list[npt.NDArray[Any]] = []

    @staticmethod
    def own(length: int) -> Block:
        """Memory of this process alone: what lies between two nodes of one task."""
        memory = (ctypes.c_uint8 * length)()
        return Block(ctypes.addressof(memory), length, memory, writable=True)

    def freeze(self) -> None:
        """What was written is only read from now on."""
        self._forget()
        self._open().flags.writeable = False

    def bytes(self, length: int) -> Bytes:
        """The first bytes."""
        return self._view(np.ndarray((length,), np.uint8, self._open()))

    def plane(self, geometry: VideoGeometry, index: int) -> Bytes:
        """A picture's plane 0 (Y), 1 (U) or 2 (V); numpy refuses what does not lie in the block."""
        (columns, rows), (offset, stride) = geometry.plane_size(index), geometry.planes[index]
        return self._view(np.ndarray((rows, columns), np.uint8, self._open(), offset, (stride, 1)))

    def samples(self, geometry: AudioGeometry) -> npt.NDArray[np.float32]:
        """A block's samples, one row per moment, one column per channel."""
        shape = (geometry.samples, geometry.channels)
        return self._view(np.ndarray(shape, np.float32, self._open()))

    def end(self) -> bool:
        """No more views, and those that were given cannot be written through; whether none is kept by anybody."""
        self._forget()
        if self._memory is not None:
            # A view can be made writable as long as what it is of is.
            self._memory.flags.writeable = False
            self._memory = None
        return self._alive() is None

    def _forget(self) -> None:
        for view in self._given:
            view.flags.writeable = False
        self._given.clear()

    def _view(self, view: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if view.flags.writeable:
            self._given.append(view)
        return view

    def _open(self) -> Bytes:
        if self._memory is None:
            raise RuntimeError("the frame is over: views end with the call that they were given to")
        return self._memory


class Taken:
    """A received frame: its checked description, and its payload where the producer wrote it."""

    def __init__(self, inlet: Inlet, sample: Any, address: int, length: int, meta: Meta, missed: int) -> None:
        self._inlet = inlet
        self._sample = sample
        self.meta = meta
        self.missed = missed
        self.length = length
        self.block = Block(address, length, sample, writable=False) if length else None

    def end(self) -> None:
        """Gives the frame back, at once unless somebody kept a view of it: then with the last of these."""
        if self.block is None or self.block.end():
            # iceoryx2 panics when the queue that it goes back through was damaged; the next read finds out.
            _guarded(self._sample.delete)
        else:
            self._inlet.kept()
        self._sample = None


class Inlet:
    """A channel's reading end: takes frames in order, and counts why others were not used."""

    def __init__(self, attachment: Attachment, spec: ChannelSpec, counters: Counters) -> None:
        check_channel(spec)
        service = attachment.channel(spec.service)
        try:
            self._subscriber = service.subscriber_builder().buffer_size(spec.contract.capacity).create()
        except Exception as fault:
            raise PortFault(f"cannot read from `{spec.service}`: {fault}") from None
        self._order = Order(spec.contract.when_full)
        self.spec = spec
        self.counters = counters
        self.damaged = False
        self._warned = False

    def respec(self, spec: ChannelSpec) -> None:
        """Takes a new description of the same service: another epoch or generation."""
        check_channel(spec)
        if spec.service != self.spec.service:
            raise PortFault(f"this port is open for {self.spec.service}, not {spec.service}")
        if (spec.epoch, spec.generation) != (self.spec.epoch, self.spec.generation):
            self._order = Order(spec.contract.when_full)
        self.spec = spec

    @property
    def keyframe_wanted(self) -> bool:
        """Whether frames are dropped until a keyframe comes, and one is to be asked for."""
        return self._order.wanted

    def receive(self) -> Optional[Taken]:
        """The next frame that can be used; the caller ends it. ``None`` when there is none now."""
        for _ in range(MAX_LOOKED_AT):
            sample = self._take()
            if sample is None:
                return None
            taken = self._judge(sample)
            if taken is not None:
                return taken
            _guarded(sample.delete)
        return None

    def kept(self) -> None:
        """The user's function kept a view of a frame."""
        if not self._warned:
            self._warned = True
            log.warning(
                "%s: a view of a frame was kept after the call that it was given to; copy what is to be kept, for of "
                "more than %d such frames at once no further ones come",
                self.spec.name,
                BORROWED - 1,
            )

    def close(self) -> None:
        """Leaves the channel; frames whose views are kept stay mapped."""
        _guarded(self._subscriber.delete)

    def _take(self) -> Any:
        if self.damaged:
            return None
        try:
            return self._subscriber.receive()
        except iox2.ReceiveError as fault:
            # More frames are kept than may be, or a producer is half gone; the next call tries again.
            log.debug("%s: nothing could be received: %s", self.spec.name, fault)
        except BaseException:
            # A panic over damaged shared memory, which is no `Exception`: the port is never used again.
            self.damaged = True
            self.counters.drop("malformed")
        return None

    def _judge(self, sample: Any) -> Optional[Taken]:
        # Each exactly once: the producer could change them meanwhile.
        header = FrameHeader.from_buffer_copy(ctypes.string_at(sample.user_header_ptr, SIZE))
        has: int = sample.header.number_of_elements
        counters, order, spec = self.counters, self._order, self.spec
        if has > spec.max_payload:
            counters.drop("malformed")
            order.lost_something()
            return None
        address: int = sample.payload_ptr
        try:
            meta = header.check(has)
        except HeaderFault as fault:
            log.debug("%s: a malformed frame: %s", spec.name, fault)
            order.malformed(header.sequence)
            counters.drop("malformed")
            return None
        if (meta.epoch, meta.generation) != (spec.epoch, spec.generation):
            counters.drop("stale")
            return None
        overflowed = order.seen(meta.sequence)
        if overflowed is None:
            counters.drop("malformed")
            return None
        if overflowed:
            counters.drop("overflow", overflowed)
        max_age_ns = spec.contract.max_age_ms * 1_000_000
        if max_age_ns and monotonic_ns() - meta.media_time_ns > max_age_ns:
            order.lost_something()
            counters.drop("too_old")
            return None
        missed = order.give(meta.sequence, meta.flags)
        if missed is None:
            counters.drop("awaiting_keyframe")
            return None
        counters.received += 1
        if meta.flags & KEYFRAME:
            counters.keyframes += 1
        return Taken(self, sample, address, header.payload_len, meta, missed)


class Outlet:
    """A channel's producing end: loan, fill in place, publish, ring."""

    def __init__(self, attachment: Attachment, spec: ChannelSpec, counters: Counters) -> None:
        check_channel(spec)
        if spec.contract.when_full == "lossless":
            # iceoryx2's Python has no handler for a full channel, and its default waits without limit.
            raise PortFault(f"`{spec.name}` is lossless, which the Python package cannot write")
        service = attachment.channel(spec.service)
        try:
            builder = service.publisher_builder().initial_max_slice_len(spec.max_payload)
            builder = builder.max_loaned_samples(LOANED)
            # One segment at the greatest size: growing would open new objects later, untouched pages cost nothing.
            builder = builder.allocation_strategy(iox2.AllocationStrategy.Static)
            # The default waits for a stalled reader without limit.
            builder = builder.backpressure_strategy(iox2.BackpressureStrategy.DiscardData)
            self._publisher = builder.create()
        except Exception as fault:
            raise PortFault(f"cannot produce into `{spec.service}`: {fault}") from None
        self.spec = spec
        self.counters = counters
        self._bells: dict[str, Any] = {}
        self._sequence = 0
        self._described: Optional[tuple[Content, int, int]] = None
        self._damaged = False
        self._ring(attachment, spec)

    def respec(self, attachment: Attachment, spec: ChannelSpec) -> None:
        """Takes a new description of the same service: other wake-ups, epoch or generation. The sequence goes on."""
        check_channel(spec)
        if (spec.service, spec.max_payload) != (self.spec.service, self.spec.max_payload):
            raise PortFault(f"this port is open for {self.spec.service}, not {spec.service}")
        self._ring(attachment, spec)
        self.spec = spec

    def loan(self, length: int) -> Loan:
        """Memory for a frame, aligned to 64; its content is whatever was there before."""
        if self._damaged:
            raise SendFault(f"the shared memory of `{self.spec.name}` is damaged")
        if length > self.spec.max_payload:
            self.counters.drop("too_large")
            raise SendFault(f"a frame of {length} bytes; channel `{self.spec.name}` takes {self.spec.max_payload}")
        try:
            return Loan(self, self._publisher, self._publisher.loan_slice_uninit(length), length)
        except Exception as fault:
            raise SendFault(f"no free memory in channel `{self.spec.name}`: {fault}") from None
        except BaseException:
            self._damaged = True
            raise SendFault(f"the shared memory of `{self.spec.name}` is damaged") from None

    def publish_empty(self, meta: Meta) -> None:
        """Publishes a frame without payload: lost, silence or end, as its flags say."""
        self.loan(0).publish(meta)

    def close(self) -> None:
        """Leaves the channel."""
        self._bells.clear()
        # Not `delete()`: a view that somebody kept of a loan keeps the publisher, and so the memory.
        self._publisher = None

    def _send(self, uninit: Any, meta: Meta, length: int) -> None:
        meta.sequence, meta.epoch, meta.generation = self._sequence, self.spec.epoch, self.spec.generation
        try:
            header = to_bytes(meta, length)
            described = (meta.content, meta.flags, length)
            if described != self._described:
                # Frames of a channel are alike: a producer learns of its own mistake once.
                FrameHeader.from_buffer_copy(header).check(length)
                self._described = described
        except (HeaderFault, struct.error, TypeError) as fault:
            _guarded(uninit.delete)
            raise SendFault(f"a frame that no reader would take: {fault}") from None
        ctypes.memmove(uninit.user_header_ptr, header, PADDED)
        # Counted also when it fails: the gap tells the readers that one is missing.
        self._sequence += 1
        try:
            readers = uninit.assume_init().send()
        except Exception as fault:
            raise SendFault(f"channel `{self.spec.name}`: {fault}") from None
        except BaseException:
            self._damaged = True
            raise SendFault(f"the shared memory of `{self.spec.name}` is damaged") from None
        self.counters.published += 1
        if not readers:
            self.counters.drop("no_consumer")
        event = iox2.EventId.new(self.spec.index)
        for bell in self._bells.values():
            try:
                bell.notify_with_custom_event_id(event)
            except Exception:
                # A reader that is gone cannot be rung; that is its supervisor's business.
                continue

    def _ring(self, attachment: Attachment, spec: ChannelSpec) -> None:
        """Opens the notifiers that are named and not yet open, and drops the others."""
        fresh = {wake: bell_of(attachment, wake) for wake in spec.wakes if wake not in self._bells}
        self._bells = {wake: bell for wake, bell in {**self._bells, **fresh}.items() if wake in spec.wakes}


class Loan:
    """Memory of a channel, to be filled and published, or dropped."""

    def __init__(self, outlet: Outlet, publisher: Any, uninit: Any, length: int) -> None:
        self._outlet = outlet
        self._uninit = uninit
        self._length = length
        self.block = Block(uninit.payload_ptr, length, publisher, writable=True) if length else None

    def publish(self, meta: Meta) -> None:
        """Publishes all of it and rings the readers. Sequence, epoch and generation are set here."""
        self._end()
        uninit, self._uninit = self._uninit, None
        self._outlet._send(uninit, meta, self._length)

    def drop(self) -> None:
        """Gives it back unpublished."""
        self._end()
        if self._uninit is not None:
            _guarded(self._uninit.delete)
            self._uninit = None

    def _end(self) -> None:
        if self.block is not None:
            self.block.end()


class Wake:
    """What a task's thread waits on: rung by producers for frames, and by :meth:`ring` for orders."""

    SAFETY_CHECK_MS = 100
    """A wake-up can be lost when its producer dies while it rings; looked for so often."""

    def __init__(self, attachment: Attachment, service: str) -> None:
        check_service(service)
        event = attachment.event(service)
        try:
            with _binding:
                self._listener = event.listener_builder().create()
        except Exception as fault:
            raise PortFault(f"cannot listen to the wake-up `{service}`: {fault}") from None
        # iceoryx2's Python shows no descriptor to wait on beside others, so orders come the way that frames come.
        self._bell = bell_of(attachment, service)
        self._limit = iox2.Duration.from_millis(self.SAFETY_CHECK_MS)
        self._order = iox2.EventId.new(MAX_INDEX)

    def ring(self) -> None:
        """Wakes the thread that waits; from any thread."""
        bell = self._bell
        if bell is None:
            return
        try:
            bell.notify_with_custom_event_id(self._order)
        except Exception as fault:
            # It looks for orders after its safety check in any case.
            log.debug("a task could not be rung: %s", fault)

    def wait(self) -> None:
        """Until something rang or the safety check is due; without the interpreter's lock."""
        try:
            self._listener.timed_wait(self._limit)
        except Exception as fault:
            log.debug("a wake-up could not be waited for: %s", fault)

    def drain_once(self) -> bool:
        """Takes what rang; whether something did. To be repeated until nothing did, before waiting again: a producer
        that rings between the two halves of iceoryx2's own drain would not ring again."""
        try:
            return bool(self._listener.try_wait())
        except Exception as fault:
            log.debug("a wake-up could not be drained: %s", fault)
            return False

    def close(self) -> None:
        """Stops listening; by the thread that waited."""
        # Not `delete()`: a port that is used after it panics, and another thread may be about to ring.
        self._listener = self._bell = None


def bell_of(attachment: Attachment, wake: str) -> Any:
    """A wake-up's ringing end."""
    try:
        return attachment.event(wake).notifier_builder().create()
    except PortFault:
        raise
    except Exception as fault:
        raise PortFault(f"cannot ring the wake-up `{wake}`: {fault}") from None


def _guarded(call: Any) -> None:
    try:
        call()
    except BaseException as fault:
        log.debug("a port could not be left in order: %r", fault)
