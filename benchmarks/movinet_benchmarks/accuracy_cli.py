"""``movinet accuracy``."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_benchmarks.accuracy import MODES, STREAM_CLIPS, Score, interval, judges
from movinet_benchmarks.clips import TEST, VALIDATION, LabelledClip, find_clips
from movinet_runtime import StreamModel, frames_at
from movinet_runtime.errors import SourceError, UsageError


def accuracy(
    models: Annotated[list[Path], typer.Argument(help="Stream models that know the labels.")],
    data: Annotated[
        Path,
        typer.Option(
            help="A folder with a sub-folder of clips for each class (test/ or validation/ of "
            "it, if there are splits), or a CSV with path,label[,split]."
        ),
    ],
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="clips (default), stream, shuffled or single, see below; repeat it.",
        ),
    ] = None,
    stream: Annotated[
        int, typer.Option(min=1, help="Clips in a row without a reset, in the mode stream.")
    ] = STREAM_CLIPS,
    horizon: Annotated[
        int | None, typer.Option(min=0, help="Frames that averages over time remember.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With confusion matrices.")] = False,
) -> None:
    """Count how often models name a clip rightly after its last frame.

    Modes: clips starts anew with each clip; stream carries the state through 40 clips;
    shuffled and single (the last frame alone) show what a model knows without motion: where
    time matters they fall towards chance.

    movinet accuracy a0-*.tflite --data clips/

    movinet accuracy a0-int8.tflite --data data/ --mode clips --mode stream --json
    """
    modes = list(dict.fromkeys(mode or ["clips"]))
    if unknown := [name for name in modes if name not in MODES]:
        raise UsageError(f"no mode '{unknown[0]}'; --mode takes {', '.join(MODES)}")
    clips = _to_judge(find_clips(data))
    loaded = [StreamModel(path) for path in models]
    labels = sorted({clip.label for clip in clips})
    sizes = {(model.size, model.fps) for model in loaded}
    if len(sizes) > 1:
        raise UsageError("the models differ in resolution or frame rate: judge them separately")
    ((size, fps),) = sizes
    all_judges = judges(loaded, labels, modes, stream, horizon)
    console = Console(stderr=True)
    columns = (TextColumn("clips"), BarColumn(), TimeRemainingColumn())
    skipped = 0
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        for clip in progress.track(clips):
            try:
                video = list(frames_at(clip.path, size, fps))
            except SourceError as error:
                skipped += 1
                console.print(f"skipped: {error}", style="yellow", highlight=False, soft_wrap=True)
                continue
            for judge in all_judges:
                judge.show(video, clip.label)
    if skipped == len(clips):
        raise UsageError(f"no clip of {data} can be read")
    scores = [judge.score for judge in all_judges]
    if as_json:
        rows = [
            score.as_json(j.classifier.labels) for score, j in zip(scores, all_judges, strict=True)
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    Console().print(score_table(scores))
    if skipped:
        console.print(f"{skipped} of {len(clips)} clips skipped", style="yellow")


def _to_judge(clips: list[LabelledClip]) -> list[LabelledClip]:
    """Return those that no training saw: the test split, else validation, else all."""
    for split in (TEST, VALIDATION):
        if chosen := [clip for clip in clips if clip.split == split]:
            return _mixed(chosen)
    return _mixed(clips)


def _mixed(clips: list[LabelledClip]) -> list[LabelledClip]:
    """Return them in a random order, always the same: a stream changes its class."""
    return [clips[i] for i in np.random.default_rng(0).permutation(len(clips))]


def score_table(scores: list[Score]) -> Table:
    """A row a model and mode, with the interval of chance."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "mode", "clips", "top-1", "95 %"):
        left = column in ("model", "mode")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for score in scores:
        right, clips = score.of()
        low, high = interval(right, clips)
        table.add_row(
            score.model.stem,
            score.mode,
            str(clips),
            f"{right / clips:.2%}",
            f"{low:.1%} to {high:.1%}",
        )
    return table
