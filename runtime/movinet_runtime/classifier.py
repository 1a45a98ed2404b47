"""Classify a stream frame by frame: a model, its state, and readable predictions."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.engines import Session, open_engine
from movinet_runtime.errors import LabelsError, ModelFileError, SourceError, UsageError
from movinet_runtime.huge_pages import in_huge_pages
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import Fit, resized
from movinet_runtime.quiet import native_messages_hidden
from movinet_runtime.slices import Group, Slice
from movinet_runtime.state_file import StateFile, read_state_file, write_state_file
from movinet_runtime.tensors import FRAME_COUNT, Array, State

Logits = TypeVar("Logits")
DEFAULT_FPS = 5.0  # of A0-A2, for files that do not say


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says after a frame and all frames before it.

    Attributes:
        index: number of the frame in its stream, from 0.
        logits: float32 [classes], any real numbers.
        labels: their names, [classes].
        time: seconds; None only in predictions that were made by hand.
        thresholds: of classes that do not exclude each other: the probability from which on
            each is an answer, [classes]; None: they do.
    """

    index: int
    logits: Array
    labels: Sequence[str]
    time: float | None = None
    thresholds: Sequence[float] | None = None

    @cached_property
    def probabilities(self) -> Array:
        """Float32 [classes]: softmax of the logits, which sums to 1; or each one's sigmoid."""
        if self.thresholds is not None:
            return np.asarray(np.exp(-np.logaddexp(0, -self.logits)), np.float32)
        exponentials = np.exp(self.logits - self.logits.max())
        return np.asarray(exponentials / exponentials.sum(), np.float32)

    def top(self, k: int = 1) -> list[tuple[str, float]]:
        """The k most likely labels with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.labels[i], float(self.probabilities[i])) for i in best]


class StreamState(State):
    """A state as a value: its tensors by name, and how many frames it has seen.

    The tensors have the shapes and dtypes of the model's inputs of the same names.

    Attributes:
        index: number of the next frame.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], index: int = 0) -> None:
        super().__init__(tensors)
        self.index = index


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

    Attributes:
        fps: frames a second that it expects.
        size: (height, width) of its frames, pixels.
        streams: how many run in one step (:func:`step_together`).
        labels: [classes].
        thresholds: see :class:`Prediction`.
        metadata: what the file says about itself (docs/model-file.md).

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
        about = file.description
        self.path = file.path
        self.sha256 = file.sha256
        self.metadata: Mapping[str, Any] = file.metadata
        self.engine = open_engine(file, threads, engine)
        named = labels or (about.labels if about else None)
        self.labels = list(checked_labels(named, self.engine.logits.shape[-1], str(model)))
        self.thresholds = about.thresholds if about else None
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            raise ModelFileError(
                f"{model} has {len(self.thresholds)} thresholds for {len(self.labels)} logits"
            )
        self.fps = about.fps if about else DEFAULT_FPS
        counts = FRAME_COUNT in self.engine.states
        self.horizon = about.horizon if about and counts else 0  # 0: none
        self.streams, _, height, width, _ = self.engine.image.shape
        self.size = (height, width)
        self._groups: list[Group] = []
        self._lock = Lock()

    def stream(self, horizon: int | None = None) -> "StreamClassifier":
        """Begin a stream with a state of its own.

        Where the file has several streams in a step, it is the next free slice of one.
        """
        return StreamClassifier(self, horizon=horizon)

    def session(self) -> Session:
        """Return what runs one stream, from all zeros on."""
        if self.streams == 1:
            return self.engine.session()
        with self._lock:
            for group in self._groups:
                if (taken := group.take()) is not None:
                    return taken
            engine = self.engine
            self._groups.append(Group(engine.session(), engine.states, engine.image))
            return self._groups[-1].take() or engine.session()


