"""What crosses a process border is byte for byte what the Rust code says in `shm-schema/vectors`."""

from __future__ import annotations

import ctypes
import json
import unittest
from pathlib import Path
from typing import Any

from remotemedia import messages
from remotemedia.control import HELLO_LEN, Frames, Hello, HelloFault, encode
from remotemedia.header import PADDED, SIZE, FrameHeader, PaddedHeader, to_wire
from remotemedia.messages import Add, Counters, Remove, Rewire

VECTORS = Path(__file__).parents[2] / "shm-schema" / "vectors"


def vectors(name: str) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    return values


def plain(value: Any) -> Any:
    """A ctypes value as JSON has it."""
    if isinstance(value, ctypes.Array):
        return [plain(item) for item in value]
    if isinstance(value, ctypes.Structure):
        return {field[0]: plain(getattr(value, field[0])) for field in value._fields_ if field[0] != "reserved"}
    return value


class TheFrameHeader(unittest.TestCase):
    def test_has_the_fields_of_every_vector_and_is_written_as_it_was_read(self) -> None:
        found = vectors("frame_header.json")
        self.assertGreaterEqual(len(found), 5)
        for vector in found:
            with self.subTest(vector["what"]):
                wire = bytes.fromhex(vector["bytes"])
                self.assertEqual(len(wire), SIZE)
                header = FrameHeader.from_buffer_copy(wire)
                fields = plain(header)
                fields["stamps"] = fields["stamps"][: header.stamp_count]
                self.assertEqual(fields, vector["fields"])
                meta = header.check(header.payload_len)
                self.assertEqual(bytes(to_wire(meta, header.payload_len)), wire)

    def test_has_the_name_and_size_under_which_iceoryx2_knows_it(self) -> None:
        self.assertEqual((SIZE, PADDED, ctypes.sizeof(PaddedHeader)), (360, 384, 384))
        self.assertEqual((FrameHeader.type_name(), PaddedHeader.type_name()), ("FrameHeader", "FrameHeader"))


class TheHello(unittest.TestCase):
    def test_is_written_and_read_as_everybody_does(self) -> None:
        found = vectors("hello.json")
        self.assertIn("custom", [vector["hello"]["role"] for vector in found])
        for vector in found:
            wire, hello = bytes.fromhex(vector["bytes"]), Hello(**vector["hello"])
            self.assertEqual(hello.to_bytes(), wire)
            self.assertEqual(Hello.check_head(wire[:HELLO_LEN]), len(wire) - HELLO_LEN)
            self.assertEqual(Hello.from_body(wire[HELLO_LEN:]), hello)

    def test_of_another_build_is_refused_and_said_so(self) -> None:
        good = Hello("router", "router", 1, "json").to_bytes()[:HELLO_LEN]
        for at, says in ((0, "not a remotemedia"), (4, "control protocol"), (6, "frame ABI"), (13, "are allowed")):
            head = bytearray(good)
            head[at] ^= 0x40
            with self.assertRaisesRegex(HelloFault, says):
                Hello.check_head(bytes(head))
        for body in (b"", b"[]", b"{}", b'{"role":1}', b"\xff"):
            with self.assertRaises(HelloFault):
                Hello.from_body(body)


