"""What several streams in one step cost, beside one at a time: docs/streams.md is made here."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.arm.cores import CORES
from movinet_benchmarks.arm.emulate import emulate
from movinet_benchmarks.arm.root import missing_tools
from movinet_benchmarks.command import run
from movinet_benchmarks.measure import frames_for
from movinet_benchmarks.statistics import summary
from movinet_benchmarks.timing import Schedule, time_models
from movinet_runtime import StreamModel
from movinet_runtime.errors import UsageError

STREAMS, THREADS = (1, 2, 4, 8), (1, 2)
PACE = 5.0  # frames a second that A0 expects
CORE_FRAMES = 4
Row = dict[str, Any]


def exported(variant: str, streams: Sequence[int], folder: Path) -> dict[int, Path]:
    """Export A0 with seeded weights in its own resolution, for each number of streams."""
    files = {}
    for number in streams:
        files[number] = folder / f"a0-stream-{variant}-{number}.tflite"
        command = [sys.executable, "-m", "movinet_runtime.cli.main", "export", "a0-stream"]
        command += ["-w", "random:0", "-q", variant, "-o", str(files[number])]
        command += ["--streams", str(number), "--long-frames", "2"]
        command += [] if variant in ("float32", "float16") else ["--calibrate", "none"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UsageError(f"the export failed: {done.stderr.strip().splitlines()[-1]}")
    return files


def timed(files: dict[int, Path], processes: int) -> list[Row]:
    """Milliseconds that a stream takes, back to back and at a camera's pace."""
    first = StreamModel(next(iter(files.values())))
    images = frames_for(first.size, first.fps, None)
    models = {str(number): path for number, path in files.items()}
    rows = []
    for pace in (None, PACE):
        schedule = Schedule(processes=processes, pace=pace, threads=THREADS)
        found, _ = time_models(models, images, schedule)
        for one in found:
            number = int(one.name)
            median = summary(one.samples_ms).median / number
            rows.append({"streams": number, "threads": one.threads, "pace": pace, "ms": median})
    return rows


def counted(files: dict[int, Path]) -> list[Row]:
    """Million instructions that a frame of a stream takes, on the cores that can be emulated."""
    first = StreamModel(next(iter(files.values())))
    images = frames_for(first.size, first.fps, None, CORE_FRAMES)
    cores = [core for core in CORES.values() if core.machine.name == "aarch64"]
    if any(missing_tools(core.machine) for core in cores):
        return []
    found = emulate(list(files.values()), cores, images)
    return [
        {
            "streams": number,
            "core": core.name,
            "M": found[path, core.name].instructions / 1e6 / number,
        }
        for number, path in files.items()
        for core in cores
    ]


def table(variant: str, rows: list[Row], counts: list[Row]) -> Table:
    """Return the figures of a variant: a row for each number of streams."""
    shown = Table(title=f"{variant}: a frame of a stream", title_justify="left", box=None)
    columns = [(threads, pace) for pace in (None, PACE) for threads in THREADS]
    shown.add_column("streams", justify="right")
    for threads, pace in columns:
        how = "hot" if pace is None else f"{pace:g} a second"
        shown.add_column(f"ms, {threads} thread{'s' * (threads > 1)}, {how}", justify="right")
    cores = list(dict.fromkeys(row["core"] for row in counts))
    for core in cores:
        shown.add_column(f"M instr., {core}", justify="right")
    one = {(row["threads"], row["pace"]): row["ms"] for row in rows if row["streams"] == 1}
    for number in dict.fromkeys(row["streams"] for row in rows):
        ms = {(r["threads"], r["pace"]): r["ms"] for r in rows if r["streams"] == number}
        cells = [f"{ms[key]:.2f} ({ms[key] / one[key]:.2f})" for key in columns]
        by_core = {row["core"]: row["M"] for row in counts if row["streams"] == number}
        shown.add_row(str(number), *cells, *(f"{by_core[core]:.2f}" for core in cores))
    return shown


def main(
    variants: Annotated[
        list[str] | None, typer.Argument(help="Variants of A0; default: float32 and dynamic.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes, by turns.")] = 5,
    count: Annotated[bool, typer.Option(help="Count instructions on emulated cores.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure 1, 2, 4 and 8 streams in one step."""
    results = {}
    for variant in variants or ["float32", "dynamic"]:
        with tempfile.TemporaryDirectory(prefix="movinet-streams-") as folder:
            files = exported(variant, STREAMS, Path(folder))
            counts = counted(files) if count else []
            results[variant] = {"time": timed(files, processes), "instructions": counts}
        if not as_json:
            Console().print(table(variant, *results[variant].values()))
    if as_json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    run(main)
