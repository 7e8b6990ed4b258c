"""A header that another process may have written as it likes."""

from __future__ import annotations

import random
import unittest

from remotemedia.header import SIZE, FrameHeader, HeaderFault, to_wire
from remotemedia.meta import LOST, AudioGeometry, Coded, Content, Data, Meta, Plane, VideoGeometry


def picture() -> tuple[FrameHeader, int]:
    geometry = VideoGeometry.i420(321, 181)
    return to_wire(Meta(geometry), geometry.payload_len()), geometry.payload_len()


class AHeader(unittest.TestCase):
    def test_that_lies_is_refused_with_what_it_lied_about(self) -> None:
        for field, value, says in (
            ("abi", 999, "ABI 999"),
            ("kind", 0, "kind"),
            ("kind", 5, "kind"),
            ("format", 2, "format"),
            ("payload_len", 2**32 - 1, "bytes of payload"),
            ("payload_len", 0, "payload_len"),
            ("payload_len", 1000, "planes"),
            ("flags", 64, "flags"),
            ("width", 0, "width"),
            ("width", 8193, "width"),
            ("height", 8000, "planes|offset"),
            ("rotation", 45, "rotation"),
            ("matrix", 4, "matrix"),
            ("range", 2, "range"),
            ("stride_alignment", 0, "stride_alignment"),
            ("stride_alignment", 48, "stride_alignment"),
            ("stride_alignment", 8192, "stride_alignment"),
            ("stamp_count", 17, "stamp_count"),
            ("stamp_count", 255, "stamp_count"),
        ):
            with self.subTest(field=field, value=value):
                header, length = picture()
                setattr(header, field, value)
                with self.assertRaisesRegex(HeaderFault, says):
                    header.check(length)

    def test_whose_planes_overlap_or_leave_the_payload_is_refused(self) -> None:
        for index, offset, stride in ((0, 0, 320), (0, 0, 385), (1, 0, 192), (2, 2**32 - 1, 192), (1, 69504, 2**32 - 64)):
            header, length = picture()
            header.planes[index].offset, header.planes[index].stride = offset, stride
            with self.assertRaises(HeaderFault):
                header.check(length)

    def test_of_sound_must_have_the_size_that_it_says(self) -> None:
        block = AudioGeometry(48_000, 2, 480)
        for field, value in (
            ("channels", 0),
            ("channels", 9),
            ("rate", 7_999),
            ("rate", 192_001),
            ("samples", 0),
            ("samples", 481),
            ("samples", 2**32 - 1),
            ("format", 0),
        ):
            header = to_wire(Meta(block), block.payload_len())
            header.check(block.payload_len())
            setattr(header, field, value)
            with self.assertRaises(HeaderFault):
                header.check(block.payload_len())

    def test_may_stand_before_a_longer_sample_and_before_nothing_when_it_says_so(self) -> None:
        contents: list[Content] = [VideoGeometry.i420(1, 1), AudioGeometry(48_000, 1, 1), Coded("vp8"), Data()]
        for content in contents:
            empty = to_wire(Meta(content, flags=LOST), 0)
            self.assertEqual(empty.check(0).content, content)
        self.assertEqual(to_wire(Meta(Coded("opus")), 3).check(8192).content, Coded("opus"))
        bad = to_wire(Meta(Coded("opus")), 3)
        bad.codec = 9
        with self.assertRaises(HeaderFault):
            bad.check(3)

    def test_of_any_bytes_is_checked_without_another_error_and_what_passes_fits(self) -> None:
        rng = random.Random(7)
        honest, length = picture()
        passed = 0
        for _ in range(20_000):
            data = bytearray(bytes(honest))
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(SIZE)] = rng.randrange(256)
            has = rng.choice((0, 1, length, length * 2, 2**40))
            try:
                meta = FrameHeader.from_buffer_copy(data).check(has)
            except HeaderFault:
                continue
            passed += 1
            content = meta.content
            if isinstance(content, VideoGeometry) and not meta.flags & (4 | 8 | 16):
                for index, plane in enumerate(content.planes):
                    columns, rows = content.plane_size(index)
                    self.assertLessEqual(plane.offset + plane.stride * (rows - 1) + columns, has)
        self.assertGreater(passed, 1000)

    def test_of_our_own_layout_is_that_of_rust(self) -> None:
        geometry = VideoGeometry.i420(321, 181)
        self.assertEqual(geometry.planes, (Plane(0, 384), Plane(69504, 192), Plane(86976, 192)))
        self.assertEqual(geometry.payload_len(), 104448)
        with self.assertRaises(ValueError):
            VideoGeometry.i420(0, 10)


if __name__ == "__main__":
    unittest.main()
