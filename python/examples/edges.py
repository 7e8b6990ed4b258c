"""An OpenCV effect on a running call: edges of the picture, drawn in place.

    python edges.py rm/red/in/anna/video0/raw
"""

import sys

import cv2

import remotemedia


def edges(frame: remotemedia.VideoFrame, out: remotemedia.VideoFrame) -> None:
    cv2.Canny(frame.y, 60, 120, edges=out.y)
    out.u[:] = 128
    out.v[:] = 128


if len(sys.argv) != 2:
    sys.exit("usage: edges.py CHANNEL")
remotemedia.video("edges", edges).insert(sys.argv[1], "edges", on_failure="bypass")
