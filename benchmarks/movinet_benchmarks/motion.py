"""What the motion gate of ``movinet watch`` saves, and what it costs in events.

``python -m movinet_benchmarks.motion MODEL`` (the embedded one by default) watches drawn streams
with and without the gate, by a camera that hangs still: actions between standing, and all ways of
doing nothing. ``--clips FOLDER`` adds real ones, for the share of steps.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from movinet_benchmarks.command import run
from movinet_benchmarks.false_alarms import acted_shots, drawn, idle_shots, named
from movinet_models import embedded
from movinet_models.figures import IDLE
from movinet_models.figures.actions import Action
from movinet_runtime import StreamModel, open_frames
from movinet_runtime.decisions import Event, EventTracker
from movinet_runtime.watch.config import MotionConfig
from movinet_runtime.watch.motion import MotionGate

Picture = NDArray[np.uint8]
Shots = Sequence[list[tuple[str, Action, float]]]

EMPTY = 16.0  # seconds between two actions in which nobody is there
SIDE = 240  # pixels of the drawn pictures: the gate looks at the camera's, not at the model's


@dataclass(frozen=True)
class Watched:
    """A stream, seen by a gate.

    Attributes:
        what: it shows.
        gate: its share, or None: no gate.
        frames, steps: looked at, and of the network.
        actions, found: that happened, and that began an event of their name in time.
        alarms: other events.
        gate_ms, step_ms: processor time of a look and of a step.
    """

    what: str
    gate: float | None
    frames: int
    steps: int
    actions: int
    found: int
    alarms: int
    gate_ms: float
    step_ms: float


@dataclass
class Watcher:
    """What :class:`movinet_runtime.watch.camera.Camera` does with a frame, without a camera."""

    model: StreamModel
    config: MotionConfig | None
    reset_after: float

    def __post_init__(self) -> None:
        self._stream, self._tracker = self.model.stream(), EventTracker(patience=2)
        self._gate = None if self.config is None else MotionGate(self.config)
        self._last: float | None = None
        self.events: list[Event] = []
        self.frames = self.steps = 0
        self.gate_seconds = self.step_seconds = 0.0

    def look(self, picture: Picture, time: float) -> None:
        """Look at the next frame, uint8 [h, w, 3], at a time in seconds."""
        begin = process_time()
        moves = self._gate is None or self._gate.admits(picture, time)
        middle = process_time()
        self.frames += 1
        self.gate_seconds += middle - begin
        if not moves:
            self.events += self._tracker.end()
            return
        if self._last is not None and time - self._last > self.reset_after:
            self._stream.reset(keep_index=True)
        self._last = time
        self.events += self._tracker.update(self._stream.step(picture, time))
        self.steps += 1
        self.step_seconds += process_time() - middle


def watch(
    model: StreamModel, what: str, shots: Shots, gates: Sequence[MotionConfig | None], reset: float
) -> list[Watched]:
    """Show the same pictures to several gates.

    Args:
        model: knows the figures' labels.
        what: the stream shows.
        shots: of each place, (label or "", action, seconds).
        gates: None: no gate.
        reset: seconds of a pause that reset the state.
    """
    watchers = [Watcher(model, gate, reset) for gate in gates]
    truth: list[tuple[float, float, str]] = []
    time, frames = 0.0, 0
    for number, shot in enumerate(track(shots, what, transient=True, console=Console(stderr=True))):
        for label, _, seconds in shot:
            if label:
                truth.append((time, time + seconds, label))
            time += seconds
        for picture in drawn(shot, SIDE, model.fps, number, fixed=True):
            for watcher in watchers:
                watcher.look(picture, frames / model.fps)
            frames += 1
    return [_result(what, watcher, truth) for watcher in watchers]


def _result(what: str, watcher: Watcher, truth: list[tuple[float, float, str]]) -> Watched:
    which = [named(event, truth) for event in watcher.events if event.kind == "start"]
    return Watched(
        what,
        None if watcher.config is None else watcher.config.share,
        watcher.frames,
        watcher.steps,
        len(truth),
        len(set(which) - {None}),
        which.count(None),
        1000 * watcher.gate_seconds / max(1, watcher.frames),
        1000 * watcher.step_seconds / max(1, watcher.steps),
    )


def real(model: StreamModel, folder: Path, gates: Sequence[MotionConfig | None]) -> list[Watched]:
    """Show real clips; nobody says what happens in them."""
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        watchers = [Watcher(model, gate, 10.0) for gate in gates]
        for frame in open_frames(path).sampled(model.fps):
            for watcher in watchers:
                watcher.look(frame.image, frame.time)
        found += [_result(path.name, watcher, []) for watcher in watchers]
    return found


def streams(minutes: float) -> Iterator[tuple[str, Shots]]:
    """Name the drawn streams."""
    yield "actions between standing", acted_shots(minutes)
    yield "actions in an empty scene", acted_shots(minutes, "an empty scene", EMPTY)
    for kind, action in IDLE.items():
        yield kind, idle_shots(action, minutes / len(IDLE))


def main(
    model: Annotated[Path, typer.Argument(help="It must know the figures.")] = embedded.MODEL,
    minutes: Annotated[float, typer.Option(min=1, help="Of actions, and of idleness.")] = 20.0,
    share: Annotated[
        list[float] | None, typer.Option(help="Of the cells; repeat it. Default: the gate's own.")
    ] = None,
    linger: Annotated[float, typer.Option(min=0, help="Seconds after the last motion.")] = 3.0,
    reset: Annotated[float, typer.Option(min=0, help="Pause that resets the state.")] = 10.0,
    clips: Annotated[Path | None, typer.Option(help="A folder of real clips.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure steps saved and events lost by the motion gate."""
    loaded = StreamModel(model, threads=1)
    shares = share or [MotionConfig().share]
    gates = [None, *(MotionConfig(share=one, linger=linger) for one in shares)]
    found = []
    for what, shots in streams(minutes):
        found += watch(loaded, what, shots, gates, reset)
    if clips is not None:
        found += real(loaded, clips, gates)
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return
    head = ("stream", "share", "frames", "steps", "found", "false events", "gate ms", "step ms")
    table = Table(*head, box=None)
    for one in found:
        gate = "no gate" if one.gate is None else f"{one.gate:g}"
        acted = f"{one.found} of {one.actions}" if one.actions else "-"
        steps = f"{one.steps / one.frames:.0%}"
        times = (f"{one.gate_ms:.3f}", f"{one.step_ms:.2f}")
        table.add_row(one.what, gate, str(one.frames), steps, acted, str(one.alarms), *times)
    Console().print(table)


if __name__ == "__main__":
    run(main)
