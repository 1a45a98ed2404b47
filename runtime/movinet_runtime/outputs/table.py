"""What the terminal shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.outputs.output import Sink, printable, printing
from movinet_runtime.sources.frame import Frame

BAR_WIDTH = 24
Show = Callable[[Prediction], None]


@contextmanager
def table(
    selection: Selection, top_k: int, name: str, total: int | None, fps: float
) -> Iterator[Sink]:
    """Show the best labels in place, on a pipe a plain line a frame; the answer last."""
    console = Console()
    last: Prediction | None = None
    with _in_place(console, total, selection, top_k) as show:

        def sink(_: Frame, prediction: Prediction) -> None:
            nonlocal last
            last = prediction
            with printing():
                show(prediction)

        yield sink
    if last is not None:
        seconds = f"{(last.index + 1) / fps:.1f} s"
        title = f"{name}: {last.index + 1} frames, {seconds}"
        with printing():
            console.print(_table(selection.top(last, top_k), title))


@contextmanager
def _in_place(
    console: Console, total: int | None, selection: Selection, top_k: int
) -> Iterator[Show]:
    if not console.is_terminal:
        yield lambda prediction: _print_line(prediction, selection)
        return
    columns = (BarColumn(), TextColumn("{task.completed} frames"), TimeRemainingColumn())
    progress = Progress(*columns, console=console)
    task = progress.add_task("frames", total=total)
    with Live(progress, console=console, transient=True) as live:

        def show(prediction: Prediction) -> None:
            progress.update(task, completed=prediction.index + 1)
            rows = _table(selection.top(prediction, top_k), f"{prediction.time:.1f} s")
            live.update(Group(rows, progress))

        yield show


def _print_line(prediction: Prediction, selection: Selection) -> None:
    best = selection.top(prediction, 1)
    label, probability = best[0] if best else ("-", 0.0)
    print(f"{prediction.time:7.2f} s  {probability:6.1%}  {printable(label)}", flush=True)


def _table(best: list[tuple[str, float]], title: str) -> Table:
    shown = escape(printable(title))  # brackets in names are no markup
    rows = Table(title=shown, title_justify="left", box=None, pad_edge=False)
    rows.add_column("label", overflow="fold")
    rows.add_column("probability", justify="right")
    rows.add_column("", min_width=BAR_WIDTH)
    for label, probability in best:
        bar = "█" * round(probability * BAR_WIDTH)
        rows.add_row(escape(printable(label)), f"{probability:.1%}", bar)
    return rows
