"""How true a variant is to the float32 model, on streams with the runtime's own state loop."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime import StreamClassifier, frames_at
from movinet_runtime.errors import ModelFileError

Logits = NDArray[np.float32]
Frames = list[NDArray[np.uint8]]
Progress = Callable[[int], None]

LONG_FRAMES = 500
# Below this difference between the two best logits the float model is undecided itself.
MARGIN = 0.2
# Frames at each end of the long stream whose errors are compared.
DRIFT_FRAMES = 50


@dataclass(frozen=True)
class Measures:
    """A variant's logits beside the reference's over some frames.

    Attributes:
        frames: how many.
        sqnr_db: energy of the reference's logits over that of the difference.
        worst_frame: index of the frame with the lowest ratio, and
        worst_db: that ratio.
        agreement: share of frames with the same best label; logits that are not all
            numbers have none.
        decided: share of frames in which the reference's best logit leads by ``MARGIN``.
        decided_agreement: agreement on those; None if there are none.
        kl: mean Kullback-Leibler divergence of the probabilities, nats; None if it is no
            number.
        drift_db: ratio of the first ``DRIFT_FRAMES`` less that of the last; positive
            means that it grows worse.
    """

    frames: int
    sqnr_db: float
    worst_frame: int
    worst_db: float
    agreement: float
    decided: float
    decided_agreement: float | None
    kl: float | None
    drift_db: float


@dataclass(frozen=True)
class StateHealth:
    """A quantized state at the end of the long stream.

    Attributes:
        saturated: share of codes at either end of the range.
        stalled: share of codes that did not change in the last frame.
    """

    name: str
    saturated: float
    stalled: float


@dataclass(frozen=True)
class Fidelity:
    """A variant against the reference, on short streams and on one long stream.

    Base models have no streams: each of their short ones is a clip, with one answer.
    """

    path: Path
    short: Measures
    long: Measures | None
    states: list[StateHealth] = field(default_factory=list)
    error_db: list[float] = field(default_factory=list)  # of each frame of the long stream

    @property
    def parts(self) -> dict[str, Measures]:
        """Short streams, and the long one where there is one, by name."""
        return {"short": self.short} | ({} if self.long is None else {"long": self.long})

    @property
    def worst_sqnr_db(self) -> float:
        """The ratio of the worse of both; NaN if either is."""
        return float(np.min([measures.sqnr_db for measures in self.parts.values()]))

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class Streams:
    """Decoded clips: each a short stream, and one long stream through all of them."""

    clips: list[Frames]
    long_frames: int = LONG_FRAMES

    @classmethod
    def read(
        cls, paths: Sequence[Path], size: tuple[int, int], fps: float, long_frames: int
    ) -> "Streams":
        """Decode clips at the model's size and rate.

        Raises:
            SourceError: one of them cannot be read.
        """
        return cls([list(frames_at(path, size, fps)) for path in paths], long_frames)

    def long(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the clips one after the other, again from the start, without a reset.

        Every other round runs backwards: the camera never stops, the scenes change.
        """
        return islice(self._endless(), self.long_frames)

    def _endless(self) -> Iterator[NDArray[np.uint8]]:
        while True:
            for clip in self.clips:
                yield from clip
            for clip in self.clips:
                yield from reversed(clip)

    @property
    def frames(self) -> int:
        """Frames of all streams together."""
        return sum(len(clip) for clip in self.clips) + self.long_frames


@dataclass(frozen=True)
class Recording:
    """Logits of one model over all streams."""

    short: list[Logits]
    long: Logits
    states: list[StateHealth]


class Recorder:
    """Runs a model over streams.

    Args:
        model: its file.
        threads: of the engine; default: see :class:`~movinet_runtime.StreamModel`.
        progress: called with 1 after each frame.

    Raises:
        ModelFileError: not a stream model.
    """

    def __init__(
        self, model: Path, threads: int | None = None, progress: Progress = lambda n: None
    ) -> None:
        self._classifier = StreamClassifier(model, threads)
        self._progress = progress

    def short(self, frames: Iterable[NDArray[np.uint8]]) -> Logits:
        """Return the logits [frames, classes] of a stream of its own."""
        self._classifier.reset()
        return np.stack([self._step(frame) for frame in frames])

    def long(self, streams: Streams) -> tuple[Logits, list[StateHealth]]:
        """Return the same of the long stream, and how int8 states are at its end."""
        *before, last = streams.long()
        logits = self.short(before)
        state = self._classifier.state
        logits = np.concatenate([logits, self._step(last)[None]])
        states = [
            _health(name, state[name], after)
            for name, after in self._classifier.state.items()
            if after.dtype == np.int8
        ]
        return logits, states

    def _step(self, frame: NDArray[np.uint8]) -> Logits:
        logits = self._classifier.step(frame).logits
        self._progress(1)
        return logits


