"""A source: a tone of 440 Hz in a session, routed as the peer `tone`.

    python test_tone.py red
"""

import sys

import numpy as np

import remotemedia

RATE, SAMPLES, HERTZ = 48_000, 480, 440


def tone(number: int, out: remotemedia.AudioFrame) -> None:
    at = number * SAMPLES + np.arange(SAMPLES)
    out.samples[:, 0] = 0.2 * np.sin(2 * np.pi * HERTZ * at / RATE)


if len(sys.argv) != 2:
    sys.exit("usage: test_tone.py SESSION")
remotemedia.audio_source(sys.argv[1], "tone", tone, samples=SAMPLES, rate=RATE)
