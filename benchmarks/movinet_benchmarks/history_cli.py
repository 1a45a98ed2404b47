"""``movinet bench history``."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from movinet_benchmarks.fidelity import MAX_DB
from movinet_benchmarks.history import Line, Point, commits, draw, history, read_reports
from movinet_runtime.outputs.plot import new_figure, picture_format, save_figure


class Over(str, Enum):
    """What runs from left to right."""

    time = "time"
    commits = "commits"


def history_command(
    reports: Annotated[Path, typer.Argument(help="A folder of reports (.json).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw them: history.png, .svg, ...")
    ] = None,
    over: Annotated[
        Over | None, typer.Option(help="Default: commits, where every report names one.")
    ] = None,
    last: Annotated[
        int, typer.Option(min=1, help="Rows of the table for each variant on each machine.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="All points, as JSON.")] = False,
) -> None:
    """Show latency, fidelity and memory over commits or time, by variant and by machine.

    movinet bench history reports/

    movinet bench history reports/ -o history.png --over time

    movinet bench history reports/ --json | jq '.lines[].points[-1]'
    """
    if output is not None:
        picture_format(new_figure(1, 1), output)  # a wrong name is found before the reading
    found, skipped = read_reports(reports)
    lines = history(found)
    named = all(point.commit is not None for line in lines for point in line.points)
    axis = over or (Over.commits if named else Over.time)
    if output is not None:
        save_figure(draw(lines, axis.value), output)
    console = Console(stderr=True)
    for why in skipped:
        console.print(why, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        rows = {
            "reports": len(found),
            "skipped": skipped,
            "commits": commits(lines),
            "lines": [asdict(line) for line in lines],
        }
        print(json.dumps(rows, indent=1, allow_nan=False))
    else:
        _print(lines, last)


def _print(lines: Sequence[Line], last: int) -> None:
    console = Console()
    shown = [point for line in lines for point in line.points[-last:]]
    machine = None
    for line in lines:
        if machine != (line.machine, line.conditions):
            machine = (line.machine, line.conditions)
            title = " · ".join(machine)
            console.print(f"\n{title}", style="bold", highlight=False, markup=False, soft_wrap=True)
        table = Table(title=escape(line.variant), title_justify="left", box=None, pad_edge=False)
        table.add_column("date", no_wrap=True)
        table.add_column("commit", overflow="fold")
        for column in ("ms ± 95 %", "SQNR dB", "peak MB", "file MB", ""):
            table.add_column(column, justify="right", no_wrap=True)
        for point in line.points[-last:]:
            table.add_row(*_cells(point))
        console.print(table)
    if any(point.disturbed for point in shown):
        console.print("! the machine was not left in peace", style="yellow", highlight=False)


def _cells(point: Point) -> list[str]:
    db, step = point.sqnr_db, f"{point.median_ms:.2f}"
    if point.low_ms is not None and point.high_ms is not None:
        step += f" ± {(point.high_ms - point.low_ms) / 2:.2f}"
    return [
        point.date[:16].replace("T", " "),
        escape(point.commit or "-"),
        step,
        "-" if db is None else "reference" if db >= MAX_DB else f"{db:.1f}",
        f"{point.peak_bytes / 1e6:.0f}",
        f"{point.file_bytes / 1e6:.2f}",
        "!" if point.disturbed else "",
    ]