class StreamClassifier:
    """A stream model and where it is in its stream.

        classifier = StreamClassifier("a0.tflite")
        for frame in open_frames("clip.mp4").sampled(classifier.fps):
            print(classifier.step(frame.image, frame.time).top(5))

    Args:
        model: path of a stream ``.tflite``, or a model that is loaded already, which has
            its threads, labels and engine.
        threads, labels, engine: see :class:`StreamModel`; of a path only.
        horizon: frames that averages over time remember; default: what the file says,
            0 remembers everything. Beyond it the frame count stands still, which turns a
            running mean into an exponential one: a + (x - a) / horizon.

    Raises:
        As :class:`StreamModel`; UsageError for a horizon in a file without a frame count,
        and for threads, labels or engine of a model that is loaded already.
    """

    def __init__(
        self,
        model: Path | str | StreamModel,
        threads: int | None = None,
        labels: Sequence[str] | None = None,
        engine: str | None = None,
        horizon: int | None = None,
    ) -> None:
        if not isinstance(model, StreamModel):
            model = StreamModel(model, threads, labels, engine or "auto")
        elif not (threads is None and labels is None and engine is None):
            raise UsageError(
                "a loaded model has its threads, labels and engine: give them to StreamModel(...)"
            )
        self.model = model
        self.metadata, self.labels = model.metadata, model.labels
        self.fps, self.size, self.thresholds = model.fps, model.size, model.thresholds
        if horizon and FRAME_COUNT not in model.engine.states:
            raise UsageError(
                f"{model.path} has no common frame count, which a horizon needs: export it with "
                "'movinet export', or reset the stream now and then"
            )
        if horizon is not None and horizon < 0:
            raise UsageError(f"a horizon is a number of frames, 0 for all, not {horizon}")
        with in_huge_pages():
            self._session = model.session()
        self.horizon = model.horizon if horizon is None else horizon
        self._start = self._session.read_state()
        self._seen = self._index = 0
        self._ran = False

    def step(self, frame: NDArray[Any], time: float | None = None, fit: Fit = "crop") -> Prediction:
        """Classify the next frame.

        Args:
            frame: uint8 [h, w, 3] RGB of any size, or float32 [height, width, 3] in
                [0, 1] of exactly the model's size. Nothing else: int or float64 frames of
                0 to 255 would be taken for something that they are not.
            time: seconds, carried into the prediction; default: as if frames came at the
                model's rate, their number over :attr:`fps`.
            fit: how a frame of another aspect ratio is brought to the model's.

        Raises:
            SourceError: another shape, dtype or range, NaN; the state is untouched.
            ModelFileError: the engine gave up: the file is damaged where only a run shows it.
        """
        return self.step_as_is(self.prepared(frame, fit), time)

    def prepared(self, frame: NDArray[Any], fit: Fit = "crop") -> NDArray[Any]:
        """Return a frame as the model takes it; see :meth:`step`.

        Raises:
            SourceError: as :meth:`step`.
        """
        return resized(frame, self.size, fit) if frame.dtype == np.uint8 else self._checked(frame)

    def step_as_is(self, image: NDArray[Any], time: float | None = None) -> Prediction:
        """Classify what the model is given, whatever its range: for experiments.

        Args:
            image: uint8 or float32 [height, width, 3] of exactly the model's size.
            time: as in :meth:`step`.

        Raises:
            SourceError, ModelFileError: as in :meth:`step`.
        """
        time = self._time(time)
        return self._predicted(self._run(lambda: self._session.step(image)), time)

    def _time(self, time: float | None) -> float:
        """Return a frame's time, and hold the count of frames if it is at the horizon."""
        if time is None:
            time = self._index / self.fps
        elif not math.isfinite(time):
            raise SourceError(f"a frame's time is in seconds, not {time}")
        if self.horizon and self._seen == self.horizon:
            self._session.hold(FRAME_COUNT, _count(self.horizon - 1))
        return time

    def _run(self, step: Callable[[], Logits]) -> Logits:
        """Run a frame; in the first one the engine sees what it cannot do, and says a lot."""
        try:
            with nullcontext() if self._ran else native_messages_hidden():
                logits = step()
        except RuntimeError as error:  # what was loaded may still refuse to run
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise ModelFileError(f"{self.model.path} cannot be run: {reason}") from error
        self._ran = True
        return logits

    def _predicted(self, logits: Array, time: float) -> Prediction:
        prediction = Prediction(self._index, logits, self.labels, time, self.thresholds)
        self._index += 1
        self._seen += 1
        return prediction

    def _checked(self, frame: NDArray[Any]) -> NDArray[np.float32]:
        """Return a float frame that the model may see as it is."""
        if frame.dtype != np.float32:
            raise SourceError(
                f"a frame must be uint8, or float32 from 0 to 1, this is {frame.dtype}"
            )
        if frame.shape != (*self.size, 3):
            raise SourceError(f"a float frame must be {(*self.size, 3)}, this is {frame.shape}")
        if not (frame.min() >= 0 and frame.max() <= 1):  # NaN fails as well
            if not np.isfinite(frame).all():
                raise SourceError("the frame holds NaN or infinite values")
            raise SourceError(
                f"a float frame must be from 0 to 1, this is from {frame.min():g} to "
                f"{frame.max():g}"
            )
        return frame

    def reset(self, keep_index: bool = False) -> None:
        """Forget all frames: the next one is the first of a stream.

        Args:
            keep_index: let frame numbers run on; else they begin at 0 again.
        """
        self._session.write_state(self._start)
        self._seen = 0
        if not keep_index:
            self._index = 0

    @property
    def state(self) -> StreamState:
        """A copy of the state after the last frame, by name."""
        return StreamState(self._session.read_state(), self._index)

    def restore(self, state: State) -> None:
        """Continue from a state that :attr:`state` gave, with its frame number.

        A plain mapping of tensors is taken as well; its frames are numbered from 0.

        Raises:
            StateError: another model's, or NaN in it; the present state is kept.
        """
        self._session.write_state(state)
        self._index = state.index if isinstance(state, StreamState) else 0
        if FRAME_COUNT in state:
            seen = int(np.ravel(state[FRAME_COUNT])[0])
            self._seen = min(seen, self.horizon or seen)

    def save_state(self, path: Path) -> None:
        """Write the state to a file (``.npz``) that only the same model file takes back.

        Raises:
            OutputError: the file cannot be written.
        """
        write_state_file(Path(path), self.state_file())

    def state_file(self) -> StateFile:
        """Return what :meth:`save_state` writes."""
        return StateFile(self.model.sha256, self._index, self._session.read_state())

    def load_state(self, path: Path) -> None:
        """Continue from a file that :meth:`save_state` wrote, as :meth:`restore` does.

        Raises:
            StateError: unreadable, damaged or of another model; the present state is kept.
        """
        found = read_state_file(Path(path), self.model.engine.states, self.model.sha256)
        self.restore(StreamState(found.tensors, found.index))


