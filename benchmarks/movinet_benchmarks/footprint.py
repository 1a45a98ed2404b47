"""What the runtime costs a board: disk, start-up, memory over 100,000 steps, 720p video.

``python -m movinet_benchmarks.footprint MODEL`` (the embedded one by default). The disk part
builds environments of their own from ``runtime/``, so it needs the repository.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.command import run
from movinet_benchmarks.timing import run_module, start_cost
from movinet_models import embedded
from movinet_models.figures import ACTIONS
from movinet_models.figures.scene import Scene
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.video import save_frames

RUNTIME = Path(__file__).parents[2] / "runtime"
STEPS, WARM_UP = 100_000, 2000
SECONDS, FPS, SIZE = 8, 30, (1280, 720)


def disk() -> dict[str, float]:
    """Megabytes of the runtime's environment beyond an empty one."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="movinet-") as name:
        for what, package in (("core", f"{RUNTIME}"), ("with video", f"{RUNTIME}[video]")):
            folder = Path(name) / what
            _run([sys.executable, "-m", "venv", str(folder)])
            empty = _megabytes(folder)
            pip = (str(folder / "bin/python"), "-m", "pip", "install", "--quiet")
            constraints = RUNTIME.parent / "constraints.txt"
            _run([*pip, "--no-compile", "-c", str(constraints), package])
            found[what] = round(_megabytes(folder) - empty, 1)
    return found


def endurance(model: Path, steps: int = STEPS) -> float:
    """Megabytes that resident memory grows by in many steps after a warm-up."""
    grown = run_module("endure", (str(model), str(WARM_UP), str(steps)))
    return round(int(grown["resident"]) / 1e6, 2)


def video(model: Path) -> dict[str, Any]:
    """Run a drawn 720p video at 30 fps on one core; milliseconds a frame by stage, and fps."""
    with tempfile.TemporaryDirectory(prefix="movinet-") as name:
        clip = Path(name) / "720p.mp4"
        rng = np.random.default_rng(3)
        square = Scene.random(rng, SIZE[1]).frames([(ACTIONS["squat"], SECONDS)], FPS, rng)
        wide = (np.pad(f, ((0, 0), (280, 280), (0, 0)), mode="edge") for f in square)
        save_frames(clip, wide, FPS)
        command = [sys.executable, "-m", "movinet_runtime.cli.main", "run", str(clip)]
        command += ["--model", str(model), "--fps", str(FPS), "--threads", "1"]
        command += ["--json", "--stats"]
        core = min(os.sched_getaffinity(0))
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    if done.returncode:
        raise UsageError(done.stderr.strip().splitlines()[-1])
    return dict(json.loads(done.stderr.strip().splitlines()[-1]))


def _megabytes(folder: Path) -> float:
    return sum(f.lstat().st_size for f in folder.rglob("*") if not f.is_symlink()) / 1e6


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UsageError((done.stderr.strip().splitlines() or ["it failed"])[-1])
    return done.stdout


def main(
    model: Annotated[Path, typer.Argument(help="A stream model.")] = embedded.MODEL,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure disk, start-up, endurance and video throughput."""
    start = start_cost(model)
    found: dict[str, Any] = {
        "start to first label, s": round(
            (start.import_ms + start.load_ms + start.first_ms) / 1e3, 3
        ),
        "peak resident MB": round(start.peak_bytes / 1e6, 1),
        f"growth in {STEPS:,} steps, MB": endurance(model),
    }
    found |= {f"720p on one core, {key}": value for key, value in video(model).items()}
    found |= {f"disk MB, {what}": size for what, size in disk().items()}
    if as_json:
        print(json.dumps(found, indent=1))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for what, value in found.items():
        table.add_row(what, str(value))
    Console().print(table)


if __name__ == "__main__":
    run(main)
