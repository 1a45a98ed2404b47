"""From one camera's predictions to events with an identity, for outputs.

tracker (decisions.py)   start ........................ end        each certain
cool-down, quiet hours        waits  start
outputs                              start  update  ..  end        all with one id
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, time
from typing import Any, Literal

import numpy as np

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Event, EventTracker, Selection
from movinet_runtime.errors import UsageError
from movinet_runtime.watch.config import CameraConfig

Kind = Literal["start", "update", "end"]
Wall = Callable[[float], datetime]  # a prediction's time as one with a time zone


@dataclass(frozen=True)
class WatchEvent:
    """What happens, as outputs are told.

    Attributes:
        id: the same in start, updates and end, and of no other event.
        kind: ``start``, ``update`` or ``end``.
        camera: where.
        label: what.
        time: of this message's frame.
        began: when it began, not when it was certain.
        ended: when it ended; None: it goes on.
        duration: seconds from its begin to its end, or so far.
        probability: in this frame.
        peak, mean: highest and mean probability since it was certain.
        clip: name of its clip in the clips' folder; None: none is kept.
    """

    id: str
    kind: Kind
    camera: str
    label: str
    time: datetime
    began: datetime
    ended: datetime | None
    duration: float
    probability: float
    peak: float
    mean: float
    clip: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it, times as ISO 8601 with zone; ``id``, ``kind`` and ``time`` name a message."""
        values = asdict(self)
        for key in ("time", "began", "ended"):
            moment = values[key]
            values[key] = None if moment is None else moment.isoformat(timespec="milliseconds")
        for key in ("duration", "probability", "peak", "mean"):
            values[key] = round(values[key], 4)
        return values


@dataclass
class _Open:
    """An action that goes on."""

    began: float
    wall: datetime  # the same; a clock that is set meanwhile does not change it
    told: float | None = None  # when outputs heard of it last; None: it waits for its time
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    total: float = 0.0
    frames: int = 0
    peak: float = 0.0
    now: float = 0.0

    def add(self, probability: float) -> None:
        self.now = probability
        self.peak = max(self.peak, probability)
        self.total += probability
        self.frames += 1


class EventMaker:
    """The events of one camera.

    Args:
        camera: what it says of labels, levels and times.
        labels: of the model, in the order of the probabilities.
    """

    def __init__(self, camera: CameraConfig, labels: Sequence[str]) -> None:
        self._camera = camera
        self._places = {label: i for i, label in enumerate(labels)}
        self._trackers = list(_trackers(camera))
        self._open: dict[str, _Open] = {}
        self._rest: dict[str, float] = {}  # label -> when its cool-down is over
        self._time = 0.0
        self._probabilities = np.zeros(len(labels), np.float32)

    @property
    def active(self) -> frozenset[str]:
        """The labels of the events that go on."""
        return frozenset(label for label, one in self._open.items() if one.told is not None)

    def update(self, prediction: Prediction, wall: Wall) -> list[WatchEvent]:
        """Return what begins, goes on and ends with a prediction.

        Raises:
            UsageError: it has no time.
        """
        if prediction.time is None:
            raise UsageError("events need times in seconds: Prediction(..., time=...)")
        self._time = now = prediction.time
        self._probabilities = prediction.probabilities
        found: list[WatchEvent] = []
        for tracker in self._trackers:
            found += self._take(tracker.update(prediction), wall)
        quiet = is_quiet(self._camera.quiet, wall(now).time()) if self._open else False
        for label, one in self._open.items():
            one.add(float(self._probabilities[self._places[label]]))
            if one.told is None:
                if not quiet and now >= self._rest.get(label, now):
                    one.told = now
                    found.append(self._event("start", label, one, wall))
            elif self._camera.update_every and now - one.told >= self._camera.update_every - 1e-6:
                one.told = now
                found.append(self._event("update", label, one, wall))
        return found

    def end(self, wall: Wall) -> list[WatchEvent]:
        """End what goes on, at the last prediction: there will be none for a while."""
        return [event for tracker in self._trackers for event in self._take(tracker.end(), wall)]

    def _take(self, events: Iterable[Event], wall: Wall) -> list[WatchEvent]:
        ends = []
        for event in events:
            if event.kind == "start":
                self._open[event.label] = _Open(event.time, wall(event.time))
                continue
            one = self._open.pop(event.label)
            if one.told is not None:
                self._rest[event.label] = event.time + self._camera.cool_down
                ends.append(self._event("end", event.label, one, wall, event.time))
        return ends

    def _event(
        self, kind: Kind, label: str, one: _Open, wall: Wall, ended: float | None = None
    ) -> WatchEvent:
        return WatchEvent(
            one.id,
            kind,
            self._camera.name,
            label,
            wall(self._time),
            one.wall,
            None if ended is None else wall(ended),
            (self._time if ended is None else ended) - one.began,
            float(self._probabilities[self._places[label]]),
            one.peak,
            one.total / max(1, one.frames),
        )


def with_clip(event: WatchEvent, clip: str | None) -> WatchEvent:
    """Return the event with the name of its clip."""
    return replace(event, clip=clip)


def _trackers(camera: CameraConfig) -> Iterable[EventTracker]:
    """Follow each label of interest with its own level, or all of them alike."""
    for label, level in camera.labels.items() or (("", None),):
        selection = Selection(frozenset([label])) if label else Selection()
        on = camera.on if level is None else level
        yield EventTracker(on, camera.off, camera.min_duration, selection, camera.patience)


def is_quiet(spans: Iterable[tuple[time, time]], now: time) -> bool:
    """Whether a time of the day is in one of the spans, which may go over midnight."""
    return any(
        begin <= now < end if begin <= end else now >= begin or now < end for begin, end in spans
    )
