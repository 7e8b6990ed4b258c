"""A tap that shows how loud a channel is; nobody waits for it.

    python level_meter.py rm/red/in/anna/audio0/raw
"""

import sys

import numpy as np

import remotemedia


def meter(frame: remotemedia.AudioFrame) -> None:
    rms = float(np.sqrt(np.mean(np.square(frame.samples))))
    decibels = 20 * np.log10(max(rms, 1e-6))
    bar = "#" * int(max(decibels + 60, 0))
    print(f"\r{decibels:6.1f} dB {bar:<60}", end="", flush=True)


if len(sys.argv) != 2:
    sys.exit("usage: level_meter.py CHANNEL")
remotemedia.tap(sys.argv[1], meter, name="level-meter")
