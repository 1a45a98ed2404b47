"""Pieces of a stream put together to rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from movinet_runtime.archive.journal import Part
from movinet_runtime.archive.pieces import Job
from movinet_runtime.archive.plan import Entry
from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Event, EventTracker

Top = list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Row:
    """A frame, a window or an event; or an error, which has no label.

    Attributes:
        path: of the file, as it was named; an address without passwords and tokens.
        start: seconds after the file's first frame, and
        end: where it ends.
        frame: number of its first frame, from the stream's begin.
        label: the most likely.
        probability: of it, the mean over a window, the highest of an event.
        top: the most likely labels with theirs, best first.
        truth: what a list says.
        error: why it is not known what is there.
    """

    path: str
    start: float
    end: float
    frame: int
    label: str | None = None
    probability: float | None = None
    top: Top = field(default_factory=list)
    truth: str | None = None
    error: str | None = None


def error_row(entry: Entry, error: str, truth: str | None) -> Row:
    """Return the row of a file that could not be read at all."""
    return Row(entry.shown, entry.begin, entry.begin, 0, truth=truth, error=error)


def rows(
    entry: Entry,
    parts: Iterable[Part],
    job: Job,
    labels: Sequence[str],
    thresholds: Sequence[float] | None,
    min_duration: float,
    truth: str | None,
) -> Iterator[Row]:
    """Yield a stream's rows in order.

    Args:
        entry: what it is.
        parts: of its pieces, in order. What follows a piece that broke off does not count: as if
            the stream had not been cut.
        job: what was done.
        labels: of the model.
        thresholds: of classes that do not exclude each other.
        min_duration: of events, seconds.
        truth: of its list.
    """
    told = _Kept(parts)
    if job.events:
        tracker = EventTracker(job.threshold, None, min_duration)
        for event in _events(told, tracker, job.fps, labels, thresholds):
            if event.kind == "end":
                yield _event_row(entry, event, job.fps, truth)
    else:
        for first, count, top in told:
            start = round(entry.begin + first / job.fps, 6)
            end = round(entry.begin + (first + count) / job.fps, 6)
            named = [(labels[i], p) for i, p in top]
            best, p = named[0]
            yield Row(entry.shown, start, end, first, best, p, named, truth)
    if told.error is not None:
        at = round(entry.begin + told.frame / job.fps, 6)
        yield Row(entry.shown, at, at, told.frame, truth=truth, error=told.error)


class _Kept:
    """The rows of parts up to the first that broke off."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = parts
        self.error: str | None = None
        self.frame = 0

    def __iter__(self) -> Iterator[tuple[int, int, list[tuple[int, float]]]]:
        for part in self._parts:
            for row in part.rows:
                self.frame = row[0] + row[1]
                yield row
            if part.error is not None:
                self.error = part.error
                return


def _events(
    told: _Kept,
    tracker: EventTracker,
    fps: float,
    labels: Sequence[str],
    thresholds: Sequence[float] | None,
) -> Iterator[Event]:
    for frame, _, likely in told:
        yield from tracker.update(_Sparse.of(frame, frame / fps, likely, labels, thresholds))
    yield from tracker.end()


class _Sparse(Prediction):
    """A prediction of which only labels above their lower threshold are known.

    The others have probability 0, which makes the same events.
    """

    @classmethod
    def of(
        cls,
        frame: int,
        time: float,
        likely: Iterable[tuple[int, float]],
        labels: Sequence[str],
        thresholds: Sequence[float] | None,
    ) -> "_Sparse":
        found = np.zeros(len(labels), np.float32)
        for i, p in likely:
            found[i] = p
        made = cls(frame, found, labels, time, thresholds)
        made.__dict__["probabilities"] = found  # where the cached property keeps them
        return made


def _event_row(entry: Entry, event: Event, fps: float, truth: str | None) -> Row:
    began = event.time - (event.duration or 0.0)
    start, end = round(entry.begin + began, 6), round(entry.begin + event.time, 6)
    p = round(event.probability, 6)
    top = [(event.label, p)]
    return Row(entry.shown, start, end, round(began * fps), event.label, p, top, truth)
