"""Workers for the remotemedia router: functions over live audio and video, in place in shared memory.

``video(name, function)`` and ``audio(name, function)`` make a worker, which the router starts (``.run()``) or which
attaches to a running one (``.insert(channel, node)``). ``tap``, ``video_source`` and ``audio_source`` attach as what they
say. Frames are numpy views of the memory that the router's processes share: nothing is copied in or out.

Each task has a thread of its own, and heartbeats come from the main thread. They share the interpreter's lock: numpy,
OpenCV and ONNX Runtime release it while they compute, but a long call that holds it (a C extension that does not release
it) stops the heartbeats, and after 1 s the router takes the worker for hung.
"""

from .frame import AudioFrame, CodedFrame, Frame, VideoFrame
from .meta import AudioGeometry, Meta, Stamp, VideoGeometry, monotonic_ns
from .worker import Worker, audio, audio_source, tap, video, video_source

__all__ = [
    "AudioFrame",
    "AudioGeometry",
    "CodedFrame",
    "Frame",
    "Meta",
    "Stamp",
    "VideoFrame",
    "VideoGeometry",
    "Worker",
    "audio",
    "audio_source",
    "monotonic_ns",
    "tap",
    "video",
    "video_source",
]
