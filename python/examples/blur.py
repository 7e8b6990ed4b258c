"""A worker that the router starts: a blur whose strength a call may change. Its name in a pipeline is `PyBlur`."""

from typing import Any

import cv2

import remotemedia

SCHEMA = {"type": "object", "properties": {"sigma": {"type": "number", "exclusiveMinimum": 0}}}


class Blur:
    def __init__(self, params: dict[str, Any]) -> None:
        self.sigma = float(params.get("sigma", 3.0))

    def on_params(self, changes: dict[str, Any]) -> None:
        self.sigma = float(changes.get("sigma", self.sigma))

    def process(self, frame: remotemedia.VideoFrame, out: remotemedia.VideoFrame) -> None:
        cv2.GaussianBlur(frame.y, (0, 0), self.sigma, dst=out.y)
        cv2.GaussianBlur(frame.u, (0, 0), self.sigma / 2, dst=out.u)
        cv2.GaussianBlur(frame.v, (0, 0), self.sigma / 2, dst=out.v)


if __name__ == "__main__":
    remotemedia.video("PyBlur", Blur, params_schema=SCHEMA).run()
