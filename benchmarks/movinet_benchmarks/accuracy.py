"""How often models are right on labelled clips, with the states carried from frame to frame."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime import StreamClassifier, StreamModel
from movinet_runtime.errors import LabelsError

Video = Sequence[NDArray[np.uint8]]
Confusion = NDArray[np.int64]  # [true class, answered class]

# What is done to a clip before the model answers after its last frame.
MODES = {
    "clips": "the state starts anew with each clip",
    "stream": "the state is carried through many clips, bounded by the horizon",
    "shuffled": "the clip's frames in random order",
    "single": "the state starts anew with each frame: the last one alone",
}
STREAM_CLIPS = 40
LEVEL_95 = 1.96  # standard deviations


@dataclass
class Score:
    """The answers of a model in one mode."""

    model: Path
    mode: str
    confusion: Confusion

    def of(self, classes: Sequence[int] | None = None) -> tuple[int, int]:
        """Return (right answers, clips), of all classes or of some."""
        rows = range(len(self.confusion)) if classes is None else classes
        return (
            int(sum(self.confusion[row, row] for row in rows)),
            int(sum(self.confusion[row].sum() for row in rows)),
        )

    def as_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return plain values."""
        right, clips = self.of()
        low, high = interval(right, clips)
        return {
            "model": str(self.model),
            "mode": self.mode,
            "clips": clips,
            "top1": right / clips,
            "low": low,
            "high": high,
            "labels": list(labels),
            "confusion": self.confusion.tolist(),
        }


@dataclass
class Judge:
    """Shows clips to one model in one mode, and keeps the score.

    Attributes:
        classifier: with a state of its own.
        labels: the clips' classes; all are the model's.
        mode: of ``MODES``.
        stream: clips until the state starts anew, in the mode ``stream``.
        rng: of the order of frames, in the mode ``shuffled``.
    """

    classifier: StreamClassifier
    labels: Sequence[str]
    mode: str
    stream: int = STREAM_CLIPS
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        known = list(self.classifier.labels)
        unknown = [label for label in self.labels if label not in known]
        if unknown:
            raise LabelsError(
                f"{self.classifier.model.path} does not know '{unknown[0]}'; "
                f"its labels: {', '.join(known[:6])}{' ...' if len(known) > 6 else ''}"
            )
        self._seen = 0
        self._known = known
        self.score = Score(
            self.classifier.model.path, self.mode, np.zeros((len(known), len(known)), np.int64)
        )

    def show(self, video: Video, label: str) -> None:
        """Classify a clip.

        Args:
            video: uint8 [h, w, 3] frames.
            label: what it shows.
        """
        if self.mode != "stream" or self._seen % self.stream == 0:
            self.classifier.reset()
        if self.mode == "shuffled":
            video = [video[i] for i in self.rng.permutation(len(video))]
        elif self.mode == "single":
            video = video[-1:]
        for frame in video:
            prediction = self.classifier.step(frame)
        self._seen += 1
        self.score.confusion[self._known.index(label), int(prediction.logits.argmax())] += 1


def judges(
    models: Iterable[StreamModel],
    labels: Sequence[str],
    modes: Sequence[str],
    stream: int = STREAM_CLIPS,
    horizon: int | None = None,
) -> list[Judge]:
    """Return a judge for each model and mode.

    Raises:
        LabelsError: a model does not know a label.
    """
    return [
        Judge(model.stream(horizon), labels, mode, stream) for model in models for mode in modes
    ]


def interval(right: int, clips: int) -> tuple[float, float]:
    """Bound a share at 95 % (Wilson 1927, score interval)."""
    share, z = right / clips, LEVEL_95**2 / clips
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(share * (1 - share) * z + z * z / 4) / (1 + z)
    return middle - half, middle + half