def record(model: Path, streams: Streams, progress: Progress = lambda n: None) -> Recording:
    """Run a model over streams.

    Raises:
        ModelFileError: not a stream model.
    """
    recorder = Recorder(model, progress=progress)
    short = [recorder.short(clip) for clip in streams.clips]
    return Recording(short, *recorder.long(streams))


def compare(path: Path, found: Recording, reference: Recording) -> Fidelity:
    """Measure a recording against the reference's.

    Raises:
        ModelFileError: another number of classes, or a reference that is not all numbers.
    """
    if found.long.shape != reference.long.shape:
        raise ModelFileError(
            f"{path} has {found.long.shape[1]} classes, the reference {reference.long.shape[1]}"
        )
    if not all(np.isfinite(logits).all() for logits in (*reference.short, reference.long)):
        raise ModelFileError("the logits of the float32 file are not all numbers")
    return Fidelity(
        path,
        measures_of(np.concatenate(found.short), np.concatenate(reference.short)),
        measures_of(found.long, reference.long),
        found.states,
        [round(float(x), 2) for x in frame_sqnr(found.long, reference.long)],
    )


def measures_of(found: Logits, reference: Logits) -> Measures:
    """Compare logits [frames, classes] with the reference's, which are numbers."""
    each = frame_sqnr(found, reference)
    best = reference.argmax(axis=1)
    # argmax takes NaN for the largest, and might be right by chance.
    agree = (found.argmax(axis=1) == best) & np.isfinite(found).all(axis=1)
    second = np.sort(reference, axis=1)[:, -2:-1]  # none where there is one class
    decided = (reference.max(axis=1, keepdims=True) - second > MARGIN).all(axis=1)
    kl = None
    if np.isfinite(found).all():
        p, q = _log_softmax(reference), _log_softmax(found)
        kl = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    ends = min(DRIFT_FRAMES, len(found) // 2) or 1
    return Measures(
        frames=len(found),
        sqnr_db=sqnr(found, reference),
        worst_frame=int(each.argmin()),
        worst_db=float(each.min()),
        agreement=float(agree.mean()),
        decided=float(decided.mean()),
        decided_agreement=float(agree[decided].mean()) if decided.any() else None,
        kl=kl,
        drift_db=sqnr(found[:ends], reference[:ends]) - sqnr(found[-ends:], reference[-ends:]),
    )


# Equal logits would be infinitely true; JSON has no word for it.
MAX_DB = 200.0


def sqnr(found: Logits, reference: Logits) -> float:
    """Signal to quantization noise, dB, over all values together."""
    signal = np.square(reference, dtype=np.float64).sum()
    noise = np.square(found.astype(np.float64) - reference).sum()
    return sqnr_of_sums(float(signal), float(noise))


def sqnr_of_sums(signal: float, noise: float) -> float:
    """Turn two sums of squares into dB.

    What is no number is as untrue as can be: a gate must not see NaN, which is neither
    below a limit nor above it.
    """
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return -MAX_DB
    ratio = max(signal, 1e-300) / max(noise, 1e-300)
    return float(np.clip(10 * math.log10(ratio), -MAX_DB, MAX_DB))


def frame_sqnr(found: Logits, reference: Logits) -> NDArray[np.float64]:
    """Signal to quantization noise of each frame, dB."""
    return np.array([sqnr(f, r) for f, r in zip(found, reference, strict=True)])


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _health(name: str, before: NDArray[Any], after: NDArray[Any]) -> StateHealth:
    limits = np.iinfo(after.dtype)
    ends = (after == limits.min) | (after == limits.max)
    return StateHealth(name, float(ends.mean()), float((before == after).mean()))
