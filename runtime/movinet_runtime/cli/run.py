"""``movinet run``: labels for a source, frame by frame."""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_runtime.classifier import Prediction, StreamClassifier, read_labels
from movinet_runtime.decisions import Event, Selection, events, smoothed
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole
from movinet_runtime.frames import Frame, FrameSource, open_frames
from movinet_runtime.install import install_hint
from movinet_runtime.preprocess import Fit, resized
from movinet_runtime.stats import Stages

BAR_WIDTH = 24
FITS: dict[str, Fit] = {"crop": "crop", "stretch": "stretch", "pad": "pad"}
OUTPUT = "Output"
LIVE = "Live sources"
DECISIONS = "Decisions"


def run(
    source: Annotated[
        str,
        typer.Argument(
            help="A video, GIF, image, folder or pattern of images; camera:N, /dev/videoN, "
            "picamera:N; rtsp://, http(s)://; - for raw RGB on standard input."
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="A stream model (.tflite). Default: the small one that comes with "
            "movinet-models, which knows drawn figures.",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many labels.")] = 5,
    labels: Annotated[
        Path | None, typer.Option(help="One label a line; default: those in the model.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to look at; default: the model's.")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many of them.")
    ] = None,
    fit: Annotated[
        str, typer.Option(help="Other aspect ratios: crop the centre, stretch, or pad.")
    ] = "crop",
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT of raw frames on standard input.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; default: the physical cores, at most 4.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="auto, compiled, interpreter or tflite-runtime; auto takes the fastest."),
    ] = "auto",
    horizon: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Frames that averages over time remember; default: what the model says, "
            "0: all of them.",
        ),
    ] = None,
    load_state: Annotated[
        Path | None, typer.Option(help="Continue from a state that --save-state wrote.")
    ] = None,
    save_state: Annotated[
        Path | None, typer.Option(help="Write the state after the last frame (.npz).")
    ] = None,
    on_loss: Annotated[
        str,
        typer.Option(
            help="A stream that came back: keep or reset the state.", rich_help_panel=LIVE
        ),
    ] = "keep",
    smooth: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.999,
            help="Share of the past in an exponential average.",
            rich_help_panel=DECISIONS,
        ),
    ] = 0.0,
    mean: Annotated[
        int,
        typer.Option(min=0, help="Or the mean over so many frames.", rich_help_panel=DECISIONS),
    ] = 0,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Only this label counts; repeat it.", rich_help_panel=DECISIONS),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option(help="This label does not count; repeat it.", rich_help_panel=DECISIONS),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Least probability of an answer.", rich_help_panel=DECISIONS
        ),
    ] = 0.0,
    as_events: Annotated[
        bool,
        typer.Option(
            "--events",
            help="Starts and ends of actions instead of every frame.",
            rich_help_panel=DECISIONS,
        ),
    ] = False,
    on: Annotated[
        float,
        typer.Option(help="An action starts at this probability,", rich_help_panel=DECISIONS),
    ] = 0.5,
    off: Annotated[
        float | None,
        typer.Option(help="ends below this (default: 0.7 of it),", rich_help_panel=DECISIONS),
    ] = None,
    min_duration: Annotated[
        float,
        typer.Option(min=0, help="after so many seconds there.", rich_help_panel=DECISIONS),
    ] = 0.4,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="JSON Lines: an object a frame, the answer last.", rich_help_panel=OUTPUT
        ),
    ] = False,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="Also write a table: frame, time, rank, label, probability.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Also write the frames with labels and curves (.mp4, .gif).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Also draw the probabilities over time (.png, .svg, .pdf).", rich_help_panel=OUTPUT
        ),
    ] = None,
    stats: Annotated[
        bool,
        typer.Option(
            "--stats", help="Where the time went, on standard error.", rich_help_panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Classify a video, camera or stream frame by frame.

    The last line is the answer for the whole clip: each frame's labels take in all
    frames before it.

    movinet run clip.gif

    movinet run clip.mp4 -m a0.tflite

    movinet run camera:0 --model a0.tflite --smooth 0.7 --events

    movinet run rtsp://door.local/1 -m a0.tflite --json --allow "jumping jacks"

    movinet run clip.mp4 -m a0.tflite --save labelled.mp4 --plot course.png --stats
    """
    if fit not in FITS:
        raise UsageError(f"--fit is crop, stretch or pad, not '{fit}'")
    if on_loss not in ("keep", "reset"):
        raise UsageError(f"--on-loss is keep or reset, not '{on_loss}'")
    names = None if labels is None else read_labels(labels)
    classifier = StreamClassifier(model or embedded_model(), threads, names, engine, horizon)
    selection = Selection.of(classifier.labels, allow or (), deny or (), threshold)
    if load_state is not None:
        classifier.load_state(load_state)
    rate = classifier.fps if fps is None else fps
    frames = open_frames(source, rate, _size(size), lambda line: print(line, file=sys.stderr))
    total = None if frames.duration is None else max(1, round(frames.duration * rate))
    stages = Stages()
    with ExitStack() as outputs:
        sinks = []
        if csv_file is not None:
            sinks.append(outputs.enter_context(_csv(csv_file, selection, top_k)))
        if save is not None:
            sinks.append(outputs.enter_context(_video(save, selection, rate, total)))
        if plot is not None:
            sinks.append(outputs.enter_context(_plot(plot, selection)))
        seen = _predictions(classifier, frames, rate, FITS[fit], on_loss == "reset", stages)
        pairs = _smoothed(islice(seen, max_frames), smooth, mean)
        predictions = _written(pairs, sinks, stages)
        if as_events:
            _print_events(events(predictions, on, off, min_duration, selection), as_json)
        elif as_json:
            _print_json(predictions, selection, top_k)
        else:
            _print_table(predictions, selection, top_k, frames.name, total, rate)
    if save_state is not None:
        classifier.save_state(save_state)
    if stats:
        about = stages.as_json()
        if frames.live is not None:
            about |= {"dropped": frames.live.dropped, "reopened": frames.live.reopened}
        print(json.dumps(about), file=sys.stderr)


def embedded_model() -> Path:
    """Return the model that an installed package brings (entry point ``movinet.models``).

    Raises:
        UsageError: none is installed.
    """
    for point in entry_points(group="movinet.models"):
        return Path(point.load())
    raise UsageError(
        "which model? give --model FILE.tflite, or get a small one: "
        + install_hint("movinet-models")
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or "0" in match.groups():
        raise UsageError(f"--size is WIDTHxHEIGHT, such as 640x480, not '{text}'")
    return int(match[1]), int(match[2])


Pair = tuple[Frame, Prediction]
Sink = Callable[[Frame, Prediction], None]


def _predictions(
    classifier: StreamClassifier,
    frames: FrameSource,
    fps: float,
    fit: Fit,
    reset_on_loss: bool,
    stages: Stages,
) -> Iterator[Pair]:
    waiting = "decode" if frames.live is None else "wait"
    for frame in stages.fetching(frames.sampled(fps), waiting):
        if frame.reopened and reset_on_loss:
            classifier.reset()
        with stages.stage("resize"):
            image = resized(frame.image, classifier.size, fit)
        with stages.stage("infer"):
            prediction = classifier.step(image, frame.time)
        stages.frames += 1
        yield frame, prediction


def _smoothed(pairs: Iterator[Pair], decay: float, mean: int) -> Iterator[Pair]:
    """Smooth the predictions; each keeps its frame."""
    frames: list[Frame] = []

    def predictions() -> Iterator[Prediction]:
        for frame, prediction in pairs:
            frames.append(frame)
            yield prediction

    for prediction in smoothed(predictions(), decay, mean):
        yield frames.pop(), prediction


def _written(pairs: Iterator[Pair], sinks: list[Sink], stages: Stages) -> Iterator[Prediction]:
    """Pass predictions on after every output took them."""
    for frame, prediction in pairs:
        with stages.stage("output"):
            for sink in sinks:
                sink(frame, prediction)
        yield prediction


@contextmanager
def _csv(path: Path, selection: Selection, top_k: int) -> Iterator[Sink]:
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["frame", "time", "rank", "label", "probability"])

        def sink(_: Frame, prediction: Prediction) -> None:
            for rank, (label, p) in enumerate(selection.top(prediction, top_k), start=1):
                writer.writerow([prediction.index, prediction.time, rank, label, f"{p:.6f}"])

        yield sink


@contextmanager
def _video(path: Path, selection: Selection, fps: float, total: int | None) -> Iterator[Sink]:
    from movinet_runtime.overlay import Overlay
    from movinet_runtime.writer import frame_writer

    overlay = Overlay(total=total, selection=selection)
    with frame_writer(path, fps) as write:
        yield lambda frame, prediction: write(overlay.draw(frame.image, prediction))


@contextmanager
def _plot(path: Path, selection: Selection) -> Iterator[Sink]:
    from movinet_runtime.plot import draw_course

    seen: list[Prediction] = []
    yield lambda _, prediction: seen.append(prediction)
    draw_course(path, seen, selection)


def _print_events(found: Iterator[Event], as_json: bool) -> None:
    for event in found:
        if as_json:
            print(json.dumps(asdict(event), ensure_ascii=False), flush=True)
        else:
            lasted = "" if event.duration is None else f"  after {event.duration:.1f} s"
            line = f"{event.time:7.2f} s  {event.kind:5}  {event.probability:6.1%}  {event.label}"
            print(line + lasted, flush=True)


def _print_json(predictions: Iterator[Prediction], selection: Selection, top_k: int) -> None:
    last = None
    for last in predictions:
        print(json.dumps(_as_json(last, selection, top_k)), flush=True)
    if last is not None:
        final = {"final": True, "frames": last.index + 1}
        print(json.dumps(final | _as_json(last, selection, top_k)))


def _as_json(prediction: Prediction, selection: Selection, top_k: int) -> dict[str, Any]:
    best = selection.top(prediction, top_k)
    top = [{"label": label, "probability": p} for label, p in best]
    return {"frame": prediction.index, "time": prediction.time, "top": top}


def _print_table(
    predictions: Iterator[Prediction],
    selection: Selection,
    top_k: int,
    name: str,
    total: int | None,
    fps: float,
) -> None:
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
