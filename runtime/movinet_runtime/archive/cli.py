"""``movinet label``: labels for whole archives."""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from movinet_runtime.archive.command import Progress, Request, Show, run
from movinet_runtime.archive.formats import check_together, subtitle_paths, writer_of
from movinet_runtime.archive.pieces import Job, lead_in
from movinet_runtime.archive.plan import Entry, find
from movinet_runtime.classifier import StreamModel, read_labels
from movinet_runtime.cli.options import only_with
from movinet_runtime.cli.place import WORK, PathMaps, checked_place
from movinet_runtime.cli.run import FITS, embedded_model
from movinet_runtime.decisions import EventTracker
from movinet_runtime.errors import LabelsError, UsageError
from movinet_runtime.outputs.output import printing
from movinet_runtime.sources.frame import checked_rate

ROWS = "Rows"


def label(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Videos; folders, with all that is in them; patterns; addresses (https://, "
            "s3://); lists: lines 'path label', or CSV with path and perhaps start, end, label."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .parquet, .jsonl, .csv or ActivityNet .json.")
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="A stream model (.tflite). Default: an installed package's."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="One a line, for models without labels inside.")
    ] = None,
    every: Annotated[
        str,
        typer.Option(
            help="A row for each such time, such as 1s: means over its frames; or 'frame'.",
            rich_help_panel=ROWS,
        ),
    ] = "1s",
    as_events: Annotated[
        bool, typer.Option("--events", help="A row for each action.", rich_help_panel=ROWS)
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="An action starts at this probability (default: the class's own, else 0.5) and "
            "ends below 0.7 of it,",
            rich_help_panel=ROWS,
        ),
    ] = None,
    min_duration: Annotated[
        float, typer.Option(min=0, help="after so many seconds there.", rich_help_panel=ROWS)
    ] = 0.4,
    top: Annotated[
        int, typer.Option("--top", "-k", min=1, help="Labels of a row.", rich_help_panel=ROWS)
    ] = 5,
    vtt: Annotated[
        str | None,
        typer.Option(
            help="Also WebVTT subtitles for each video: 'beside' it, or into this folder.",
            rich_help_panel=ROWS,
        ),
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            "--on",
            help="local: a process for each core; a number of processes; dask://HOST:PORT or a "
            "scheduler file.",
            rich_help_panel=WORK,
        ),
    ] = "local",
    map_paths: PathMaps = None,
    segment: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds between cuts of long files, which are worked on at once; 0: no cuts.",
            rich_help_panel=WORK,
        ),
    ] = 300.0,
    lead: Annotated[
        float | None,
        typer.Option(
            "--lead-in",
            min=0,
            help="Seconds that are seen before each cut; default: of the model's buffers and "
            "two horizons.",
            rich_help_panel=WORK,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip what is finished, by content, options and model.",
            rich_help_panel=WORK,
        ),
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second; default: the model's.")
    ] = None,
    fit: Annotated[
        str, typer.Option(help="Other aspect ratios: crop the centre, stretch, or pad.")
    ] = "crop",
    engine: Annotated[
        str, typer.Option(help="auto, compiled, interpreter or tflite-runtime.")
    ] = "auto",
    horizon: Annotated[
        int | None,
        typer.Option(min=0, help="Frames that averages remember; default: what the model says."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was done, and its time, as JSON.")
    ] = False,
) -> None:
    """Label whole archives of videos, on all cores or on Dask.

    Each file is a stream of its own. Rows come in the order of the files, whatever the workers.
    What cannot be read is a row with its error. Ctrl-C writes what is finished; --resume goes on.

    movinet label archive/ -o labels.parquet -m a0.tflite

    movinet label 'day*/*.mp4' -o events.csv --events --threshold 0.6

    movinet label val.csv -o labels.jsonl --every frame --on 8

    movinet label /data/archive -o labels.parquet --on dask://head:8786 --path-map /data=/mnt/data

    movinet label 's3://bucket/day*/*.mp4' -o labels.parquet

    movinet label archive/ -o labels.parquet --resume
    """
    if fit not in FITS:
        raise UsageError(f"--fit is crop, stretch or pad, not '{fit}'")
    only_with(context, as_events, "--events", "threshold", "min_duration")
    only_with(context, not as_events, "rows of frames and windows, not --events", "every", "top")
    pairs = checked_place(where, map_paths)
    writer_of(output)
    for number, name in ((segment, "--segment"), (lead or 0.0, "--lead-in")):
        if not math.isfinite(number):
            raise UsageError(f"{name} is a number of seconds, not {number:g}")
    if output.is_dir():
        raise UsageError(f"{output} is a folder")
    if output.exists() and any(Path(path).exists() and output.samefile(path) for path in paths):
        raise UsageError(f"{output} would be overwritten, and is what is to be labelled")
    if not output.parent.is_dir():
        raise UsageError(f"the folder {output.parent} does not exist")
    if vtt not in (None, "beside") and not Path(vtt or "").is_dir():
        raise UsageError(f"--vtt is 'beside' or a folder that exists, not '{vtt}'")
    window = _window(every)
    entries = find(paths)
    check_together((entry.path for entry in entries), output)
    subtitles = {} if vtt is None else subtitle_paths((entry.path for entry in entries), vtt)
    for folder in {place.parent for place in subtitles.values()}:
        if not os.access(folder, os.W_OK):
            raise UsageError(f"--vtt: nothing can be written in {folder}")
    names = None if labels is None else tuple(read_labels(labels))
    loaded = StreamModel(model or embedded_model(), threads=1, labels=names, engine=engine)
    _check_truths(entries, loaded.labels)
    EventTracker(threshold, None, min_duration).levels(len(loaded.labels), loaded.thresholds)
    rate = loaded.fps if fps is None else checked_rate(fps)
    loaded.stream(horizon)  # or says why it cannot have one
    remembered = loaded.horizon if horizon is None else horizon
    seen = lead_in(loaded.engine.states, remembered) if lead is None else round(lead * rate)
    job = Job(
        str(loaded.path),
        loaded.sha256,
        rate,
        top,
        window,
        as_events,
        threshold,
        horizon,
        FITS[fit],
        engine,
        segment,
        max(1, seen),
        names,
    )
    request = Request(
        entries, job, output, where, pairs, min_duration, subtitles=subtitles, resume=resume
    )
    with _shown(len(entries)) as show:
        progress = run(request, loaded, show)
    _say(progress, request, remembered, as_json)


