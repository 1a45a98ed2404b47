"""Our files and others' timed by turns in fresh processes: back to back, and at a camera's pace."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from movinet_benchmarks.process.race import Frame, Samples, Step, interleaved
from movinet_benchmarks.statistics import MIN_PROCESSES, ratio, summary
from movinet_runtime import StreamClassifier
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.model_file import ModelFile
from movinet_runtime.quiet import hide_native_messages_at_exit

# What is timed by turns in one run; more in one run would throw each other out of the caches.
RUNS: dict[str, tuple[str, ...]] = {
    "step": ("ours", "peer"),
    "invoke": ("our bare", "peer's bare"),
    "whole": ("ours", "our bare"),
    "google": ("ours", "google"),
    "paced": ("ours", "peer", "google"),  # the caches are cold anyway
}
# Row: (run, ours, what it is divided by).
RATIOS = {
    "step_ratio": ("step", "ours", "peer"),
    "invoke_ratio": ("invoke", "our bare", "peer's bare"),
    "step_over_bare": ("whole", "ours", "our bare"),
    "google_ratio": ("google", "ours", "google"),
    "paced_ratio": ("paced", "ours", "peer"),
    "paced_google_ratio": ("paced", "ours", "google"),
}
TIMES = {
    "step_ms": ("whole", "ours"),
    "invoke_ms": ("whole", "our bare"),
    "paced_ms": ("paced", "ours"),
    "google_ms": ("google", "google"),
    "paced_google_ms": ("paced", "google"),
    "step_peer_ms": ("step", "peer"),
    "paced_peer_ms": ("paced", "peer"),
}
Row = dict[str, Any]
Runs = dict[str, dict[str, Samples]]


@dataclass(frozen=True)
class Effort:
    """How much is timed.

    Attributes:
        rounds: timed steps of each in a process, back to back.
        paced_rounds: the same, at the pace.
        processes: fresh ones.
        pace: frames a second of the camera.
    """

    rounds: int = 150
    paced_rounds: int = 12
    processes: int = 7
    pace: float = 5.0


@dataclass(frozen=True)
class Pair:
    """One of our files, and what it is measured beside.

    Attributes:
        ours: a stream model.
        peer: the reference implementation's export of the same weights.
        google: the published int8 file, another network.
    """

    ours: Path
    peer: Path | None = None
    google: Path | None = None


def signature_step(path: Path) -> Step:
    """The step of a client of the published files, from a camera's uint8 frame to logits."""
    runner = load_interpreter(ModelFile.read(path), threads=1).get_signature_runner()
    details = runner.get_input_details()
    states = {n: np.zeros(d["shape"], d["dtype"]) for n, d in details.items() if n != "image"}

    def step(frame: Frame) -> Any:
        image = frame[None, None].astype(np.float32) / np.float32(255)
        outputs = runner(image=image, **states)
        logits = outputs.pop("logits")
        states.update(outputs)
        return logits

    return step


def bare_invoke(path: Path) -> Step:
    """The network alone: the same input again, no state moved.

    Inputs are written first: the reference's int8 divides by what it finds in a counter.
    """
    interpreter = load_interpreter(ModelFile.read(path), threads=1)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    return lambda _: interpreter.invoke()


def timed_once(pair: Pair, images: Sequence[Frame], effort: Effort) -> Runs:
    """Load everything once and time all runs; milliseconds.

    Google's file runs in our runtime: its own clients would take longer for its states.
    """
    steps = {
        "ours": StreamClassifier(pair.ours, threads=1).step,
        "our bare": bare_invoke(pair.ours),
    }
    if pair.peer is not None:
        steps |= {"peer": signature_step(pair.peer), "peer's bare": bare_invoke(pair.peer)}
    if pair.google is not None:
        steps["google"] = StreamClassifier(pair.google, threads=1).step
    found = {}
    for run, names in RUNS.items():
        taken = {name: steps[name] for name in names if name in steps}
        paced = run == "paced"
        if len(taken) > 1 or paced:
            rounds = effort.paced_rounds if paced else effort.rounds
            pace = effort.pace if paced else None
            times = interleaved(taken, images, rounds, pace=pace)
            found[run] = {name: 1e3 * seconds for name, seconds in times.items()}
    return found


def timed(pair: Pair, images: Sequence[Frame], effort: Effort) -> Row:
    """Time a pair in fresh processes.

    Where in memory weights and buffers come to lie differs from process to process and is
    worth up to a tenth of a step, for one file or the other.
    """
    fresh = ProcessPoolExecutor(
        1, get_context("spawn"), hide_native_messages_at_exit, max_tasks_per_child=1
    )
    with fresh as pool:
        work = [pool.submit(timed_once, pair, images, effort) for _ in range(effort.processes)]
        return row_of([one.result() for one in work])


def row_of(processes: Sequence[Mapping[str, Mapping[str, Samples]]]) -> Row:
    """Turn the runs of each process into medians, and ratios with their 95 % intervals."""

    def samples(run: str, name: str) -> list[list[float]]:
        return [one[run][name].tolist() for one in processes]

    had = {(run, name) for run, steps in processes[0].items() for name in steps}
    row: Row = {
        what: summary(samples(*where)).median for what, where in TIMES.items() if where in had
    }
    for what, (run, ours, other) in RATIOS.items():
        if {(run, ours), (run, other)} <= had and len(processes) >= MIN_PROCESSES:
            one = ratio(samples(run, other), samples(run, ours), paired=True)
            row |= {what: one.value, f"{what}_95": [one.low, one.high]}
        elif {(run, ours), (run, other)} <= had:
            row[what] = summary(samples(run, ours)).median / summary(samples(run, other)).median
    return row
