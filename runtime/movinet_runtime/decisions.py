"""From predictions to decisions: smoothing, which labels count, and events.

Every step takes an iterable of predictions and gives one, so that they chain:

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


def smoothed(
    predictions: Iterable[Prediction], decay: float = 0.0, mean: int = 0
) -> Iterator[Prediction]:
    """Average probabilities over time.

    Args:
        predictions: of one stream, in order.
        decay: share of the past in an exponential average, 0 (none) to below 1.
        mean: or the mean over so many frames; 0: not.

    Raises:
        UsageError: both, or out of range.
    """
    if decay and mean:
        raise UsageError("smooth by a decay or by a mean over frames, not both")
    if not 0 <= decay < 1 or mean < 0:
        raise UsageError("a decay is from 0 to below 1, a mean over 1 frame or more")
    return _smoothed(predictions, decay, mean)


def _smoothed(predictions: Iterable[Prediction], decay: float, mean: int) -> Iterator[Prediction]:
    window: deque[Array] = deque(maxlen=mean or 1)
    average: Array = np.empty(0, np.float32)
    for prediction in predictions:
        if not decay and not mean:
            yield prediction
            continue
        now = prediction.probabilities
        window.append(now)
        if mean:
            average = np.mean(window, axis=0)
        else:
            average = decay * average + (1 - decay) * now if average.size else now
        # Their logarithms are logits with just these probabilities.
        yield replace(prediction, logits=np.log(np.maximum(average, 1e-30)).astype(np.float32))


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
    began: float = 0.0
    peak: float = 0.0


def events(
    predictions: Iterable[Prediction],
    on: float = 0.5,
    off: float | None = None,
    min_duration: float = 0.4,
    selection: Selection | None = None,
) -> Iterator[Event]:
    """Turn probabilities into starts and ends of actions, with hysteresis and debouncing.

        probability   ____/~~~~~\\_/~~~~\\______     on: upper, off: lower threshold
        event             start          end       each certain after min_duration

    Args:
        predictions: of one stream, in order, with times.
        on: an action starts when it stays at or above this, and
        off: ends when it stays below this (default: 0.7 of ``on``),
        min_duration: for so many seconds.
        selection: the labels that count.

    Yields:
        Starts and ends in order; what is still active after the last prediction ends there.

    Raises:
        UsageError: thresholds that are no hysteresis.
    """
    off = 0.7 * on if off is None else off
    if not 0 < off <= on <= 1:
        raise UsageError(f"events need 0 < off <= on <= 1, not off {off:g} and on {on:g}")
    return _events(predictions, on, off, min_duration, selection or Selection())


def _events(
    predictions: Iterable[Prediction],
    on: float,
    off: float,
    min_duration: float,
    selection: Selection,
) -> Iterator[Event]:
    tracks: dict[str, _Track] = {}
    time, index = 0.0, 0
    for prediction in predictions:
        time = float(prediction.index if prediction.time is None else prediction.time)
        index = prediction.index
        probabilities = prediction.probabilities
        likely = {prediction.labels[i] for i in np.flatnonzero(probabilities >= off).tolist()}
        values = dict(zip(prediction.labels, probabilities.tolist(), strict=True))
        for label in sorted(likely | tracks.keys()):
            if not selection.admits(label):
                continue
            track = tracks.setdefault(label, _Track())
            event = _update(track, label, values[label], time, index, on, off, min_duration)
            if event is not None:
                yield event
            if not track.active and track.since is None:
                del tracks[label]
    for label, track in sorted(tracks.items()):
        if track.active:
            ended = time if track.since is None else track.since
            yield Event("end", label, ended, index, track.peak, ended - track.began)


def _update(
    track: _Track,
    label: str,
    probability: float,
    time: float,
    index: int,
    on: float,
    off: float,
    min_duration: float,
) -> Event | None:
    """Follow one label by one frame; return the event that became certain."""
    crossed = probability < off if track.active else probability >= on
    track.peak = max(track.peak, probability) if track.active or crossed else 0.0
    if not crossed:
        track.since = None
        return None
    track.since = time if track.since is None else track.since
    if time - track.since < min_duration - 1e-9:
        return None
    since, track.since = track.since, None
    track.active = not track.active
    if track.active:
        track.began = since
        return Event("start", label, since, index, probability)
    return Event("end", label, since, index, track.peak, since - track.began)
