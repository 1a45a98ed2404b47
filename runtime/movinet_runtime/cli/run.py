"""``movinet run``: labels for a source, frame by frame."""

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from movinet_runtime.classifier import StreamClassifier, read_labels
from movinet_runtime.cli.commands import known_commands
from movinet_runtime.cli.loop import classify
from movinet_runtime.cli.options import only_with
from movinet_runtime.cli.stop import stoppable
from movinet_runtime.decisions import EventTracker, Selection, Smoother
from movinet_runtime.errors import UsageError
from movinet_runtime.install import install_hint
from movinet_runtime.outputs.events import event_lines
from movinet_runtime.outputs.lines import csv_lines, json_lines
from movinet_runtime.outputs.output import Output
from movinet_runtime.outputs.plot import plotted
from movinet_runtime.outputs.state import saved_state
from movinet_runtime.outputs.table import table
from movinet_runtime.outputs.video import labelled_video
from movinet_runtime.preprocess import Fit
from movinet_runtime.sources import open_frames, sounds_live
from movinet_runtime.sources.source import Source
from movinet_runtime.stream import Stream

FITS: dict[str, Fit] = {"crop": "crop", "stretch": "stretch", "pad": "pad"}
OUTPUT = "Output"
LIVE = "Live sources"
DECISIONS = "Decisions"


def run(
    context: typer.Context,
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
            help="A stream model (.tflite). Default: the small one that an installed package "
            "brings, which knows drawn figures.",
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
        float | None,
        typer.Option(
            help="An action starts at this probability (default: the class's own threshold in "
            "models of independent classes, else 0.5),",
            rich_help_panel=DECISIONS,
        ),
    ] = None,
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

    A live run (camera, stream, pipe) ends well when it is stopped (Ctrl-C, SIGTERM) or its
    source ends: outputs are complete, open events end.

    movinet run clip.gif

    movinet run clip.mp4 -m a0.tflite

    movinet run camera:0 --model a0.tflite --smooth 0.7 --events

    movinet run rtsp://door.local/1 -m a0.tflite --json --allow "jumping jacks"

    movinet run clip.mp4 -m a0.tflite --save labelled.mp4 --plot probabilities.png --stats
    """
    if fit not in FITS:
        raise UsageError(f"--fit is crop, stretch or pad, not '{fit}'")
    if on_loss not in ("keep", "reset"):
        raise UsageError(f"--on-loss is keep or reset, not '{on_loss}'")
    only_with(context, as_events, "--events", "on", "off", "min_duration")
    only_with(context, source == "-", "raw frames on standard input, -", "size")
    names = None if labels is None else read_labels(labels)
    with stoppable(sounds_live(source)):
        classifier = StreamClassifier(model or embedded_model(), threads, names, engine, horizon)
    selection = Selection.of(classifier.labels, allow or (), deny or (), threshold)
    reset = on_loss == "reset"
    stream = Stream(classifier, Smoother(smooth, mean), FITS[fit], reset)
    tracker = EventTracker(on, off, min_duration, selection)
    tracker.levels(len(classifier.labels), classifier.thresholds)  # before a camera is opened
    if load_state is not None:
        classifier.load_state(load_state)
    rate = classifier.fps if fps is None else fps
    frames = open_frames(source, rate, _size(size), _say)
    only_with(context, frames.live, "live sources", "on_loss")
    total = _total(frames, rate, max_frames)

    def outputs() -> Iterator[Output]:
        if csv_file is not None:
            yield csv_lines(csv_file, selection, top_k)
        if save is not None:
            yield labelled_video(save, selection, rate, total, _say)
        if plot is not None:
            yield plotted(plot, selection)
        if save_state is not None:
            yield saved_state(save_state, classifier)
        if as_events:
            yield event_lines(tracker, as_json, reset)
        elif as_json:
            yield json_lines(selection, top_k)
        else:
            yield table(selection, top_k, frames.name, total, rate)

    about = classify(frames, rate, stream, outputs(), max_frames, _say)
    if stats:
        print(json.dumps(about), file=sys.stderr)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _total(frames: Source, rate: float, max_frames: int | None) -> int | None:
    """Return how many frames there will be, where the source claims to know."""
    if frames.duration is None:
        return max_frames
    whole = max(1, round(frames.duration * rate))
    return whole if max_frames is None else min(whole, max_frames)


def embedded_model() -> Path:
    """Return the model that an installed package brings (entry point ``movinet.models``).

    Raises:
        UsageError: none is installed.
    """
    for point in entry_points(group="movinet.models"):
        return Path(point.load())
    package, _ = known_commands()["models"]
    raise UsageError(
        "which model? give --model FILE.tflite, or get a small one: " + install_hint(package)
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or "0" in match.groups():
        raise UsageError(f"--size is WIDTHxHEIGHT, such as 640x480, not '{text}'")
    return int(match[1]), int(match[2])