class Messages(unittest.TestCase):
    def test_of_both_ways_are_framed_and_read_as_everybody_does(self) -> None:
        for name, least in (("to_worker.json", 14), ("to_router.json", 19)):
            found = vectors(name)
            self.assertGreaterEqual(len(found), least)
            for vector in found:
                wire = bytes.fromhex(vector["json_frame"])
                frames = Frames()
                # In pieces, as a socket may give them.
                for begin in range(0, len(wire), 7):
                    self.assertIsNone(frames.next())
                    frames.push(wire[begin : begin + 7])
                message = frames.next()
                self.assertEqual(message, vector["message"])
                self.assertIsNone(frames.next())
                # serde writes fields in their order, and so does Python.
                self.assertEqual(encode(message), wire)

    def test_of_the_router_are_understood(self) -> None:
        found = [messages.tagged(vector["message"]) for vector in vectors("to_worker.json")]
        changes = [change for kind, body in found if kind == "prepare" for change in messages.changes_of(body)]
        kinds = [change.task.kind for change in changes if isinstance(change, Add)]
        self.assertEqual(kinds, ["decode", "encode_video", "encode_audio", "graph", "tap", "enter", "exit", "source"])
        graph = next(change.task for change in changes if isinstance(change, Add) and change.task.kind == "graph")
        self.assertEqual(graph.nodes[0]._asdict()["kind"], "Grayscale")
        assert graph.input is not None
        self.assertEqual((graph.input.contract.when_full, graph.input.wakes), ("until_keyframe", ("w1",)))
        self.assertEqual([change.output for change in changes if isinstance(change, Rewire)][1], None)
        self.assertEqual([change.task for change in changes if isinstance(change, Remove)], [6])
        assign = next(body for kind, body in found if kind == "assign")
        self.assertEqual(messages.namespace_of(assign).prefix, "m0123456789abcdef_")

    def test_of_a_worker_are_those_of_the_vectors(self) -> None:
        known = [bytes.fromhex(vector["json_frame"]) for vector in vectors("to_router.json")]
        counters = Counters()
        counters.received, counters.published, counters.keyframes = 100, 98, 1
        counters.drop("overflow", 2)
        beats = [messages.thread_beat("demo", 1, 98, busy, counters) for busy in (None, 2**64 - 1)]
        for message in (
            messages.attach_tap("rm/demo/out/main-video@anna/raw"),
            messages.attach_insert("rm/demo/in/anna/audio0/raw", "louder", "bypass"),
            messages.attach_source("demo", "tone", "audio"),
            messages.assigned("demo"),
            messages.unassigned("demo", "no memory is left"),
            messages.ready("demo", 2),
            messages.refused("demo", 2, "no such node"),
            messages.keyframe_wanted("demo", 1, 2, "decoder"),
            messages.applied("demo", 1, None),
            messages.applied("demo", 1, "sigma must be positive"),
            messages.node_error("demo", "gray", "out of colours"),
            messages.heartbeat(12, beats),
            messages.released("demo"),
            messages.DRAINED,
            messages.DETACH,
        ):
            self.assertIn(encode(message), known)
        own = messages.catalogue("Grayscale", "Takes the colour out.", True, False, '{"type":"object"}')
        theirs = next(vector["message"] for vector in vectors("to_router.json") if "catalogue" in vector["message"])
        self.assertEqual(own["catalogue"]["nodes"], theirs["catalogue"]["nodes"])
        self.assertEqual(own.keys(), theirs.keys())

    def test_that_are_none_of_ours_end_the_connection_and_nothing_else(self) -> None:
        for data in (b"\xff\xff\xff\xff", b"\x01\0\0\0{", b"\x04\0\0\0null", b"\x02\0\0\0\xff\xff", b"\xff\0\1\0"):
            frames = Frames()
            frames.push(data)
            with self.assertRaises(messages.MessageFault):
                frames.next()
        deep = b"[" * 60_000
        frames = Frames()
        frames.push(len(deep).to_bytes(4, "little") + deep)
        with self.assertRaises(messages.MessageFault):
            frames.next()
        wrong: list[Any] = [1, [], {}, {"a": 1, "b": 2}, True]
        for message in wrong:
            with self.assertRaises(messages.MessageFault):
                messages.tagged(message)
        wrong = [None, {}, {"changes": 1}, {"changes": [{"add": {}}]}, {"changes": [{"rewire": {"task": -1}}]}]
        for body in wrong:
            with self.assertRaises(messages.MessageFault):
                messages.changes_of(body)
        with self.assertRaises(messages.MessageFault):
            encode({"refused": "x" * 70_000})


if __name__ == "__main__":
    unittest.main()