def _window(every: str) -> float | None:
    if every == "frame":
        return None
    try:
        seconds = float(every.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise UsageError(f"--every is a time, such as 1s, or 'frame', not '{every}'")
    return seconds


def _check_truths(entries: Sequence[Entry], labels: Sequence[str]) -> None:
    for entry in entries:
        if isinstance(entry.truth, int) and entry.truth >= len(labels):
            raise LabelsError(
                f"a list gives {entry.shown} the label {entry.truth}; the model has {len(labels)}"
            )


def _say(progress: Progress, request: Request, horizon: int, as_json: bool) -> None:
    if progress.cut and not horizon:
        print(
            f"the model has no horizon: its averages began anew at each cut of {progress.cut} "
            "files (--segment 0: no cuts)",
            file=sys.stderr,
        )
    if as_json:
        about = {
            "output": str(request.output),
            "lead_in_frames": request.job.lead,
            "fps": request.job.fps,
        }
        with printing():
            print(json.dumps(about | progress.as_json()))
        return
    hours = f"{progress.told / 3600:.2f} hours of video, {progress.speed:.1f} x real time"
    failed = f", {progress.failed} with errors" if progress.failed else ""
    skipped = f", {progress.skipped} pieces were finished before" if progress.skipped else ""
    with printing():
        print(f"{request.output}: {progress.files} files{failed}; {hours}{skipped}")


@contextmanager
def _shown(total: int) -> Iterator[Show]:
    """Show progress where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files, {task.fields[hours]:.2f} hours, {task.fields[speed]:.1f} x real time"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("files", total=total, hours=0.0, speed=0.0)
        yield lambda progress: bar.update(
            task, completed=progress.files, hours=progress.told / 3600, speed=progress.speed
        )
