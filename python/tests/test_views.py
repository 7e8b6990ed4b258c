"""Views of shared memory, and other formats than I420; names; marks."""

from __future__ import annotations

import ctypes
import os
import tempfile
import unittest

import numpy as np

from remotemedia import convert
from remotemedia.frame import AudioFrame, VideoFrame
from remotemedia.messages import Namespace
from remotemedia.meta import AudioGeometry, Meta, VideoGeometry
from remotemedia.names import NameFault, check_channel_name, check_namespace, check_node
from remotemedia.ports import Block, Bytes
from remotemedia.process import MARK_LEN, MARK_SLOTS, Marks


class Views(unittest.TestCase):
    def test_of_an_input_stay_read_only_whatever_is_tried(self) -> None:
        frame, block = self.frame(writable=False)
        for view in (*frame.planes, frame.payload):
            self.assertFalse(view.flags.writeable)
            for attempt in (view, view.base):
                assert attempt is not None
                with self.assertRaises(ValueError):
                    attempt.setflags(write=True)
        del view, attempt
        frame._end()
        self.assertTrue(block.end(), "nobody keeps a view")
        with self.assertRaisesRegex(RuntimeError, "the frame is over"):
            _ = frame.y

    def test_of_an_output_are_written_in_place_and_not_after_its_end(self) -> None:
        frame, block = self.frame(writable=True)
        frame.y[:] = 7
        self.assertEqual(int(frame.payload[0]), 7)
        kept = frame.y
        frame._end()
        self.assertFalse(block.end(), "one is kept")
        with self.assertRaises(ValueError):
            kept[0, 0] = 1
        with self.assertRaises(ValueError):
            kept.setflags(write=True)

    def test_that_are_kept_keep_what_they_are_of(self) -> None:
        frame, block = self.frame(writable=False)
        column = frame.y[:, 5]
        frame._end()
        self.assertFalse(block.end())
        del frame, block
        self.assertEqual(int(column.sum()), 0)

    def test_do_not_leave_their_memory(self) -> None:
        with self.assertRaises((TypeError, ValueError)):
            Block.own(100).plane(VideoGeometry.i420(64, 64), 0)
        with self.assertRaises((TypeError, ValueError)):
            Block.own(100).samples(AudioGeometry(48_000, 1, 480))

    def test_of_sound_have_a_row_per_moment(self) -> None:
        geometry = AudioGeometry(48_000, 2, 480)
        block = Block.own(geometry.payload_len())
        frame = AudioFrame(Meta(geometry), geometry, block, geometry.payload_len())
        frame.samples[:, 1] = 0.5
        self.assertEqual(frame.payload.view(np.float32)[:4].tolist(), [0, 0.5, 0, 0.5])

    def frame(self, writable: bool) -> tuple[VideoFrame, Block]:
        geometry = VideoGeometry.i420(321, 181)
        memory = (ctypes.c_uint8 * geometry.payload_len())()
        block = Block(ctypes.addressof(memory), len(memory), memory, writable)
        return VideoFrame(Meta(geometry), geometry, block, len(memory), writable=writable), block


class Formats(unittest.TestCase):
    def test_come_back_as_they_were_but_for_rounding(self) -> None:
        for width, height in ((64, 48), (321, 181), (2, 2), (1, 1)):
            geometry = VideoGeometry.i420(width, height)
            planes = planes_of(geometry)
            for plane, value in zip(planes, (120, 90, 160)):
                plane[:] = value
            for format in ("rgb", "bgr", "nv12"):
                with self.subTest(format=format, width=width):
                    picture = planes
                    image, copied = convert.out_of(format, picture)
                    self.assertGreater(copied, 0)
                    self.assertEqual(image.shape, convert.blank(format, picture).shape)
                    back = planes_of(geometry)
                    back[0][:] = planes[0]
                    convert.back_into(format, image, back)
                    for plane, value in zip(back, (120, 90, 160)):
                        self.assertLessEqual(int(np.abs(plane.astype(int) - value).max()), 3)
        y, u, v = (np.full(shape, value, np.uint8) for shape, value in (((2, 2), 81), ((1, 1), 90), ((1, 1), 240)))
        red, _ = convert.out_of("rgb", (y, u, v))
        self.assertTrue(red[0, 0, 0] > 230 and red[0, 0, 2] < 30, red[0, 0])


def planes_of(geometry: VideoGeometry) -> tuple[Bytes, Bytes, Bytes]:
    block = Block.own(geometry.payload_len())
    return block.plane(geometry, 0), block.plane(geometry, 1), block.plane(geometry, 2)


class Names(unittest.TestCase):
    def test_of_channels_are_those_of_the_contract(self) -> None:
        for name in (
            "rm/demo/in/anna/audio0/encoded",
            "rm/demo/in/anna/video0~hi/raw",
            "rm/demo/node/gray.out/raw",
            "rm/demo/node/gray.out@anna/raw",
            "rm/demo/out/main-video/raw",
            "rm/demo/out/main-video@anna/full.vp9/encoded",
        ):
            self.assertEqual(check_channel_name(name), name)
        for name in (
            "",
            "rm",
            "rm/demo/in/anna/audio0",
            "rm/demo/in/anna/audio0/raw/",
            "rm/demo/in/a b/audio0/raw",
            "rm/demo/node/input.out/raw",
            "rm/demo/out/main.av1/encoded",
            "rm/demo/out/A/raw",
            "x" * 1000,
        ):
            with self.assertRaises(NameFault):
                check_channel_name(name)
        self.assertEqual(check_node("input-2"), "input-2")
        for node in ("input", "output", "", "A", "x" * 33):
            with self.assertRaises(NameFault):
                check_node(node)

    def test_of_namespaces_are_those_that_a_router_makes(self) -> None:
        check_namespace(Namespace("m0123456789abcdef_", "/run/x/0123456789ab"))
        for prefix, root in (
            ("m0123456789abcdeF_", "/run/x/0123456789ab"),
            ("0123456789abcdef__", "/run/x/0123456789ab"),
            ("m0123456789abcdef_", "run/0123456789ab"),
            ("m0123456789abcdef_", "/run/../0123456789ab"),
            ("m0123456789abcdef_", "/run/x/0123456"),
            ("m0123456789abcdef_", "/" + "x" * 40 + "/0123456789ab"),
        ):
            with self.assertRaises(NameFault):
                check_namespace(Namespace(prefix, root))


class MarksOfCalls(unittest.TestCase):
    def test_name_task_node_and_frame_while_a_call_lasts(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.truncate(MARK_LEN * MARK_SLOTS)
            marks = Marks(os.dup(file.fileno()))
            first, second = marks.place(7), marks.place(8)
            second.begin(5)
            second.enter(3)
            first.begin(4)
            read = os.pread(file.fileno(), 2 * MARK_LEN, 0)
            numbers = [int.from_bytes(read[at : at + 4], "little") for at in (0, 4, 8, 16, 20, 24)]
            self.assertEqual(numbers, [7, 0xFFFFFFFF, 4, 8, 3, 5])
            first.end()
            second.free()
            clear = b"\xff" * 8 + b"\0" * 8
            self.assertEqual(os.pread(file.fileno(), 2 * MARK_LEN, 0), clear + clear)


if __name__ == "__main__":
    unittest.main()
