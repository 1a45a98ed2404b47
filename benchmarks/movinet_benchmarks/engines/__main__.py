"""``python -m movinet_benchmarks.engines`` (``make engines``)."""

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from movinet_benchmarks.command import run
from movinet_benchmarks.engines.page import page, picture, remarks, table_of
from movinet_benchmarks.engines.race import results_of
from movinet_benchmarks.pairs import Effort
from movinet_runtime.files import writing, written_whole


def main(
    rounds: Annotated[
        int, typer.Option(min=2, help="Timed steps of each in a process, back to back.")
    ] = Effort.rounds,
    paced_rounds: Annotated[int, typer.Option(min=2, help="The same, at the camera's pace.")] = 40,
    processes: Annotated[
        int, typer.Option(min=1, help="Fresh ones; medians and intervals over them.")
    ] = Effort.processes,
    pace: Annotated[
        float, typer.Option(min=0.1, help="The camera's frames a second.")
    ] = Effort.pace,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page; its picture goes beside it.")
    ] = Path("out/engines.md"),
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Race ONNX Runtime, OpenVINO and ncnn beside ours: A0, one thread, states carried.

    Weights and clips are in the folder that MOVINET_SHARED names; without it they are the
    embedded ones and drawn figures.

    python -m movinet_benchmarks.engines

    python -m movinet_benchmarks.engines --processes 1 --rounds 50 --json

    python -m movinet_benchmarks.engines -o docs/engines.md
    """
    shared = os.environ.get("MOVINET_SHARED")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        tempfile.TemporaryDirectory(prefix="movinet-") as folder,
        Progress(
            *columns, console=console, disable=not console.is_terminal, transient=True
        ) as progress,
    ):
        task = progress.add_task("exporting, then racing", total=processes)
        results = results_of(
            Path(shared) if shared else None,
            Path(folder),
            Effort(rounds, paced_rounds, processes, pace),
            lambda n: progress.advance(task, n),
        )
    drawing = output.with_suffix(".png")
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    picture(results, drawing)
    with written_whole(output) as temporary:
        temporary.write_text(page(results, drawing.name), "utf-8")
    if as_json:
        print(json.dumps(results, indent=1, allow_nan=False))
    else:
        Console().print(table_of(results))
        for line in remarks(results):
            print(line)
        print(f"see {output} and {drawing}")


if __name__ == "__main__":
    run(main)
