"""``movinet accuracy``."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_benchmarks.accuracy import MODES, STREAM_CLIPS, Judge, Score, interval, judges
from movinet_benchmarks.answers import Answers, Job, elsewhere, job_of, play, runs
from movinet_benchmarks.clip_model import ClipModel, load_model
from movinet_benchmarks.protocol import Protocol
from movinet_models.clips import TEST, VALIDATION, LabelledClip, find_clips
from movinet_models.splits import fingerprint, unpacked
from movinet_runtime import StreamModel, read_labels
from movinet_runtime.cli.place import PathMaps, Where, checked_place
from movinet_runtime.errors import UsageError
from movinet_runtime.preprocess import Fit

Model = StreamModel | ClipModel

FITS: tuple[Fit, ...] = get_args(Fit)
DEFAULT_CLIP_FRAMES = 50  # of A0-A2, for files that do not say


def accuracy(
    models: Annotated[list[Path], typer.Argument(help="Models that know the labels.")],
    data: Annotated[
        Path,
        typer.Option(
            help="A folder with a sub-folder of clips for each class (test/ or validation/ of "
            "it, if there are splits); a CSV with path,label[,split]; a CSV of Kinetics with "
            "label,youtube_id,time_start,time_end[,split]; or a list with lines 'path label', "
            "where digits are an index into the model's labels."
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
    videos: Annotated[
        Path | None,
        typer.Option(help="The folder that a list's files lie in; default: the list's own."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Names of the classes, one a line, for models without any inside."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Show at most this many frames of each clip; default: all."),
    ] = None,
    fit: Annotated[
        str | None, typer.Option(help="crop (default), stretch or pad, as in 'movinet run'.")
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Show clips as for the published accuracies: the frames in the middle, a "
            "somewhat smaller cut, no antialiasing (docs/preprocessing.md).",
        ),
    ] = False,
    on: Where = None,
    map_paths: PathMaps = None,
    as_json: Annotated[bool, typer.Option("--json", help="With confusion matrices.")] = False,
) -> None:
    """Count how often models name a clip rightly after its last frame.

    Modes: clips starts anew with each clip; stream carries the state through 40 clips;
    shuffled and single (the last frame alone) show what a model knows without motion: where
    time matters they fall towards chance. Base models take clips only: as many frames as
    their file says, from the clip's start, the last one again if there are fewer.

    movinet accuracy a0-*.tflite --data clips/

    movinet accuracy a0-int8.tflite --data data/ --mode clips --mode stream --json

    movinet accuracy a0.tflite --data kinetics_600_val.csv --videos val/ --published

    movinet accuracy a0.tflite --data val.csv --on local
    """
    pairs = checked_place(on, map_paths)
    modes = list(dict.fromkeys(mode or ["clips"]))
    if unknown := [name for name in modes if name not in MODES]:
        raise UsageError(f"no mode '{unknown[0]}'; --mode takes {', '.join(MODES)}")
    named = None if labels is None else read_labels(labels)
    loaded = [load_model(path, named) for path in models]
    protocol = _protocol(loaded, frames, fit, published)
    one_set = all(list(model.labels) == list(loaded[0].labels) for model in loaded)
    listed = find_clips(data, videos, loaded[0].labels if one_set else None, min_classes=1)
    shown = _to_judge(listed)
    chosen = [clip for clip in shown if clip.labels]
    clips = [clip for clip in chosen if clip.path.exists()]
    missing = len(chosen) - len(clips)
    lost = next((clip.path for clip in chosen if not clip.path.exists()), None)
    if not clips:
        raise UsageError(f"{data}: none of its {missing} videos is there; the first: {lost}")
    clips, leaks = _unseen(clips, loaded)
    where = {label: clip.where for clip in reversed(clips) for label in clip.labels}
    all_judges = judges(loaded, sorted(where), modes, stream, horizon, where)
    job = job_of(loaded, modes, protocol, horizon, named)
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)

    if empty := len(shown) - len(chosen):
        say(f"{empty} clips show none of the classes: left out, since no answer would be right")
    if missing:
        say(f"{missing} of {len(chosen)} videos are missing; the first: {lost}")
    if parts := [clip.path.name for clip in clips if clip.seconds is not None]:
        # A file that was cut before would lose its beginning here, and nothing would show it.
        say(f"{len(parts)} clips are the seconds of a whole video that the table names: {parts[0]}")
    for line in (*leaks, *_spelling_lines(all_judges)):
        say(line)
    columns = (TextColumn("clips"), BarColumn(), TimeRemainingColumn())
    skipped = 0
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        answers = _answers(all_judges, job, clips, stream, on, pairs)
        for clip, found in progress.track(zip(clips, answers, strict=True), len(clips)):
            if isinstance(found, str):
                skipped += 1
                say(f"skipped: {found}")
                continue
            for judge, logits in zip(all_judges, found, strict=True):
                judge.count(logits, clip.labels, str(clip.path))
    if skipped == len(clips):
        raise UsageError(f"no clip of {data} can be read")
    scores = [judge.score for judge in all_judges]
    if as_json:
        about = {"missing": missing, "skipped": skipped, "protocol": protocol.as_json()}
        rows = [
            score.as_json(j.classifier.labels) | about
            for score, j in zip(scores, all_judges, strict=True)
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    output = Console()
    output.print(score_table(scores))
    for line in _protocol_lines(protocol, loaded):
        output.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
    if skipped:
        say(f"{skipped} of {len(clips)} clips skipped")


def _answers(
    judges: Sequence[Judge],
    job: Job,
    clips: Sequence[LabelledClip],
    stream: int,
    on: str | None,
    pairs: Sequence[tuple[str, str]],
) -> Iterator[Answers]:
    """Yield what the judges' models answer on each clip, here or on workers."""
    cut = runs(clips, stream if "stream" in job.modes else 1)
    if on is not None:
        return elsewhere(on, job, cut, pairs)
    players = [judge.player for judge in judges]
    return (answers for run in cut for answers in play(players, job.protocol, run))


