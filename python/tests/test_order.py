"""What a reader is given of one producer's frames, whatever is lost on the way."""

from __future__ import annotations

import random
import unittest
from typing import Optional

from remotemedia.meta import KEYFRAME
from remotemedia.order import Order


def took(order: Order, sequence: int, keyframe: bool = False) -> Optional[int]:
    if order.seen(sequence) is None:
        return None
    return order.give(sequence, KEYFRAME if keyframe else 0)


class TheOrder(unittest.TestCase):
    def test_does_not_miss_what_was_published_before_the_reader_came(self) -> None:
        order = Order("newest_wins")
        self.assertEqual((took(order, 1000), took(order, 1003)), (0, 2))

    def test_gives_no_frame_from_behind_and_none_twice(self) -> None:
        order = Order("oldest_concealed")
        self.assertEqual((took(order, 5), took(order, 5), took(order, 4)), (0, None, None))

    def test_of_coded_video_begins_with_a_keyframe(self) -> None:
        order = Order("until_keyframe")
        self.assertFalse(order.wanted)
        self.assertIsNone(took(order, 0))
        self.assertTrue(order.wanted)
        self.assertEqual(took(order, 1, keyframe=True), 0)
        self.assertFalse(order.wanted)
        self.assertEqual(took(order, 2), 0)

    def test_knows_a_malformed_frame_as_missing_but_not_as_overflowed(self) -> None:
        order = Order("oldest_concealed")
        self.assertEqual(took(order, 0), 0)
        order.malformed(1)
        self.assertEqual((order.seen(2), order.give(2, 0)), (0, 1))

    def test_takes_the_greatest_numbers_for_numbers_like_others(self) -> None:
        order = Order("newest_wins")
        self.assertEqual((took(order, 0), took(order, 2**64 - 1)), (0, 2**64 - 2))
        order.malformed(2**64 - 1)
        order.malformed(0)
        self.assertIsNone(order.seen(2**64 - 1))

    def test_gives_and_misses_as_many_as_were_sent(self) -> None:
        rng = random.Random(11)
        for until_keyframe in (False, True):
            for _ in range(200):
                order = Order("until_keyframe" if until_keyframe else "newest_wins")
                first: Optional[int] = None
                accounted = 0
                for sequence in range(rng.randrange(1, 200)):
                    keyframe = rng.random() < 0.5
                    if rng.random() < 0.25:
                        continue
                    missed = took(order, sequence, keyframe)
                    if missed is None:
                        self.assertTrue(until_keyframe and not keyframe and order.wanted)
                        continue
                    if first is None:
                        first = sequence
                        self.assertEqual(missed, 0)
                    self.assertTrue(not until_keyframe or keyframe or missed == 0, "a gap without a keyframe")
                    accounted += missed + 1
                    self.assertEqual(accounted, sequence + 1 - first)


if __name__ == "__main__":
    unittest.main()
