"""What a camera's pace costs, taken apart: cold caches, a core that slept, pages, waits."""

import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.command import run
from movinet_benchmarks.measure import frames_for
from movinet_benchmarks.process.conditions import CONDITIONS
from movinet_benchmarks.statistics import summary
from movinet_benchmarks.timing import run_module
from movinet_runtime import StreamModel

Row = dict[str, Any]


def measured(models: list[Path], threads: list[int], processes: int, rounds: int) -> list[Row]:
    """Measure each model in fresh processes, all models by turns.

    Returns:
        By model and number of threads: for each condition ``ms`` (the median), ``faults`` and
        ``switches`` (a step).

    Raises:
        ModelFileError: a model does not start.
    """
    subjects = list(product(models, threads))
    answers: dict[tuple[Path, int], list[Row]] = {subject: [] for subject in subjects}
    with tempfile.TemporaryDirectory(prefix="movinet-pace-") as folder:
        files = {path: Path(folder) / f"{i}.npy" for i, path in enumerate(models)}
        for path, frames in files.items():
            loaded = StreamModel(path)
            np.save(frames, np.stack(frames_for(loaded.size, loaded.fps, None)))
        for _ in range(processes):
            for path, number in subjects:
                arguments = [str(path), "auto", str(number), str(rounds), str(files[path])]
                answers[path, number].append(run_module("conditions", arguments))
    return [
        {
            "model": path.stem,
            "threads": number,
            "conditions": {name: _merged([one[name] for one in found]) for name in CONDITIONS},
        }
        for (path, number), found in answers.items()
    ]


def _merged(answers: list[Row]) -> Row:
    """Return the figures of a condition over all processes."""
    counts = {
        key: float(np.median([one[key] for one in answers])) for key in ("faults", "switches")
    }
    return {"ms": summary([one["ms"] for one in answers]).median, **counts}


def table(rows: list[Row]) -> Table:
    """Return milliseconds of each condition, over those of a hot step in brackets."""
    shown = Table(title="a step, ms", title_justify="left", box=None)
    for column in ("model", "threads", *CONDITIONS, "page faults", "waits"):
        shown.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        found = row["conditions"]
        hot = found["hot"]["ms"]
        times = [f"{found[n]['ms']:.2f} ({found[n]['ms'] / hot:.2f})" for n in CONDITIONS]
        camera = found["camera"]
        counts = [f"{camera['faults']:.1f}", f"{camera['switches']:.1f}"]
        shown.add_row(row["model"], str(row["threads"]), *times, *counts)
    return shown


def main(
    models: Annotated[list[Path], typer.Argument(help="Stream models, .tflite.")],
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Default: 1 and 2.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes for each.")] = 5,
    rounds: Annotated[int, typer.Option(min=2, help="Steps of each condition in each.")] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Take apart what a step costs at a camera's pace: docs/benchmarks.md has the table."""
    rows = measured(models, threads or [1, 2], processes, rounds)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        Console(width=140).print(table(rows))


if __name__ == "__main__":
    run(main)
