"""Classify a stream frame by frame: a model, its state, and readable predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.engines import open_engine
from movinet_runtime.errors import LabelsError, SourceError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import Fit, resized
from movinet_runtime.tensors import Array, State

DEFAULT_FPS = 5.0  # of A0-A2, for files that do not say


@dataclass(frozen=True)
class Prediction:
    """What the model says after a frame and all frames before it."""

    index: int
    logits: Array
    labels: Sequence[str]
    time: float | None = None  # seconds since the first frame

    @cached_property
    def probabilities(self) -> Array:
        """Softmax of the logits, [classes]."""
        exponentials = np.exp(self.logits - self.logits.max())
        return np.asarray(exponentials / exponentials.sum(), np.float32)

    def top(self, k: int = 1) -> list[tuple[str, float]]:
        """The k most likely labels with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.labels[i], float(self.probabilities[i])) for i in best]


class StreamClassifier:
    """A stream model and where it is in its stream.

        classifier = StreamClassifier("a0.tflite")
        for frame in open_frames("clip.mp4").sampled(classifier.fps):
            print(classifier.step(frame.image).top(5))

    Args:
        model: path of a stream ``.tflite``.
        threads: of the engine; default: all cores up to four.
        labels: in the order of the logits; default: those in the file.
        engine: ``auto``, ``compiled`` or ``interpreter``
            (:func:`movinet_runtime.engines.open_engine`).

    Raises:
        ModelFileError: missing, damaged, or no stream model.
        UsageError: no such engine here.
        LabelsError: not as many labels as logits.
    """

    def __init__(
        self,
        model: Path | str,
        threads: int | None = None,
        labels: Sequence[str] | None = None,
        engine: str = "auto",
    ) -> None:
        file = ModelFile.read(model)
        self.metadata: Mapping[str, Any] = file.metadata
        self._engine = open_engine(file, threads, engine)
        self.labels = checked_labels(
            labels or file.metadata.get("labels"), self._engine.logits.shape[-1], str(model)
        )
        self.fps = float(file.metadata.get("fps", DEFAULT_FPS))
        _, _, height, width, _ = self._engine.image.shape
        self.size = (height, width)
        self._start = self._engine.read_state()
        self._index = 0

    def step(self, frame: NDArray[Any], time: float | None = None, fit: Fit = "crop") -> Prediction:
        """Classify the next frame.

        Args:
            frame: uint8 [h, w, 3] RGB of any size, or float32 [height, width, 3] in
                [0, 1] of exactly the model's size.
            time: seconds, carried into the prediction.
            fit: how a frame of another aspect ratio is brought to the model's.

        Raises:
            SourceError: NaN, or another shape or dtype; the state is untouched.
        """
        if frame.dtype == np.uint8:
            image = resized(frame, self.size, fit)
        elif frame.shape != (*self.size, 3):
            raise SourceError(f"a float frame must be {(*self.size, 3)}, this is {frame.shape}")
        elif not np.isfinite(frame.sum()):  # one pass, no temporary
            raise SourceError("the frame holds NaN or infinite values")
        else:
            image = frame
        logits = self._engine.step(image)
        prediction = Prediction(self._index, logits, self.labels, time)
        self._index += 1
        return prediction

    def reset(self) -> None:
        """Forget all frames: the next one is the first of a stream."""
        self._engine.write_state(self._start)
        self._index = 0

    @property
    def state(self) -> State:
        """A copy of the state after the last frame, by name."""
        return self._engine.read_state()

    def restore(self, state: State) -> None:
        """Continue from a state that ``state`` gave.

        Raises:
            StateError: another model's; the present state is kept.
        """
        self._engine.write_state(state)


def checked_labels(labels: Sequence[str] | None, classes: int, what: str) -> Sequence[str]:
    """Return the labels, or ``class 0`` ... where there are none.

    Raises:
        LabelsError: their number is not that of the logits.
    """
    if labels is None:
        return [f"class {i}" for i in range(classes)]
    if len(labels) != classes:
        raise LabelsError(f"{what}: {len(labels)} labels for {classes} logits")
    return labels


def read_labels(path: Path) -> list[str]:
    """Read labels from a text file, one a line in the order of the logits (UTF-8).

    Raises:
        LabelsError: unreadable or empty.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise LabelsError(f"cannot read the labels {path}: {reason}") from error
    labels = [line.strip() for line in lines if line.strip()]
    if not labels:
        raise LabelsError(f"{path} holds no labels")
    return labels
