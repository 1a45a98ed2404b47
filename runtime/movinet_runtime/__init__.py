"""Run MoViNet stream models frame by frame.

    from movinet_runtime import StreamClassifier, open_frames

    classifier = StreamClassifier("a0.tflite")
    for frame in open_frames("clip.mp4").sampled(classifier.fps):
        print(classifier.step(frame.image, frame.time).top(5))
"""

from movinet_runtime.classifier import Prediction, StreamClassifier, read_labels
from movinet_runtime.errors import MovinetError
from movinet_runtime.frames import Frame, FrameSource, open_frames, sample
from movinet_runtime.preprocess import prepare

__all__ = [
    "Frame",
    "FrameSource",
    "MovinetError",
    "Prediction",
    "StreamClassifier",
    "open_frames",
    "prepare",
    "read_labels",
    "sample",
]