def _protocol(
    models: Sequence[Model], frames: int | None, fit: str | None, published: bool
) -> Protocol:
    sizes = {(model.size, model.fps) for model in models}
    if len(sizes) > 1:
        raise UsageError("the models differ in resolution or frame rate: judge them separately")
    ((size, fps),) = sizes
    if fit is not None and fit not in FITS:
        raise UsageError(f"--fit is {', '.join(FITS)}, not '{fit}'")
    fitting: Fit = next((one for one in FITS if one == fit), "crop")
    if not published:
        return Protocol(fps, size, frames, fitting)
    if fit is not None:
        raise UsageError("--published has a fit of its own: leave --fit out")
    lengths = {frames or _clip_frames(model) for model in models}
    if len(lengths) > 1:
        raise UsageError("the models differ in the length of a clip: judge them separately")
    return Protocol(fps, size, lengths.pop(), published=True)


def _clip_frames(model: Model) -> int:
    if isinstance(model, ClipModel):
        return model.frames
    return int(model.metadata.get("clip_frames", DEFAULT_CLIP_FRAMES))


def _protocol_lines(protocol: Protocol, models: Sequence[Model]) -> list[str]:
    lines = [protocol.describe()]
    lines += [
        f"{model.path.name} is a base model: the first {model.frames} of these frames at once, "
        "the last one again if there are fewer"
        for model in models
        if isinstance(model, ClipModel)
    ]
    return lines


def _spelling_lines(judges: Sequence[Judge]) -> list[str]:
    """Say once for each model which labels it spells in another way."""
    lines = {}
    for judge in judges:
        if pairs := [f"'{theirs}' is '{ours}'" for theirs, ours in judge.respelt.items()]:
            more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
            lines[judge.path] = f"labels spelt in another way by {judge.path}: {pairs[0]}{more}"
    return list(lines.values())


def _to_judge(clips: list[LabelledClip]) -> list[LabelledClip]:
    """Return those that no training saw: the test split, else validation, else all."""
    for split in (TEST, VALIDATION):
        if chosen := [clip for clip in clips if clip.split == split]:
            return _mixed(chosen)
    return _mixed(clips)


def _unseen(
    clips: list[LabelledClip], models: Sequence[Model]
) -> tuple[list[LabelledClip], list[str]]:
    """Leave out clips that a model was trained on, and say so, or that it cannot be known.

    Raises:
        UsageError: none is left; a model's list of its training clips is damaged.
    """
    seen: set[int] = set()
    silent = []
    for model in models:
        said = model.metadata.get("trained_on")
        seen |= frozenset() if said is None else unpacked(said)
        if said is None:
            silent.append(model.path.name)
    lines = []
    if seen:
        kept = [clip for clip in clips if _fingerprint(clip.path) not in seen]
        if left_out := len(clips) - len(kept):
            lines.append(f"{left_out} of {len(clips)} clips were trained on: left out")
        if not kept:
            raise UsageError(f"all {len(clips)} clips were trained on: nothing is left to judge by")
        clips = kept
    if silent and all(clip.split is None for clip in clips):
        lines.append(
            f"whether {silent[0]} was trained on some of these clips is not known: a table with a "
            "split says which were held back"
        )
    return clips, lines


def _fingerprint(path: Path) -> int | None:
    try:
        return fingerprint(path)
    except OSError:  # it is said where the clip is read
        return None


def _mixed(clips: list[LabelledClip]) -> list[LabelledClip]:
    """Return them in a random order, always the same: a stream changes its class."""
    return [clips[i] for i in np.random.default_rng(0).permutation(len(clips))]


def score_table(scores: Sequence[Score]) -> Table:
    """A row a model and mode, with the intervals of chance (Wilson)."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "mode", "clips", "top-1", "95 %", "top-5", "95 %"):
        left = column in ("model", "mode")
        table.add_column(
            column, justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for score in scores:
        right, clips = score.of()
        top = score.of_top()
        table.add_row(
            escape(score.model.stem),
            score.mode,
            str(clips),
            *_share(right, clips),
            *(("-", "-") if top is None else _share(top, clips)),
        )
    return table


def _share(right: int, clips: int) -> tuple[str, str]:
    low, high = interval(right, clips)
    return f"{right / clips:.2%}", f"{100 * low:.1f}-{100 * high:.1f} %"
