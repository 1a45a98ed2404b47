"""Time models in fresh processes, and what it costs to start them; here, or on a board.

This, ``environment.py`` and ``process/`` need nothing but the runtime: a board gets them as
they are.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from movinet_benchmarks.environment import Environment, Snapshot
from movinet_benchmarks.process.race import Frame, Progress
from movinet_runtime.errors import ModelFileError

HOT_ROUNDS, PACED_ROUNDS = 60, 8
PROCESSES = 10


@dataclass(frozen=True)
class Schedule:
    """How models are timed; every engine with every number of threads.

    Attributes:
        rounds: timed steps of each in a process; None: a number that fits the pace.
        processes: fresh ones, one after the other.
        pace: frames a second, as a camera gives them; None: one right after the other.
    """

    rounds: int | None = None
    processes: int = PROCESSES
    pace: float | None = None
    engines: Sequence[str] = ("auto",)
    threads: Sequence[int] = (1,)

    @property
    def steps(self) -> int:
        """Timed steps of each model in a process."""
        if self.rounds is not None:
            return self.rounds
        return HOT_ROUNDS if self.pace is None else PACED_ROUNDS


@dataclass(frozen=True)
class Start:
    """A fresh process: milliseconds to import, to load, for the first frame; bytes at most."""

    import_ms: float
    load_ms: float
    first_ms: float
    peak_bytes: int


@dataclass(frozen=True)
class Timed:
    """One model on one engine with one number of threads; the samples of each process."""

    name: str
    engine: str
    threads: int
    samples_ms: list[list[float]]
    start: Start
    fps: float


def time_models(
    models: Mapping[str, Path],
    images: Sequence[Frame],
    schedule: Schedule,
    progress: Progress = lambda n: None,
    before: Snapshot | None = None,
) -> tuple[list[Timed], Environment]:
    """Time every model on every engine and number of threads, by turns in each process.

    Args:
        models: files by name.
        images: frames of their size.
        schedule: how often, how fast, on what.
        progress: called with 1 after each process.
        before: the machine before anything that loads it and is the caller's own; default: now.

    Raises:
        ModelFileError: a model does not start.
    """
    keys = [(n, e, t) for n in models for e in schedule.engines for t in schedule.threads]
    now = Snapshot.now()
    looks = [now if before is None else replace(now, load=before.load)]
    answers = []
    with tempfile.TemporaryDirectory(prefix="movinet-race-") as folder:
        frames = Path(folder) / "frames.npy"
        np.save(frames, np.stack(list(images)))
        task = {
            "contenders": [(str(models[name].resolve()), *rest) for name, *rest in keys],
            "frames": str(frames),
            "rounds": schedule.steps,
            "pace": schedule.pace,
        }
        for turn in range(schedule.processes):
            answer = run_module("race", (), json.dumps(task | {"turn": turn}))
            looks += [Snapshot(**look) for look in answer["looks"]]
            answers.append(answer)
            progress(1)
    found = [
        Timed(
            *key,
            samples_ms=[answer["samples_ms"][i] for answer in answers],
            start=start_cost(models[key[0]], key[1], key[2]),
            fps=answers[0]["fps"][i],
        )
        for i, key in enumerate(keys)
    ]
    return found, Environment.of([*looks, Snapshot.now()], steady=schedule.pace is None)


def start_cost(path: Path, engine: str = "auto", threads: int = 1) -> Start:
    """Start a process with a model and return what that took.

    Raises:
        ModelFileError: it cannot.
    """
    try:
        return Start(**run_module("start", (str(path), engine, str(threads))))
    except ModelFileError as error:
        raise ModelFileError(f"{path} does not start on the engine {engine}: {error}") from None


def run_module(name: str, arguments: Sequence[str], standard_input: str = "") -> dict[str, Any]:
    """Run one of ``process/`` and return what it prints.

    Raises:
        ModelFileError: with the last line that it said.
    """
    command = [sys.executable, "-m", f"movinet_benchmarks.process.{name}", *arguments]
    done = subprocess.run(command, input=standard_input, capture_output=True, text=True)
    if done.returncode:
        raise ModelFileError((done.stderr.strip().splitlines() or ["killed"])[-1])
    return dict(json.loads(done.stdout))


def main(folder: str, schedule: str, limit: str) -> None:
    """Time every .tflite of a folder over its frames.npy and print JSON; run on a board."""
    signal.alarm(int(limit))  # whoever waits for the answer has gone by then
    models = {path.stem: path for path in sorted(Path(folder).glob("*.tflite"))}
    images = list(np.load(Path(folder) / "frames.npy"))
    found, machine = time_models(models, images, Schedule(**json.loads(schedule)))
    print(json.dumps({"timed": [asdict(one) for one in found], "environment": asdict(machine)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
