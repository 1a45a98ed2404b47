"""Starts and ends of actions, as text or JSON lines."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from movinet_runtime.decisions import Event


def print_events(found: Iterator[Event], as_json: bool) -> None:
    """Print a line an event."""
    for event in found:
        if as_json:
            print(json.dumps(asdict(event), ensure_ascii=False), flush=True)
        else:
            lasted = "" if event.duration is None else f"  after {event.duration:.1f} s"
            line = f"{event.time:7.2f} s  {event.kind:5}  {event.probability:6.1%}  {event.label}"
            print(line + lasted, flush=True)
