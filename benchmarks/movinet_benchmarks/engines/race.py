"""The race: all engines in one process, by turns, with the same weights, frames and states."""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from movinet_benchmarks.engines.contenders import (
    CONTENDERS,
    Contender,
    Files,
    LogitsStep,
    UnfitError,
    converted,
)
from movinet_benchmarks.environment import Environment, Snapshot
from movinet_benchmarks.fidelity import sqnr
from movinet_benchmarks.pairs import Effort
from movinet_benchmarks.process.race import Frame, Progress, interleaved
from movinet_benchmarks.statistics import MIN_PROCESSES, ratio, summary
from movinet_models.figures import drawn
from movinet_runtime import frames_at
from movinet_runtime.errors import UsageError
from movinet_runtime.huge_pages import in_huge_pages
from movinet_runtime.model_file import ModelFile
from movinet_runtime.quiet import hide_native_messages_at_exit

BASE = CONTENDERS[0].name  # what the others are measured beside
WEIGHTS = "reference/a0_stream/ckpt"
CLIPS = ("carving_ice", "arm_wrestling", "cleaning_pool")
VARIANTS = ("float32", "dynamic", "dynamic-si8")
FRAMES = 100  # of one stream through all clips, on which the logits are compared
Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What one process found.

    Attributes:
        hot: of each engine, its own times and those of ours beside it, back to back; ms.
        paced: of each engine, ms.
        db: logits against ours in float32.
        left_out: engines that could not take part, and why.
    """

    hot: dict[str, tuple[list[float], list[float]]]
    paced: dict[str, list[float]]
    db: dict[str, float]
    left_out: dict[str, str]


def exported(weights: str | Path, folder: Path) -> Files:
    """Export A0 as our variants and as ONNX, in processes of their own as TensorFlow is large."""

    def export(*options: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "movinet_runtime.cli.main", "export", "a0-stream"]
        command += ["-w", str(weights), "-o", str(folder), "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UsageError(f"the export failed: {done.stderr.strip().splitlines()[-1]}")
        return list(json.loads(done.stdout))

    tflite = export(*(word for one in VARIANTS for word in ("-q", one)), "--long-frames", "2")
    (onnx,) = export("--format", "onnx")
    return Files(
        {one["variant"]: Path(one["path"]) for one in tflite},
        Path(onnx["path"]),
        {one["name"]: tuple(one["shape"]) for one in onnx["inputs"]},
        {one["name"]: tuple(one["shape"]) for one in onnx["outputs"]},
        onnx["metadata"]["states"],
    )


def frames_of(shared: Path | None, files: Files) -> list[Frame]:
    """Return the frames of one stream: real clips where there are any, else drawn figures."""
    about = ModelFile.read(files.tflite["float32"]).metadata
    size, fps = (about["resolution"], about["resolution"]), float(about["fps"])
    if shared is None:
        clips = drawn("test", len(CLIPS), size, fps)
    else:
        clips = [list(frames_at(shared / f"clips/{clip}.mp4", size, fps)) for clip in CLIPS]
    return [frame for clip in clips for frame in clip][:FRAMES]


def opened(
    contenders: Sequence[Contender], files: Files, frames: Sequence[Frame], turn: int
) -> tuple[dict[str, LogitsStep], dict[str, Any], dict[str, str]]:
    """Load engines, another one first in each turn, and run the stream through each.

    Memory that they have taken by then is moved into huge pages, as the runtime does for ours.

    Returns:
        Steps, logits, and why engines were left out; by name.
    """
    steps, logits, left_out = {}, {}, {}
    first = turn % len(contenders)
    for one in [*contenders[first:], *contenders[:first]]:
        try:
            one.version()
            with in_huge_pages():
                step = one.open(files)
                logits[one.name] = np.stack([step(frame) for frame in frames])
        except UnfitError as error:
            left_out[one.name] = str(error)
            continue
        except Exception as error:  # someone else's engine, which raises what it likes
            left_out[one.name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        steps[one.name] = step
    return steps, logits, left_out


def measured_once(
    names: Sequence[str], files: Files, frames: Sequence[Frame], effort: Effort, turn: int
) -> Measured:
    """Load the engines of these names once and time them.

    Back to back, each is timed by turns with ours alone: all together would throw each other
    out of the caches. At the camera's pace they are cold anyway, and all take turns.
    """
    contenders = [one for one in CONTENDERS if one.name in names]
    loaded, logits, left_out = opened(contenders, files, frames, turn)
    if BASE not in loaded:
        raise UsageError(f"{BASE} does not run: {left_out[BASE]}")
    steps = {name: loaded[name] for name in names if name in loaded}
    hot = {}
    for name, step in steps.items():
        pair = {BASE: steps[BASE], name: step}
        times = interleaved(pair, frames, effort.rounds)
        hot[name] = (_milliseconds(times[name]), _milliseconds(times[BASE]))
    paced = interleaved(steps, frames, effort.paced_rounds, pace=effort.pace)
    return Measured(
        hot,
        {name: _milliseconds(times) for name, times in paced.items()},
        {name: round(sqnr(found, logits[BASE]), 1) for name, found in logits.items()},
        left_out,
    )


def _milliseconds(seconds: Any) -> list[float]:
    return [float(value) for value in 1e3 * seconds]


def row_of(name: str, processes: Sequence[Measured]) -> Row:
    """Turn the samples of an engine into medians, and ratios to ours with 95 % intervals."""
    row: Row = {"db": min(one.db[name] for one in processes)}
    for what, own, base in (
        ("hot", [one.hot[name][0] for one in processes], [one.hot[name][1] for one in processes]),
        ("paced", [one.paced[name] for one in processes], [one.paced[BASE] for one in processes]),
    ):
        row[f"{what}_ms"] = summary(own).median
        if name == BASE:
            row[f"{what}_ratio"] = 1.0
        elif len(processes) < MIN_PROCESSES:
            row[f"{what}_ratio"] = summary(own).median / summary(base).median
        else:
            found = ratio(base, own, paired=True)
            row |= {f"{what}_ratio": found.value, f"{what}_ratio_95": [found.low, found.high]}
    return row


def able(files: Files) -> tuple[list[Contender], dict[str, str]]:
    """Return the engines that are installed, and why the others are left out."""
    found, left_out = [], {}
    for one in CONTENDERS:
        try:
            one.version()
            if "ncnn" in one.packages:
                converted(files.onnx)  # once for all processes
            found.append(one)
        except UnfitError as error:
            left_out[one.name] = str(error)
    return found, left_out


def results_of(
    shared: Path | None, folder: Path, effort: Effort, progress: Progress = lambda n: None
) -> dict[str, Any]:
    """Run the race in fresh processes, all engines in each of them.

    Args:
        shared: the folder with the reference's weights and clips; None: the embedded weights
            and drawn figures.
        folder: for the exported files.
        effort: of the timing.
        progress: called with 1 after each process.

    Raises:
        UsageError: the export failed, or ours does not run.
    """
    looks = [Snapshot.now()]
    files = exported("embedded" if shared is None else shared / WEIGHTS, folder)
    frames = frames_of(shared, files)
    contenders, left_out = able(files)
    names = [one.name for one in contenders]
    fresh = ProcessPoolExecutor(
        1, get_context("spawn"), hide_native_messages_at_exit, max_tasks_per_child=1
    )
    processes = []
    with fresh as pool:
        for turn in range(effort.processes):
            work = pool.submit(measured_once, names, files, frames, effort, turn)
            processes.append(work.result())
            looks.append(Snapshot.now())
            progress(1)
    for one in processes:
        left_out |= one.left_out
    return {
        "date": date.today().isoformat(),
        "weights": "embedded" if shared is None else "the reference's",
        "frames": len(frames),
        "machine": asdict(Environment.of(looks, steady=False)),
        "effort": asdict(effort),
        "engines": {
            one.name: one.about() | row_of(one.name, processes)
            for one in contenders
            if one.name not in left_out
        },
        "left_out": left_out,
    }
