"""What the page shows, for any number of readers: the newest of everything, and recent events.

Everything that changes gets a number that grows. A reader says which number it knows and gets
what is newer: nobody has a queue, and who is slow misses pictures and costs nobody anything.
"""

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Condition, Lock
from typing import Any

from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.mqtt import jpeg
from movinet_runtime.watch.output import CameraStatus, Clip, Output, Seen, Switchable

EVENTS = 200  # that are remembered
CURVE = 150  # predictions of each camera: half a minute
TOP = 3  # labels of a prediction
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")


@dataclass(frozen=True)
class Shown:
    """An event and whether its clip is complete."""

    number: int
    event: dict[str, Any]
    ready: bool

    def as_json(self) -> dict[str, Any]:
        """The event, with ``clip_ready``."""
        return self.event | {"clip_ready": self.ready}


class View:
    """The newest frame of a camera; it is encoded when somebody wants it, and once."""

    def __init__(self) -> None:
        self.number = 0
        self.seen: Seen | None = None
        self.curve: deque[dict[str, Any]] = deque(maxlen=CURVE)
        self._lock = Lock()
        self._encoded: tuple[int, bytes] = (0, b"")

    def picture(self) -> tuple[int, bytes]:
        """Return the newest frame's number and JPEG."""
        with self._lock:
            number, seen = self.number, self.seen
            if seen is not None and self._encoded[0] != number:
                self._encoded = number, jpeg(seen.image)
            return self._encoded


class PageState(Output):
    """Remembers what outputs are told.

    Args:
        clips: their folder; what happened before the service began is read from it.
    """

    def __init__(self, clips: Path | None = None) -> None:
        self.changed = Condition()
        self.number = 0
        self.closed = False
        self.known: Mapping[str, Switchable] = {}
        self.starts: Counter[tuple[str, str]] = Counter()  # camera, label
        self._views: dict[str, View] = {}
        self._events: OrderedDict[str, Shown] = OrderedDict()
        self._statuses = 0  # number of the last change
        if clips is not None:
            with self.changed:
                self._recall(clips)

    # What cameras tell.

    def cameras(self, cameras: Mapping[str, Switchable]) -> None:
        """See :meth:`Output.cameras`."""
        with self.changed:
            self.known = dict(cameras)
            self._views = {name: self._views.get(name) or View() for name in cameras}
            self._statuses = self._next()

    def frame(self, seen: Seen) -> None:
        """See :meth:`Output.frame`."""
        with self.changed:
            view = self._views.get(seen.camera)
            if view is None:
                return
            number = self._next()
            if seen.prediction is not None:
                top = [[label, round(p, 4)] for label, p in seen.prediction.top(TOP)]
                view.curve.append(
                    {
                        "number": number,
                        "camera": seen.camera,
                        "time": seen.time.isoformat(timespec="milliseconds"),
                        "top": top,
                        "active": sorted(seen.active),
                    }
                )
            view.seen, view.number = seen, number

    def event(self, event: WatchEvent) -> None:
        """See :meth:`Output.event`."""
        with self.changed:
            before = self._events.get(event.id)
            self.starts[event.camera, event.label] += event.kind == "start"
            self._remember(event.as_json(), before is not None and before.ready)

    def status(self, status: CameraStatus) -> None:
        """See :meth:`Output.status`."""
        with self.changed:
            self._statuses = self._next()

    def clip(self, clip: Clip) -> None:
        """See :meth:`Output.clip`."""
        with self.changed:
            for one in clip.events:
                if one in self._events:
                    self._events[one] = replace(self._events[one], ready=True, number=self._next())

    def close(self) -> None:
        """Send readers home."""
        with self.changed:
            self.closed = True
            self._next()

    def _next(self) -> int:
        self.number += 1
        self.changed.notify_all()
        return self.number

    def _remember(self, event: dict[str, Any], ready: bool) -> None:
        self._events[event["id"]] = Shown(self._next(), event, ready)
        while len(self._events) > EVENTS:
            self._events.popitem(last=False)

    def _recall(self, clips: Path) -> None:
        """Read the descriptions of the newest clips; one that is none is left out."""
        with suppress(OSError):
            found = sorted(clips.glob("*/[0-9]*.json"), key=lambda path: path.name)[-EVENTS:]
            for path in found:
                with suppress(OSError, ValueError, LookupError, TypeError):
                    for event in json.loads(path.read_text("utf-8"))["events"]:
                        # A clip of its longest was complete before its events ended.
                        self._remember(event | {"id": str(event["id"]), "kind": "end"}, True)

    # What readers get.

    def view(self, camera: str) -> View | None:
        """Return what a camera sees."""
        with self.changed:
            return self._views.get(camera)

    def wait_for_picture(self, camera: str, known: int, seconds: float) -> View | None:
        """Return the view of a camera when it has a newer picture, or the time is over.

        None: there is no such camera any more, or the service ends.
        """

        def newer() -> bool:
            view = self._views.get(camera)
            return self.closed or view is None or view.number > known

        with self.changed:
            self.changed.wait_for(newer, seconds)
            return None if self.closed else self._views.get(camera)

    def statuses(self) -> list[dict[str, Any]]:
        """How all cameras are, with the last prediction of each."""
        with self.changed:
            known, views = dict(self.known), dict(self._views)
        found = []
        for name, camera in known.items():
            curve = views[name].curve if name in views else ()
            last = curve[-1] if curve else None
            found.append(camera.status().as_json() | {"prediction": last})
        return found

    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """The last predictions of each camera."""
        with self.changed:
            return {name: list(view.curve) for name, view in self._views.items()}

    def events(self, limit: int = EVENTS) -> list[dict[str, Any]]:
        """Events, newest first."""
        with self.changed:
            latest = reversed(self._events.values())
            newest = sorted(latest, key=lambda one: _moment(one.event), reverse=True)
            return [one.as_json() for one in newest[:limit]]

    def gone(self, now: datetime) -> list[str]:
        """The cameras that have been without a picture for longer than they may."""
        found = []
        with self.changed:
            known = dict(self.known)
        for name, camera in known.items():
            status = camera.status()
            since = status.since if status.seen is None else status.seen
            late = (now - since).total_seconds() > camera.lost_after
            if status.state in ("lost", "starting") and late:
                found.append(name)
        return found

    def newer(self, known: int, seconds: float) -> tuple[int, list[tuple[str, Any]]]:
        """Wait for news.

        Returns:
            The number of the newest, and (kind, value) of what is newer than ``known``: kinds
            are ``cameras`` (call :meth:`statuses`), ``prediction`` and ``event``.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.number > known, seconds)
            news: list[tuple[str, Any]] = []
            if self._statuses > known:
                news.append(("cameras", None))
            for view in self._views.values():
                news += [("prediction", one) for one in view.curve if one["number"] > known]
            for shown in self._events.values():
                if shown.number > known:
                    news.append(("event", shown.as_json()))
            return self.number, news


def _moment(event: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(event["began"])).timestamp()
    except (LookupError, ValueError):
        return 0.0


def temperature() -> float | None:
    """Return the processor's temperature in degrees Celsius; None: the machine says none."""
    try:
        return int(THERMAL.read_text()) / 1000
    except (OSError, ValueError):
        return None


