"""Classify a stream frame by frame: a model, its state, and readable predictions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.engines import open_engine
from movinet_runtime.errors import (
    LabelsError,
    ModelFileError,
    SourceError,
    StateError,
    UsageError,
)
from movinet_runtime.files import written_whole
from movinet_runtime.huge_pages import in_huge_pages
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import Fit, resized
from movinet_runtime.tensors import Array, State

DEFAULT_FPS = 5.0  # of A0-A2, for files that do not say
FRAME_COUNT = "state_frame_count"
STATE_VERSION = 1
ABOUT = "about"  # the entry of a state file that is no tensor


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


class StreamModel:
    """A loaded model; any number of streams share its weights, also from several threads.

        model = StreamModel("a0.tflite")
        front, back = model.stream(), model.stream()

    Args:
        model: path of a stream ``.tflite``.
        threads: of the engine; default: the physical cores up to four.
        labels: in the order of the logits; default: those in the file.
        engine: ``auto``, ``compiled``, ``interpreter`` or ``tflite-runtime``
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
        self.path = file.path
        self.sha256 = file.sha256
        self.metadata: Mapping[str, Any] = file.metadata
        self.engine = open_engine(file, threads, engine)
        self.labels = checked_labels(
            labels or file.metadata.get("labels"), self.engine.logits.shape[-1], str(model)
        )
        self.fps = float(file.metadata.get("fps", DEFAULT_FPS))
        _, _, height, width, _ = self.engine.image.shape
        self.size = (height, width)

    def stream(self, horizon: int | None = None) -> "StreamClassifier":
        """Begin a stream with a state of its own."""
        return StreamClassifier(self, horizon=horizon)


class StreamClassifier:
    """A stream model and where it is in its stream.

        classifier = StreamClassifier("a0.tflite")
        for frame in open_frames("clip.mp4").sampled(classifier.fps):
            print(classifier.step(frame.image).top(5))

    Args:
        model: path of a stream ``.tflite``, or a model that is loaded already.
        threads, labels, engine: see :class:`StreamModel`.
        horizon: frames that averages over time remember; default: what the file says,
            0 remembers everything. Beyond it the frame count stands still, which turns a
            running mean into an exponential one: a + (x - a) / horizon.

    Raises:
        As :class:`StreamModel`; UsageError for a horizon in a file without a frame count.
    """

    def __init__(
        self,
        model: Path | str | StreamModel,
        threads: int | None = None,
        labels: Sequence[str] | None = None,
        engine: str = "auto",
        horizon: int | None = None,
    ) -> None:
        if not isinstance(model, StreamModel):
            model = StreamModel(model, threads, labels, engine)
        self.model = model
        self.metadata, self.labels = model.metadata, model.labels
        self.fps, self.size = model.fps, model.size
        with in_huge_pages():
            self._session = model.engine.session()
        counted = model.engine.states.get(FRAME_COUNT)
        if horizon and counted is None:
            raise UsageError(
                f"{model.path} has no common frame count, which a horizon needs: export it with "
                "'movinet export', or reset the stream now and then"
            )
        default = int(model.metadata.get("horizon", 0)) if counted is not None else 0
        self.horizon = default if horizon is None else horizon
        self._start = self._session.read_state()
        self._seen = self._index = 0

    def step(self, frame: NDArray[Any], time: float | None = None, fit: Fit = "crop") -> Prediction:
        """Classify the next frame.

        Args:
            frame: uint8 [h, w, 3] RGB of any size, or float32 [height, width, 3] in
                [0, 1] of exactly the model's size.
            time: seconds, carried into the prediction.
            fit: how a frame of another aspect ratio is brought to the model's.

        Raises:
            SourceError: NaN, or another shape or dtype; the state is untouched.
            ModelFileError: the engine gave up: the file is damaged where only a run shows it.
        """
        if frame.dtype == np.uint8:
            image = resized(frame, self.size, fit)
        elif frame.shape != (*self.size, 3):
            raise SourceError(f"a float frame must be {(*self.size, 3)}, this is {frame.shape}")
        elif not np.isfinite(frame.sum()):  # one pass, no temporary
            raise SourceError("the frame holds NaN or infinite values")
        else:
            image = frame
        if self.horizon and self._seen == self.horizon:
            self._session.hold(FRAME_COUNT, _count(self.horizon - 1))
        try:
            logits = self._session.step(image)
        except RuntimeError as error:  # what was loaded may still refuse to run
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise ModelFileError(f"{self.model.path} cannot be run: {reason}") from error
        prediction = Prediction(self._index, logits, self.labels, time)
        self._index += 1
        self._seen += 1
        return prediction

    def reset(self) -> None:
        """Forget all frames: the next one is the first of a stream."""
        self._session.write_state(self._start)
        self._seen = self._index = 0

    @property
    def state(self) -> State:
        """A copy of the state after the last frame, by name."""
        return self._session.read_state()

    def restore(self, state: State) -> None:
        """Continue from a state that ``state`` gave.

        Raises:
            StateError: another model's; the present state is kept.
        """
        self._session.write_state(state)
        if FRAME_COUNT in state:
            seen = int(np.ravel(state[FRAME_COUNT])[0])
            self._seen = min(seen, self.horizon or seen)

    def save_state(self, path: Path) -> None:
        """Write the state to a file (``.npz``) that only the same model file takes back.

        Raises:
            UsageError: the file cannot be written.
        """
        about = {"version": STATE_VERSION, "model": self.model.sha256, "index": self._index}
        with written_whole(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez(file, **{ABOUT: np.array(json.dumps(about))}, **self.state)  # type: ignore[arg-type]

    def load_state(self, path: Path) -> None:
        """Continue from a file that :meth:`save_state` wrote.

        Raises:
            StateError: unreadable, or of another model; the present state is kept.
        """
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(str(arrays.pop(ABOUT)))
            version, model, index = about["version"], about["model"], int(about["index"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise StateError(f"{path} is no state that can be read: {error}") from error
        if version != STATE_VERSION:
            raise StateError(f"{path} has version {version}, this runtime knows {STATE_VERSION}")
        if model != self.model.sha256:
            raise StateError(f"{path} is the state of another model file than {self.model.path}")
        self.restore(arrays)
        self._index = index


def _count(frames: int) -> Array:
    return np.full((1, 1, 1, 1), frames, np.float32)


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
