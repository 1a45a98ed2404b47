"""How fast training's clips are read: clips a second, beside decoding alone.

``python -m movinet_convert.training.throughput data/`` reads clips as ``movinet train`` does, at
the size and rate of A0, in one process and in as many as there are cores, also from small copies
(``--cache``).
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from movinet_benchmarks.command import run
from movinet_convert.training.reading import Augmentation, Cache, cores, read_clip, workers
from movinet_models.clips import LabelledClip, find_clips
from movinet_models.family import lookup
from movinet_runtime import open_frames
from movinet_runtime.errors import MovinetError

MODEL = "a0-stream"
FRAMES = 16
ROUNDS = 3


@dataclass(frozen=True)
class Rate:
    """Clips a second of a way to read them."""

    way: str
    processes: int
    clips_a_second: float


def decoded(path: Path) -> int:
    """Decode all of a clip and look at nothing: what no pipeline can be faster than."""
    return sum(1 for _ in open_frames(path))


def read(path: Path, seed: int, cache: Cache | None) -> int:
    """Read a training clip."""
    spec = lookup(MODEL)
    rng = np.random.default_rng(seed)
    clip = LabelledClip(path, "")
    fps, side = spec.architecture.fps, spec.resolution
    return len(read_clip(clip, fps, FRAMES, side, Augmentation(), rng, cache))


def rate(
    way: str, job: Callable[[Path, int], int], paths: Sequence[Path], rounds: int, processes: int
) -> Rate:
    """Time a way over all clips, several times."""
    jobs = [path for _ in range(rounds) for path in paths]
    seeds = range(len(jobs))
    with workers(processes - 1 and processes) as pool:
        _all(pool, job, paths[: 2 * processes], seeds)  # processes start, files are in memory
        began = time.perf_counter()
        _all(pool, job, jobs, seeds)
        return Rate(way, processes, round(len(jobs) / (time.perf_counter() - began), 1))


def _all(
    pool: Executor | None, job: Callable[[Path, int], int], paths: Sequence[Path], seeds: range
) -> None:
    apply = map if pool is None else partial(pool.map, chunksize=1)
    for _ in apply(job, paths, seeds):
        pass


def _decode(path: Path, _: int) -> int:
    return decoded(path)


def main(
    data: Annotated[Path, typer.Argument(help="Clips as for movinet train, or a folder of them.")],
    rounds: Annotated[int, typer.Option(min=1, help="Over all clips.")] = ROUNDS,
    as_json: Annotated[bool, typer.Option("--json", help="The rates as JSON.")] = False,
) -> None:
    """Measure clips a second."""
    console = Console(stderr=True)
    try:
        paths = [clip.path for clip in find_clips(data)]
    except MovinetError as error:
        console.print(f"throughput: {error}", markup=False, highlight=False)
        raise SystemExit(error.exit_code) from None
    spec = lookup(MODEL)
    found = []
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        cache = Cache.of(Path(folder), spec.resolution, spec.architecture.fps, Augmentation())
        ways: dict[str, Callable[[Path, int], int]] = {
            "decode the whole clip, no picture": _decode,
            "read a training clip": partial(read, cache=None),
            "read it from its small copy": partial(read, cache=cache),
        }
        for path in track(paths, "making copies", transient=True, console=console):
            cache.copy(path)
        megabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        for way, job in track(ways.items(), "reading", transient=True, console=console):
            for processes in sorted({1, cores()}):
                found.append(rate(way, job, paths, rounds, processes))
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return
    table = Table("way", "processes", "clips/s", box=None)
    for one in found:
        table.add_row(one.way, str(one.processes), f"{one.clips_a_second:.1f}")
    output = Console()
    output.print(table)
    output.print(
        f"{len(paths)} clips, their copies {megabytes / len(paths):.2f} MB each", style="dim"
    )


if __name__ == "__main__":
    run(main)
