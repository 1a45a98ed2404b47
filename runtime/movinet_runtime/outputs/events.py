"""Starts and ends of actions, as text or JSON lines."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Event, EventTracker
from movinet_runtime.outputs.output import Sink, printable, printing
from movinet_runtime.sources.frame import Frame


@contextmanager
def event_lines(tracker: EventTracker, as_json: bool, reset_on_loss: bool) -> Iterator[Sink]:
    """Print a line an event; what is active at the end, or at a reset, ends there."""

    def sink(frame: Frame, prediction: Prediction) -> None:
        if frame.reopened and reset_on_loss:
            _print(tracker.end(), as_json)
        _print(tracker.update(prediction), as_json)

    yield sink
    _print(tracker.end(), as_json)


def _print(found: list[Event], as_json: bool) -> None:
    for event in found:
        if as_json:
            line = json.dumps(asdict(event), ensure_ascii=False)
        else:
            lasted = "" if event.duration is None else f"  after {event.duration:.1f} s"
            name = printable(event.label) + lasted
            line = f"{event.time:7.2f} s  {event.kind:5}  {event.probability:6.1%}  {name}"
        with printing():
            print(line, flush=True)
