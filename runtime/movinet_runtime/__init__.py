"""Run MoViNet stream models frame by frame.

    from movinet_runtime import StreamClassifier, open_frames

    classifier = StreamClassifier("a0.tflite")
    for frame in open_frames("clip.mp4").sampled(classifier.fps):
        print(classifier.step(frame.image, frame.time).top(5))

Names are imported when they are first used: the command line's help needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from movinet_runtime.classifier import (
        Prediction,
        StreamClassifier,
        StreamModel,
        read_labels,
    )
    from movinet_runtime.decisions import Event, Selection, events, smoothed
    from movinet_runtime.errors import MovinetError
    from movinet_runtime.preprocess import prepare
    from movinet_runtime.sources import open_frames
    from movinet_runtime.sources.frame import Frame, sample
    from movinet_runtime.sources.source import FrameSource

_HOMES = {
    "Event": "decisions",
    "Selection": "decisions",
    "events": "decisions",
    "smoothed": "decisions",
    "Frame": "sources.frame",
    "FrameSource": "sources.source",
    "MovinetError": "errors",
    "Prediction": "classifier",
    "StreamClassifier": "classifier",
    "StreamModel": "classifier",
    "open_frames": "sources",
    "prepare": "preprocess",
    "read_labels": "classifier",
    "sample": "sources.frame",
}

__all__ = [
    "Event",
    "Frame",
    "FrameSource",
    "MovinetError",
    "Prediction",
    "Selection",
    "StreamClassifier",
    "StreamModel",
    "events",
    "open_frames",
    "prepare",
    "read_labels",
    "sample",
    "smoothed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'movinet_runtime' has no attribute '{name}'")
    return getattr(import_module(f"movinet_runtime.{_HOMES[name]}"), name)
