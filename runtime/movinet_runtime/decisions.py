"""From predictions to decisions: smoothing, which labels count, and events.

Each step is an object that is fed one prediction after the other and can begin anew, and a
function from iterable to iterator, so that they chain:

    for event in events(smoothed(predictions, mean=5), on=0.6):
        print(event)
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from movinet_runtime.classifier import Prediction
from movinet_runtime.errors import LabelsError, UsageError
from movinet_runtime.tensors import Array

# The class of whatever is none of the others: a training's folder of that name. It is an answer,
# but no event.
NOTHING = "nothing"
ON = 0.5  # an action starts at this probability, where neither user nor model says another


class Smoother:
    """Averages the probabilities of one stream over time.

    Args:
        decay: share of the past in an exponential average, 0 (none) to below 1.
        mean: or the mean over so many frames; 0: not.

    Raises:
        UsageError: both, or out of range.
    """

    def __init__(self, decay: float = 0.0, mean: int = 0) -> None:
        if decay and mean:
            raise UsageError("smooth by a decay or by a mean over frames, not both")
        if not 0 <= decay < 1 or mean < 0:
            raise UsageError("a decay is from 0 to below 1, a mean over 1 frame or more")
        self._decay, self._mean = decay, mean
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._window: deque[Array] = deque(maxlen=self._mean or 1)
        self._average: Array | None = None

    def update(self, prediction: Prediction) -> Prediction:
        """Return the prediction with the average that it makes."""
        if not self._decay and not self._mean:
            return prediction
        now = prediction.probabilities
        if self._mean:
            self._window.append(now)
            average = np.asarray(np.mean(self._window, axis=0), np.float32)
        elif self._average is None:
            average = now
        else:
            average = self._decay * self._average + (1 - self._decay) * now
        self._average = average
        # Logits with just these probabilities.
        logits = np.log(np.maximum(average, 1e-30))
        if prediction.thresholds is not None:
            logits = logits - np.log(np.maximum(1 - average, 1e-30))
        return replace(prediction, logits=logits.astype(np.float32))


def smoothed(
    predictions: Iterable[Prediction], decay: float = 0.0, mean: int = 0
) -> Iterator[Prediction]:
    """Average the probabilities of one stream, in order: see :class:`Smoother`."""
    smoother = Smoother(decay, mean)
    return (smoother.update(prediction) for prediction in predictions)


@dataclass(frozen=True)
class Selection:
    """Which labels may be answers, and from which probability on.

    Probabilities are not shared out anew: what is left out takes its part with it.
    """

    allowed: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()
    threshold: float = 0.0

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        allow: Sequence[str] = (),
        deny: Sequence[str] = (),
        threshold: float = 0.0,
    ) -> "Selection":
        """Check names against the model's labels.

        Raises:
            LabelsError: a name that is no label.
        """
        unknown = sorted({*allow, *deny} - set(labels))
        if unknown:
            close = _close(unknown[0], labels)
            raise LabelsError(
                f"no label '{unknown[0]}' in the model"
                + (f"; did you mean {close}?" if close else "")
            )
        return cls(frozenset(allow) if allow else None, frozenset(deny), threshold)

    def admits(self, label: str) -> bool:
        """Whether a label may be an answer at all."""
        return label not in self.denied and (self.allowed is None or label in self.allowed)

    def is_event(self, label: str) -> bool:
        """Whether a label may begin an event: :data:`NOTHING` only where it is asked for."""
        return self.admits(label) and (label != NOTHING or self.allowed is not None)

    def top(self, prediction: Prediction, k: int = 1) -> list[tuple[str, float]]:
        """The k most likely of the labels that count, best first; perhaps none."""
        if self.allowed is None and not self.denied:
            best = prediction.top(k)
        else:
            ranked = prediction.top(len(prediction.labels))
            best = [(label, p) for label, p in ranked if self.admits(label)][:k]
        return [(label, p) for label, p in best if p >= self.threshold]


def _close(name: str, labels: Sequence[str]) -> str:
    import difflib

    return ", ".join(f"'{match}'" for match in difflib.get_close_matches(name, labels, n=3))


@dataclass(frozen=True)
class Event:
    """An action begins or ends.

    Attributes:
        kind: what happened.
        label: the action.
        time: seconds at which it began or ended, not at which it was certain.
        index: frame at which it was certain.
        probability: at that frame when it starts, the highest so far when it ends.
        duration: seconds, of an end.
    """

    kind: Literal["start", "end"]
    label: str
    time: float
    index: int
    probability: float
    duration: float | None = None


@dataclass
class _Track:
    """What is known of one label between two frames."""

    active: bool = False
    since: float | None = None  # of the crossing that is not yet certain
    frames: int = 0  # on that side of it
    began: float = 0.0
    peak: float = 0.0


def _check(on: Array, off: Array) -> None:
    wrong = np.flatnonzero(~((off > 0) & (off <= on) & (on <= 1))).tolist()
    if wrong:
        low, high = off[wrong[0]], on[wrong[0]]
        raise UsageError(f"events need 0 < off <= on <= 1, not off {low:g} and on {high:g}")


class EventTracker:
    """Turns the probabilities of one stream into starts and ends of actions.

        probability   ____/~~~~~\\_/~~~~\\______     on: upper, off: lower threshold
        event             start          end       each certain after min_duration and patience

    Args:
        on: an action starts when it stays at or above this (default: the label's own threshold
            where classes do not exclude each other, else 0.5), and
        off: ends when it stays below this (default: 0.7 of ``on``),
        min_duration: for so many seconds, and
        patience: so many frames in a row.
        selection: the labels that count; :data:`NOTHING` does not, unless it is allowed.

    Raises:
        UsageError: thresholds that are no hysteresis.
    """

    def __init__(
        self,
        on: float | None = None,
        off: float | None = None,
        min_duration: float = 0.4,
        selection: Selection | None = None,
        patience: int = 1,
    ) -> None:
        self._on, self._off, self._least, self._patience = on, off, min_duration, patience
        highest = 1.0 if on is None else on  # a model may say any
        _check(np.array([highest]), np.array([0.7 * highest if off is None else off]))
        self._on_off: tuple[Array, Array] | None = None
        self._selection = selection or Selection()
        self._tracks: dict[str, _Track] = {}
        self._time, self._index = 0.0, 0

    def update(self, prediction: Prediction) -> list[Event]:
        """Return the events that became certain with this prediction.

        Raises:
            UsageError: it has no time.
        """
        if prediction.time is None:
            raise UsageError("events need times in seconds: Prediction(..., time=...)")
        self._time, self._index = prediction.time, prediction.index
        probabilities = prediction.probabilities
        if self._on_off is None:
            self._on_off = self.levels(len(probabilities), prediction.thresholds)
            self._places = {label: i for i, label in enumerate(prediction.labels)}
        on, off = self._on_off
        likely = {prediction.labels[i] for i in np.flatnonzero(probabilities >= off).tolist()}
        found = []
        for label in sorted(likely | self._tracks.keys()):
            if not self._selection.is_event(label):
                continue
            track = self._tracks.setdefault(label, _Track())
            i = self._places[label]
            levels = float(on[i]), float(off[i])
            event = self._follow(track, label, float(probabilities[i]), *levels)
            if event is not None:
                found.append(event)
            if not track.active and track.since is None:
                del self._tracks[label]
        return found

    def end(self) -> list[Event]:
        """Return the ends of what is active, at the last prediction, and forget the stream."""
        ends = []
        for label, track in sorted(self._tracks.items()):
            if track.active:
                ended = self._time if track.since is None else track.since
                lasted = ended - track.began
                ends.append(Event("end", label, ended, self._index, track.peak, lasted))
        self._tracks.clear()
        return ends

    def levels(
        self, classes: int, thresholds: Sequence[float] | None = None
    ) -> tuple[Array, Array]:
        """Return the upper and the lower threshold of each class.

        Args:
            classes: their number.
            thresholds: of classes that do not exclude each other; None: they do.

        Raises:
            UsageError: they are no hysteresis.
        """
        own = ON if thresholds is None else np.asarray(thresholds)
        on: Array = np.full(classes, own if self._on is None else self._on)
        off: Array = 0.7 * on if self._off is None else np.full(classes, self._off)
        _check(on, off)
        return on, off

    def _follow(
        self, track: _Track, label: str, probability: float, on: float, off: float
    ) -> Event | None:
        """Follow one label by one frame; return the event that became certain."""
        time, index = self._time, self._index
        crossed = probability < off if track.active else probability >= on
        track.peak = max(track.peak, probability) if track.active or crossed else 0.0
        if not crossed:
            track.since, track.frames = None, 0
            return None
        track.since = time if track.since is None else track.since
        track.frames += 1
        if time - track.since < self._least - 1e-9 or track.frames < self._patience:
            return None
        since, track.since, track.frames = track.since, None, 0
        track.active = not track.active
        if track.active:
            track.began = since
            return Event("start", label, since, index, probability)
        return Event("end", label, since, index, track.peak, since - track.began)


def events(
    predictions: Iterable[Prediction],
    on: float | None = None,
    off: float | None = None,
    min_duration: float = 0.4,
    selection: Selection | None = None,
) -> Iterator[Event]:
    """Turn predictions of one stream, in order and with times, into events.

    Args:
        predictions: their times are in seconds.
        on, off, min_duration, selection: see :class:`EventTracker`.

    Yields:
        Starts and ends in order; what is still active after the last prediction ends there.

    Raises:
        UsageError: thresholds that are no hysteresis; a prediction without a time.
    """
    return _events(predictions, EventTracker(on, off, min_duration, selection))


def _events(predictions: Iterable[Prediction], tracker: EventTracker) -> Iterator[Event]:
    for prediction in predictions:
        yield from tracker.update(prediction)
    yield from tracker.end()
