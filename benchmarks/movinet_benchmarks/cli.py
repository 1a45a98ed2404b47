"""``movinet verify``."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_benchmarks.fidelity import (
    LONG_FRAMES,
    Fidelity,
    Recording,
    Streams,
    compare,
    record,
)
from movinet_benchmarks.layers import LayerError, layer_errors
from movinet_benchmarks.recordings import Job, recordings
from movinet_runtime import StreamClassifier, frames_at
from movinet_runtime.cli.place import PathMaps, Where, checked_place
from movinet_runtime.lists import VIDEO_SUFFIXES
from movinet_runtime.outputs.plot import new_figure, save_figure

GATE_FAILED = 1
LAYER_FRAMES = 8
VARIANT_WIDTH = 18


def _clips_in(clip: Path) -> list[Path]:
    """Return the videos of a folder; a folder without any is a clip of images."""
    if not clip.is_dir():
        return [clip]
    return sorted(one for one in clip.iterdir() if one.suffix.lower() in VIDEO_SUFFIXES) or [clip]


def verify(
    variants: Annotated[list[Path], typer.Argument(help="Exported variants (.tflite).")],
    against: Annotated[Path, typer.Option(help="The float32 file of the same weights.")],
    clips: Annotated[
        list[Path],
        typer.Option(
            help="Videos, GIFs, folders of them or of images, unseen by calibration; repeat it."
        ),
    ],
    long_frames: Annotated[
        int, typer.Option(min=2, help="Length of the long stream through all clips.")
    ] = LONG_FRAMES,
    min_sqnr: Annotated[
        float | None, typer.Option(help="Fail (exit code 1) below this, dB.")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(help="Fail below this share of equal best labels, where float is decided."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of the error over frames.")] = None,
    per_layer: Annotated[
        int, typer.Option(help="Also list this many of the least true layers (slow).")
    ] = 0,
    on: Where = None,
    map_paths: PathMaps = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Measure how true variants are to the float32 model, on short streams and a long one.

    movinet verify a0-stream-*.tflite --against a0-stream-float32.tflite --clips clip.mp4

    movinet verify a0-stream-int8.tflite --against a0-stream-float32.tflite --clips a.mp4
    --clips b.mp4 --min-sqnr 20 --min-agreement 0.97

    movinet verify a0-*.tflite --against a0-stream-float32.tflite --clips a.mp4 --on local
    """
    pairs = checked_place(on, map_paths)
    clips = [one for clip in clips for one in _clips_in(clip)]
    classifier = StreamClassifier(against)
    console = Console(stderr=True)
    size, fps = classifier.size, classifier.fps
    if on is None:
        reference, *others = _recorded(
            [against, *variants], Streams.read(clips, size, fps, long_frames), console
        )
    else:
        job = Job.of([against, *variants], clips, size, fps, long_frames)
        reference, *others = _recorded_on(on, job, pairs, console)
    found = [compare(path, other, reference) for path, other in zip(variants, others, strict=True)]
    if plot is not None:
        plot_errors(found, plot)
    layers = {}
    if per_layer:
        frames = list(frames_at(clips[0], size, fps, LAYER_FRAMES))
        layers = {path: layer_errors(path, against, frames) for path in variants}
    if as_json:
        rows = [
            fidelity.as_json()
            | {"layers": [asdict(layer) for layer in layers.get(fidelity.path, [])]}
            for fidelity in found
        ]
        print(json.dumps(rows, indent=2, allow_nan=False))
    else:
        Console().print(fidelity_table(found))
        for line in _state_lines(found):
            Console().print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
        for path, errors in layers.items():
            Console().print(layer_table(path, errors, per_layer))
    failures = [line for fidelity in found for line in _failures(fidelity, min_sqnr, min_agreement)]
    for line in failures:
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(GATE_FAILED)


def _recorded(models: Sequence[Path], streams: Streams, console: Console) -> list[Recording]:
    found = []
    with _progress(console) as progress:
        for path in models:
            task = progress.add_task(path.name, total=streams.frames)
            found.append(record(path, streams, partial(progress.advance, task)))
    return found


def _recorded_on(
    where: str, job: Job, pairs: Sequence[tuple[str, str]], console: Console
) -> list[Recording]:
    with _progress(console) as progress:
        task = progress.add_task("streams", total=len(job.models) * (len(job.clips) + 1))
        found = []
        for recording in recordings(where, job, pairs):
            if recording is None:
                progress.advance(task)
            else:
                found.append(recording)
    return found


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def fidelity_table(found: list[Fidelity]) -> Table:
    """Short and long streams side by side, a row a variant and stream."""
    table = Table(box=None, pad_edge=False)
    table.add_column("variant", overflow="fold", min_width=VARIANT_WIDTH)
    for column in ("stream", "frames", "SQNR dB", "worst", "drift", "agree", "decided", "KL"):
        table.add_column(column, justify="right")
    for fidelity in found:
        for name, m in fidelity.parts.items():
            agreement = m.decided_agreement
            table.add_row(
                escape(fidelity.path.stem) if name == "short" else "",
                name,
                str(m.frames),
                f"{m.sqnr_db:.1f}",
                f"{m.worst_db:.1f}",
                f"{m.drift_db:+.1f}",
                f"{m.agreement:.1%}",
                "-" if agreement is None else f"{agreement:.1%}",
                "-" if m.kl is None else f"{m.kl:.1e}",
            )
    return table


def _state_lines(found: list[Fidelity]) -> list[str]:
    """The least healthy int8 state of each variant."""
    return [
        f"{fidelity.path.stem}: worst state {state.name}, {state.saturated:.1%} of its codes at "
        f"the ends, {state.stalled:.1%} unchanged in the last frame"
        for fidelity in found
        for state in sorted(fidelity.states, key=lambda s: s.saturated + s.stalled)[-1:]
    ]


def layer_table(path: Path, errors: list[LayerError], count: int) -> Table:
    """The least true layers of a variant, the worst first."""
    table = Table(title=escape(path.stem), title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("SQNR dB", justify="right")
    for error in sorted(errors, key=lambda error: error.sqnr_db)[:count]:
        table.add_row(escape(error.name), f"{error.sqnr_db:.1f}")
    return table


def plot_errors(found: list[Fidelity], path: Path) -> None:
    """Draw each variant's SQNR over the frames of the long stream.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    figure = new_figure(9, 4)
    axes = figure.subplots()
    for fidelity in found:
        axes.plot(fidelity.error_db, label=fidelity.path.stem, linewidth=1)
    axes.set_xlabel("frame of the long stream")
    axes.set_ylabel("SQNR of the logits, dB")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    save_figure(figure, path)


def _failures(fidelity: Fidelity, min_sqnr: float | None, min_agreement: float | None) -> list[str]:
    """What is below a limit; every comparison is written so that NaN fails."""
    lines = []
    for name, m in fidelity.parts.items():
        what = f"{fidelity.path.name}, {name} streams"
        if min_sqnr is not None and not m.sqnr_db >= min_sqnr:
            lines.append(f"{what}: SQNR {m.sqnr_db:.1f} dB is below {min_sqnr:g}")
        agreement = m.agreement if m.decided_agreement is None else m.decided_agreement
        if min_agreement is not None and not agreement >= min_agreement:
            lines.append(f"{what}: agreement {agreement:.1%} is below {min_agreement:.1%}")
    return lines
