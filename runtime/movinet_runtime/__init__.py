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
        StreamState,
        read_labels,
        step_together,
    )
    from movinet_runtime.decisions import Event, EventTracker, Selection, Smoother, events, smoothed
    from movinet_runtime.description import Description
    from movinet_runtime.errors import (
        CompiledEngineError,
        ConfigError,
        LabelsError,
        LostError,
        MissingPackageError,
        ModelFileError,
        MovinetError,
        NoFramesError,
        OutputError,
        SourceError,
        StateError,
        UsageError,
        WorkersError,
    )
    from movinet_runtime.inspection import Inspection, inspect
    from movinet_runtime.model_file import ModelFile
    from movinet_runtime.outputs.video import frame_writer, save_frames
    from movinet_runtime.preprocess import prepare, resized
    from movinet_runtime.sources import open_frames
    from movinet_runtime.sources.clips import frames_at
    from movinet_runtime.sources.frame import Frame, sample
    from movinet_runtime.sources.live import LiveSource
    from movinet_runtime.sources.pipe import PipeSource
    from movinet_runtime.sources.source import FrameSource, Run, Source
    from movinet_runtime.stream import Stream

_HOMES = {
    "CompiledEngineError": "errors",
    "ConfigError": "errors",
    "Description": "description",
    "Event": "decisions",
    "EventTracker": "decisions",
    "Frame": "sources.frame",
    "FrameSource": "sources.source",
    "Inspection": "inspection",
    "LabelsError": "errors",
    "LiveSource": "sources.live",
    "LostError": "errors",
    "MissingPackageError": "errors",
    "ModelFile": "model_file",
    "ModelFileError": "errors",
    "NoFramesError": "errors",
    "MovinetError": "errors",
    "OutputError": "errors",
    "PipeSource": "sources.pipe",
    "Prediction": "classifier",
    "Run": "sources.source",
    "Selection": "decisions",
    "Smoother": "decisions",
    "Source": "sources.source",
    "SourceError": "errors",
    "StateError": "errors",
    "Stream": "stream",
    "StreamClassifier": "classifier",
    "StreamModel": "classifier",
    "StreamState": "classifier",
    "UsageError": "errors",
    "WorkersError": "errors",
    "events": "decisions",
    "frame_writer": "outputs.video",
    "frames_at": "sources.clips",
    "inspect": "inspection",
    "open_frames": "sources",
    "prepare": "preprocess",
    "read_labels": "classifier",
    "resized": "preprocess",
    "sample": "sources.frame",
    "save_frames": "outputs.video",
    "smoothed": "decisions",
    "step_together": "classifier",
}

__all__ = [
    "CompiledEngineError",
    "ConfigError",
    "Description",
    "Event",
    "EventTracker",
    "Frame",
    "FrameSource",
    "Inspection",
    "LabelsError",
    "LiveSource",
    "LostError",
    "MissingPackageError",
    "ModelFile",
    "ModelFileError",
    "MovinetError",
    "NoFramesError",
    "OutputError",
    "PipeSource",
    "Prediction",
    "Run",
    "Selection",
    "Smoother",
    "Source",
    "SourceError",
    "StateError",
    "Stream",
    "StreamClassifier",
    "StreamModel",
    "StreamState",
    "UsageError",
    "WorkersError",
    "events",
    "frame_writer",
    "frames_at",
    "inspect",
    "open_frames",
    "prepare",
    "read_labels",
    "resized",
    "sample",
    "save_frames",
    "smoothed",
    "step_together",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'movinet_runtime' has no attribute '{name}'")
    return getattr(import_module(f"movinet_runtime.{_HOMES[name]}"), name)
