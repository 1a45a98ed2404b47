"""What the terminal shows."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection

BAR_WIDTH = 24


def print_table(
    predictions: Iterator[Prediction],
    selection: Selection,
    top_k: int,
    name: str,
    total: int | None,
    fps: float,
) -> None:
    """Show a table in place, and the last one at the end."""
    console = Console()
    last = None
    with _live(console, total, selection) as show:
        for last in predictions:
            show(last, _table(selection.top(last, top_k), title=f"{last.time:.1f} s"))
    if last is not None:
        seconds = f"{(last.index + 1) / fps:.1f} s"
        title = f"{name}: {last.index + 1} frames, {seconds}"
        console.print(_table(selection.top(last, top_k), title=title))


@contextmanager
def _live(console: Console, total: int | None, selection: Selection) -> Iterator[Any]:
    """Give a function that shows a table in place; on a pipe, a plain line a frame."""
    if not console.is_terminal:
        yield lambda prediction, _: _print_line(prediction, selection)
        return
    columns = (BarColumn(), TextColumn("{task.completed} frames"), TimeRemainingColumn())
    progress = Progress(*columns, console=console)
    task = progress.add_task("frames", total=total)
    with Live(progress, console=console, transient=True) as live:

        def show(prediction: Prediction, table: Table) -> None:
            progress.update(task, completed=prediction.index + 1)
            live.update(Group(table, progress))

        yield show


def _print_line(prediction: Prediction, selection: Selection) -> None:
    best = selection.top(prediction, 1)
    label, probability = best[0] if best else ("-", 0.0)
    print(f"{prediction.time:7.2f} s  {probability:6.1%}  {label}", file=sys.stdout, flush=True)


def _table(best: list[tuple[str, float]], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("label", overflow="fold")
    table.add_column("probability", justify="right")
    table.add_column("", min_width=BAR_WIDTH)
    for label, probability in best:
        bar = "█" * round(probability * BAR_WIDTH)
        table.add_row(label, f"{probability:.1%}", bar)
    return table
