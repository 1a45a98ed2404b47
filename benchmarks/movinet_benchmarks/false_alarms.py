"""Events where nothing happens, and events that are missed, on drawn streams without a reset.

``python -m movinet_benchmarks.false_alarms MODEL`` (the embedded one by default) watches an hour in
which nobody does anything, and an hour in which the figures' actions begin and end.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from movinet_benchmarks.command import run
from movinet_models import embedded
from movinet_models.figures import ACTIONS, IDLE
from movinet_models.figures.actions import Action
from movinet_models.figures.scene import Scene
from movinet_runtime import StreamModel
from movinet_runtime.decisions import Event, EventTracker

Picture = NDArray[np.uint8]

SHOT = 60.0  # seconds of idleness before the camera sees another place
ACTS, ACT, PAUSE = 6, 4.0, 6.0  # actions in a place, seconds of each and of the idleness before it
LATE = 2.0  # seconds after an action in which its event may still begin
SEED = 7


@dataclass(frozen=True)
class Watched:
    """What a model made of a stream.

    Attributes:
        what: the stream shows.
        hours: of it.
        actions: that happened in it.
        found: of these, how many began an event of the right label in time.
        alarms: events of other labels, or at other times.
    """

    what: str
    hours: float
    actions: int
    found: int
    alarms: int

    @property
    def alarms_an_hour(self) -> float:
        """How often somebody is called for nothing."""
        return self.alarms / self.hours


def watch(model: StreamModel, what: str, shots: list[list[tuple[str, Action, float]]]) -> Watched:
    """Show a model scenes one after the other, with the state carried on.

    Args:
        model: knows the figures' labels.
        what: for the result.
        shots: of each place, (label or "", action, seconds).

    Returns:
        Actions, and the events of the tracker's defaults that name them or do not.
    """
    stream, tracker = model.stream(), EventTracker()
    truth: list[tuple[float, float, str]] = []
    events: list[Event] = []
    time = 0.0
    for number, shot in enumerate(track(shots, what, transient=True, console=Console(stderr=True))):
        for label, _, seconds in shot:
            if label:
                truth.append((time, time + seconds, label))
            time += seconds
        for picture in drawn(shot, max(model.size), model.fps, number):
            events += tracker.update(stream.step(picture))
    starts = [event for event in events if event.kind == "start"]
    which = [named(event, truth) for event in starts]
    found = set(which) - {None}
    return Watched(what, time / 3600, len(truth), len(found), which.count(None))


def named(event: Event, truth: Sequence[tuple[float, float, str]]) -> int | None:
    """Return which action an event names while it goes on, or shortly after."""
    for which, (begin, end, label) in enumerate(truth):
        if label == event.label and begin <= event.time < end + LATE:
            return which
    return None


def idle_shots(action: Action, minutes: float) -> list[list[tuple[str, Action, float]]]:
    """Return places in which one way of doing nothing goes on."""
    return [[("", action, SHOT)] for _ in range(max(1, round(60 * minutes / SHOT)))]


def acted_shots(
    minutes: float, idle: str = "standing", pause: float = PAUSE
) -> list[list[tuple[str, Action, float]]]:
    """Return places in which actions follow each other in a random order, with pauses.

    Args:
        minutes: of all of them.
        idle: what is seen in the pauses.
        pause: seconds of each.
    """
    rng = np.random.default_rng(SEED)
    shots = []
    for _ in range(max(1, round(60 * minutes / (ACTS * (ACT + pause))))):
        shot: list[tuple[str, Action, float]] = []
        for label in rng.choice([*ACTIONS], ACTS, replace=False):
            shot.append(("", IDLE[idle], pause))
            shot.append((str(label), ACTIONS[str(label)], ACT))
        shots.append(shot)
    return shots


def drawn(
    shot: list[tuple[str, Action, float]], side: int, fps: float, number: int, fixed: bool = False
) -> Iterator[Picture]:
    """Draw a place by its number, with what happens in it: uint8 [side, side, 3].

    Args:
        shot: (label or "", action, seconds).
        side: pixels.
        fps: frames a second.
        number: of the place.
        fixed: the camera does not sway, and nobody passes through the picture.
    """
    rng = np.random.default_rng([SEED, number])
    scene = Scene.random(rng, side)
    if fixed:
        scene = replace(scene, pan=(0.0, 0.0, 0.0), passer=None)
    return scene.frames([(action, seconds) for _, action, seconds in shot], fps, rng)


def main(
    model: Annotated[Path, typer.Argument(help="It must know the figures.")] = embedded.MODEL,
    minutes: Annotated[float, typer.Option(min=1, help="Of each of the two streams.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Count events where nothing happens, and actions that began none."""
    loaded = StreamModel(model)
    found = [
        watch(loaded, kind, idle_shots(act, minutes / len(IDLE))) for kind, act in IDLE.items()
    ]
    found.append(watch(loaded, "actions between standing", acted_shots(minutes)))
    if as_json:
        print(json.dumps([asdict(w) | {"alarms_an_hour": w.alarms_an_hour} for w in found]))
        return
    table = Table("stream", "hours", "actions", "found", "false events", "an hour", box=None)
    for w in found:
        share = f"{w.found / w.actions:.1%}" if w.actions else "-"
        cells = (f"{w.hours:.2f}", str(w.actions), share, str(w.alarms), f"{w.alarms_an_hour:.1f}")
        table.add_row(w.what, *cells)
    Console().print(table)


if __name__ == "__main__":
    run(main)