def step_together(
    frames: Mapping[StreamClassifier, NDArray[Any]],
    times: Mapping[StreamClassifier, float] | None = None,
    fit: Fit = "crop",
) -> dict[StreamClassifier, Prediction]:
    """Classify a frame of each of several streams; slices of one step run in one.

        model = StreamModel("a0-4.tflite")  # movinet export --streams 4
        door, yard = model.stream(), model.stream()
        found = step_together({door: one, yard: other})

    Args:
        frames: as in :meth:`StreamClassifier.step`, by stream; of any models.
        times: seconds, by stream.
        fit: as in :meth:`StreamClassifier.step`.

    Raises:
        SourceError, ModelFileError: as :meth:`StreamClassifier.step`; no state has changed
            if a frame is refused.
    """
    images = {stream: stream.prepared(frame, fit) for stream, frame in frames.items()}
    seconds = {stream: stream._time((times or {}).get(stream)) for stream in frames}
    groups: dict[int, list[StreamClassifier]] = {}
    for stream in frames:
        session = stream._session
        key = id(session.group if isinstance(session, Slice) else session)
        groups.setdefault(key, []).append(stream)
    found: dict[StreamClassifier, Prediction] = {}
    for first, *others in groups.values():
        session = first._session
        if not others or not isinstance(session, Slice):
            found[first] = first.step_as_is(images[first], seconds[first])
            continue
        together = [(one, one._session) for one in (first, *others)]
        slices = {s.index: one for one, s in together if isinstance(s, Slice)}
        pictures = {index: images[one] for index, one in slices.items()}
        logits = first._run(partial(session.group.step, pictures))
        for index, one in slices.items():
            found[one] = one._predicted(logits[index], seconds[one])
    return {stream: found[stream] for stream in frames}


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
