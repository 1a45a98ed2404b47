"""How often models are right on labelled clips, with the states carried from frame to frame."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.answers import Player, Video, begun
from movinet_benchmarks.clip_model import ClipModel
from movinet_models.lists import match_labels
from movinet_runtime import StreamClassifier, StreamModel
from movinet_runtime.errors import ModelFileError, UsageError

Confusion = NDArray[np.int64]  # [true class, answered class]

# What is done to a clip before the model answers after its last frame.
MODES = {
    "clips": "the state starts anew with each clip",
    "stream": "the state is carried through many clips, bounded by the horizon",
    "shuffled": "the clip's frames in random order",
    "single": "the state starts anew with each frame: the last one alone",
}
BASE_MODE = "clips"  # the only one for a model without states
STREAM_CLIPS = 40
TOP = 5
LEVEL_95 = 1.96  # standard deviations


@dataclass
class Score:
    """The answers of a model in one mode.

    Attributes:
        model: its file.
        mode: of ``MODES``.
        confusion: clips.
        in_top: clips whose class was among the five best.
    """

    model: Path
    mode: str
    confusion: Confusion
    in_top: int = 0

    def of(self, classes: Sequence[int] | None = None) -> tuple[int, int]:
        """Return (right answers, clips), of all classes or of some."""
        rows = range(len(self.confusion)) if classes is None else classes
        return (
            int(sum(self.confusion[row, row] for row in rows)),
            int(sum(self.confusion[row].sum() for row in rows)),
        )

    def of_top(self) -> int | None:
        """Return the clips with their class among the five best; None where five are all."""
        return self.in_top if len(self.confusion) > TOP else None

    def as_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return plain values."""
        right, clips = self.of()
        low, high = interval(right, clips)
        top = self.of_top()
        bounds = (None, None) if top is None else interval(top, clips)
        return {
            "model": str(self.model),
            "mode": self.mode,
            "clips": clips,
            "top1": right / clips,
            "low": low,
            "high": high,
            "top5": None if top is None else top / clips,
            "top5_low": bounds[0],
            "top5_high": bounds[1],
            "labels": list(labels),
            "confusion": self.confusion.tolist(),
        }


@dataclass
class Judge:
    """Shows clips to one model in one mode, and keeps the score.

    Attributes:
        classifier: with a state of its own, or a base model.
        labels: the clips' classes; all are the model's, but for their spelling.
        mode: of ``MODES``; base models know only the first.
        stream: clips until the state starts anew, in the mode ``stream``.
        where: the file and line that give a label, for errors.
    """

    classifier: StreamClassifier | ClipModel
    labels: Sequence[str]
    mode: str
    stream: int = STREAM_CLIPS
    where: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        known, path = self.classifier.labels, self.path
        if isinstance(self.classifier, ClipModel) and self.mode != BASE_MODE:
            raise UsageError(f"{path} has no states: a base model takes only --mode {BASE_MODE}")
        self._index = match_labels(self.labels, known, str(path), self.where)
        self.player = Player(self.classifier, self.mode)
        self._seen = 0
        self.score = Score(path, self.mode, np.zeros((len(known), len(known)), np.int64))

    @property
    def path(self) -> Path:
        """The model's file."""
        model = self.classifier
        return model.path if isinstance(model, ClipModel) else model.model.path

    @property
    def respelt(self) -> dict[str, str]:
        """The model's spelling of the clips' labels where it is another."""
        known = self.classifier.labels
        return {label: known[i] for label, i in self._index.items() if known[i] != label}

    def show(self, video: Video, labels: Sequence[str], name: str = "a clip") -> None:
        """Classify the next clip, and count it.

        Args:
            video: uint8 [h, w, 3] frames, at least one.
            labels, name: see :meth:`count`.

        Raises:
            ModelFileError: the model's answer is not a number.
        """
        self.count(
            self.player.answer(video, self._seen, not self._seen % self.stream), labels, name
        )

    def count(
        self, logits: NDArray[np.float32], labels: Sequence[str], name: str = "a clip"
    ) -> None:
        """Count an answer.

        Args:
            logits: [classes], after the clip's last frame.
            labels: what it shows; an answer is right if it is one of them.
            name: of the clip, for errors.

        Raises:
            ModelFileError: the model's answer is not a number.
        """
        if not np.isfinite(logits).all():  # argmax would make an answer of it
            raise ModelFileError(f"{self.path} gives NaN or infinite logits for {name}")
        # The best of what it shows, for which it counts.
        truth = min((self._index[label] for label in labels), key=lambda i: rank(logits, i))
        self._seen += 1
        self.score.confusion[truth, int(logits.argmax())] += 1
        self.score.in_top += rank(logits, truth) < TOP


def judges(
    models: Iterable[StreamModel | ClipModel],
    labels: Sequence[str],
    modes: Sequence[str],
    stream: int = STREAM_CLIPS,
    horizon: int | None = None,
    where: Mapping[str, str] | None = None,
) -> list[Judge]:
    """Return a judge for each model and mode.

    Raises:
        LabelsError: a model does not know a label.
        UsageError: a mode, or a horizon, for a model without states.
    """
    return [
        Judge(begun(model, horizon), labels, mode, stream, where)
        for model in models
        for mode in modes
    ]


def rank(logits: NDArray[np.float32], index: int) -> int:
    """Count the classes before one, best first; among equals the first wins, as for argmax."""
    own = logits[index]
    return int((logits > own).sum() + (logits[:index] == own).sum())


def interval(right: int, clips: int) -> tuple[float, float]:
    """Bound a share at 95 % (Wilson 1927, score interval)."""
    share, z = right / clips, LEVEL_95**2 / clips
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(share * (1 - share) * z + z * z / 4) / (1 + z)
    return middle - half, middle + half
