"""``movinet run``: labels for a source, frame by frame."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_runtime.classifier import Prediction, StreamClassifier, read_labels
from movinet_runtime.errors import UsageError
from movinet_runtime.frames import FrameSource, open_frames
from movinet_runtime.preprocess import Fit

BAR_WIDTH = 24


def run(
    source: Annotated[str, typer.Argument(help="A video, a GIF, or a folder of images.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="A stream model (.tflite).")],
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many labels.")] = 5,
    labels: Annotated[
        Path | None, typer.Option(help="One label a line; default: those in the model.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to look at; default: the model's.")
    ] = None,
    fit: Annotated[
        str, typer.Option(help="Other aspect ratios: crop the centre, stretch, or pad.")
    ] = "crop",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; default: the cores, at most 4.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="auto, compiled or interpreter; auto takes the fastest.")
    ] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a frame, the answer last.")
    ] = False,
) -> None:
    """Classify a video, GIF or folder of images frame by frame.

    The last line is the answer for the whole clip: each frame's labels take in all
    frames before it.

    movinet run clip.mp4 --model a0.tflite

    movinet run frames/ --model a0.tflite --fps 5 --json | jq .top[0].label
    """
    if fit not in ("crop", "stretch", "pad"):
        raise UsageError(f"--fit is crop, stretch or pad, not '{fit}'")
    names = None if labels is None else read_labels(labels)
    classifier = StreamClassifier(model, threads, names, engine)
    rate = classifier.fps if fps is None else fps
    frames = open_frames(source, image_fps=rate)
    predictions = _predictions(classifier, frames, rate, fit)  # type: ignore[arg-type]
    if as_json:
        _print_json(predictions, top_k)
    else:
        _print_table(predictions, top_k, frames, rate)


def _predictions(
    classifier: StreamClassifier, frames: FrameSource, fps: float, fit: Fit
) -> Iterator[Prediction]:
    for frame in frames.sampled(fps):
        yield classifier.step(frame.image, frame.time, fit)


def _print_json(predictions: Iterator[Prediction], top_k: int) -> None:
    last = None
    for last in predictions:
        print(json.dumps(_as_json(last, top_k)), flush=True)
    if last is not None:
        print(json.dumps({"final": True, "frames": last.index + 1} | _as_json(last, top_k)))


def _as_json(prediction: Prediction, top_k: int) -> dict[str, Any]:
    top = [{"label": label, "probability": p} for label, p in prediction.top(top_k)]
    return {"frame": prediction.index, "time": prediction.time, "top": top}


def _print_table(
    predictions: Iterator[Prediction], top_k: int, frames: FrameSource, fps: float
) -> None:
    console = Console()
    total = None if frames.duration is None else max(1, round(frames.duration * fps))
    last = None
    with _live(console, total) as show:
        for last in predictions:
            show(last, _table(last, top_k, title=f"{last.time:.1f} s"))
    if last is not None:
        seconds = f"{(last.index + 1) / fps:.1f} s"
        title = f"{frames.name}: {last.index + 1} frames, {seconds}"
        console.print(_table(last, top_k, title=title))


@contextmanager
def _live(console: Console, total: int | None) -> Iterator[Any]:
    """Give a function that shows a table in place; on a pipe, a plain line a frame."""
    if not console.is_terminal:
        yield lambda prediction, _: _print_line(prediction)
        return
    columns = (BarColumn(), TextColumn("{task.completed} frames"), TimeRemainingColumn())
    progress = Progress(*columns, console=console)
    task = progress.add_task("frames", total=total)
    with Live(progress, console=console, transient=True) as live:

        def show(prediction: Prediction, table: Table) -> None:
            progress.update(task, completed=prediction.index + 1)
            live.update(Group(table, progress))

        yield show


def _print_line(prediction: Prediction) -> None:
    label, probability = prediction.top(1)[0]
    print(f"{prediction.time:7.2f} s  {probability:6.1%}  {label}", file=sys.stdout)


def _table(prediction: Prediction, top_k: int, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("label", overflow="fold")
    table.add_column("probability", justify="right")
    table.add_column("", min_width=BAR_WIDTH)
    for label, probability in prediction.top(top_k):
        bar = "█" * round(probability * BAR_WIDTH)
        table.add_row(label, f"{probability:.1%}", bar)
    return table