def metrics(state: PageState, now: datetime) -> str:
    """Return all figures in Prometheus' text format, version 0.0.4."""
    rows = state.statuses()
    gone = set(state.gone(now))
    lines: list[str] = []

    def add(name: str, kind: str, about: str, values: list[tuple[str, float]]) -> None:
        lines.extend((f"# HELP movinet_{name} {about}", f"# TYPE movinet_{name} {kind}"))
        lines.extend(f"movinet_{name}{labels} {value:.10g}" for labels, value in values)

    def each(name: str, kind: str, about: str, key: str, scale: float = 1.0) -> None:
        values = [(f'{{camera="{row["camera"]}"}}', row[key] * scale) for row in rows]
        add(name, kind, about, values)

    for row in rows:
        row["up"] = row["state"] in ("watching", "still")
        row["gone"] = row["camera"] in gone
    each("camera_up", "gauge", "Whether pictures come.", "up")
    each("camera_gone", "gauge", "Whether it is gone for longer than it may.", "gone")
    each("camera_frames_total", "counter", "Frames that were looked at.", "frames")
    each("camera_steps_total", "counter", "Steps of the network.", "steps")
    each("camera_dropped_total", "counter", "Due frames that were too late.", "dropped")
    each("camera_reopened_total", "counter", "How often it came back.", "reopened")
    each("camera_fps", "gauge", "Frames a second, over the last ones.", "fps")
    each("camera_latency_seconds", "gauge", "Picture to prediction, mean.", "latency", 1e-3)
    with state.changed:
        starts = sorted(state.starts.items())
    add(
        "events_total",
        "counter",
        "Events that began.",
        [(f'{{camera="{camera}",label="{_escaped(label)}"}}', n) for (camera, label), n in starts],
    )
    degrees = temperature()
    if degrees is not None:
        add("temperature_celsius", "gauge", "Of the processor.", [("", degrees)])
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
