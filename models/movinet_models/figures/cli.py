"""``movinet figures``: the data set as files."""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from movinet_models.figures.dataset import FPS, FRAMES, SIDE, Clip, clips, render
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.video import save_frames

COMPRESSION = (18, 32)  # constant rate factors


def figures(
    output: Annotated[Path, typer.Argument(help="A folder; gets SPLIT/LABEL/00000.mp4 ...")],
    train: Annotated[int, typer.Option(min=0, help="Clips to train on.")] = 6000,
    validation: Annotated[int, typer.Option(min=0, help="Clips to choose by.")] = 600,
    test: Annotated[int, typer.Option(min=0, help="Clips to judge by.")] = 2400,
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip.")] = FRAMES,
    fps: Annotated[float, typer.Option(min=1, help="Frames a second.")] = FPS,
    side: Annotated[int, typer.Option(min=32, help="Height and width, pixels.")] = SIDE,
    kind: Annotated[str, typer.Option(help="mp4 or gif.")] = "mp4",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: the cores.")
    ] = None,
) -> None:
    """Draw clips of human figures doing 12 things or nothing, to train, test and play with.

    The same options give the same pictures. Clips that are there already are kept.

    movinet figures data/figures

    movinet figures few --train 48 --validation 12 --test 12
    """
    counts = {"train": train, "validation": validation, "test": test}
    jobs = [
        (clip, output / split / clip.label / f"{clip.index:05}.{kind}", frames, fps, side)
        for split, count in counts.items()
        for clip in clips(split, count)
    ]
    for folder in {job[1].parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    for path in output.glob(f"*/*/*.{kind}"):
        if not path.stem.isdecimal() or Clip("", int(path.stem)).label != path.parent.name:
            raise UsageError(
                f"{path} is no clip of this data set, or of another version: remove it"
            )
    missing = [job for job in jobs if not job[1].exists()]
    console = Console(stderr=True)
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ProcessPoolExecutor(workers or os.cpu_count()) as pool,
    ):
        for _ in progress.track(pool.map(_write, missing, chunksize=8), total=len(missing)):
            pass
    console.print(
        f"{len(jobs)} clips in {output}, {len(missing)} new",
        style="dim",
        soft_wrap=True,
        markup=False,
    )


def _write(job: tuple[Clip, Path, int, float, int]) -> None:
    clip, path, frames, fps, side = job
    quality = int(clip.rng().integers(*COMPRESSION))
    save_frames(path, render(clip, frames, fps, side), fps, quality)
