"""How fast movinet label is, by model and workers, and how true cut streams are to uncut ones.

The figures of docs/scale.md are made here.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from movinet_benchmarks.command import run
from movinet_runtime.errors import MissingPackageError, UsageError
from movinet_runtime.install import install_hint
from movinet_runtime.sources.clips import frames_at

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
HD, RATE = (720, 1280), 30  # what is labelled: pixels, frames a second
DECIDED = 0.1  # between the best two labels
SCENE = 10.0  # seconds of a clip at a time


def joined(
    clips: Sequence[Path], seconds: float, path: Path, size: tuple[int, int] = HD, rate: int = RATE
) -> Path:
    """Encode clips one after the other, again and again, with x264 as it is by default.

    Args:
        clips: videos; ten seconds of each at a time.
        seconds: of the film.
        path: of it.
        size: (height, width), pixels.
        rate: frames a second.
    """
    import av

    def frames() -> Iterator[Any]:
        for clip in cycle(clips):
            yield from frames_at(clip, size, float(rate), round(SCENE * rate))

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for image in islice(frames(), round(seconds * rate)):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def labelled(path: Path, model: Path, output: Path, *options: object) -> dict[str, Any]:
    """Run ``movinet label``; return what it says about its time."""
    command = [*MOVINET, "label", path, "-m", model, "-o", output, "--json", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UsageError(f"movinet label failed: {said[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Start a Dask scheduler and workers of one thread each on loopback.

    Raises:
        MissingPackageError: Dask is not installed.
        UsageError: they did not begin within a minute.
    """
    try:
        import distributed
    except ImportError as error:
        hint = install_hint("movinet-runtime[dask]")
        raise MissingPackageError(f"--dask needs Dask: {hint}") from error
    with tempfile.TemporaryDirectory(prefix="movinet-dask-") as folder, ExitStack() as stack:
        file = str(Path(folder) / "scheduler.json")
        local = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file]
        commands = [["scheduler", "--port", "0"]]
        commands += [["worker", "--nthreads", "1", "--no-nanny"]] * workers
        for command in commands:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *command, *local],
                    cwd=folder,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.kill)
        end = time.monotonic() + 60
        while not Path(file).exists() and time.monotonic() < end:
            time.sleep(0.1)
        try:
            with distributed.Client(scheduler_file=file, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=60)
        except (OSError, ValueError) as error:  # a TimeoutError too
            raise UsageError(f"the Dask cluster did not begin: {error}") from error
        yield file


def same(one: Path, other: Path) -> tuple[float, int]:
    """Return the share of decided rows whose best label is the same, and their number.

    Raises:
        UsageError: one has more rows.
    """
    rows = [
        [json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in (one, other)
    ]
    if len(rows[0]) != len(rows[1]):
        raise UsageError(f"{len(rows[0])} rows of the uncut film, {len(rows[1])} of the cut one")
    decided = [
        first["label"] == second["label"]
        for first, second in zip(*rows, strict=True)
        if first["error"] is None
        and first["top"][0]["probability"] - first["top"][1]["probability"] > DECIDED
    ]
    return sum(decided) / max(1, len(decided)), len(decided)


def main(
    models: Annotated[list[Path], typer.Argument(help="Stream models.")],
    clips: Annotated[list[Path], typer.Option("--clip", help="Films are made of these.")],
    workers: Annotated[
        list[int] | None, typer.Option(min=1, help="Processes; default: 1 and 2.")
    ] = None,
    dask: Annotated[
        list[int] | None, typer.Option(min=1, help="Dask workers; default: none.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of 720p30.")] = 5.0,
    cut: Annotated[list[float] | None, typer.Option(help="Lead-ins, seconds, to compare.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Of each; the fastest counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Label a film of 720p30 with each model on each number of workers."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="movinet-scale-") as name:
        folder = Path(name)
        film = joined(clips, 60 * minutes, folder / "film.mp4")
        for model in models:
            for where, number in [("local", n) for n in workers or (1, 2)] + [
                ("dask", n) for n in dask or ()
            ]:
                rows.append(timed(film, model, folder, where, number, minutes, repeats))
                _show(rows[-1], as_json)
            if cut is not None:
                rows += compared(film, model, folder, cut, as_json)
    if as_json:
        print(json.dumps(rows, indent=1))


def timed(
    film: Path, model: Path, folder: Path, where: str, number: int, minutes: float, repeats: int
) -> dict[str, Any]:
    """Label a film several times; return the fastest, also by what it saw, with lead-ins."""
    options = ("--segment", max(10.0, 60 * minutes / 8))
    with ExitStack() as stack:
        on = str(number) if where == "local" else stack.enter_context(cluster(number))
        output = folder / "labels.jsonl"
        found = [labelled(film, model, output, "--on", on, *options) for _ in range(repeats)]
    best = max(found, key=lambda one: one["times_real_time"])
    seen = best["frames"] / best["fps"]
    return {
        "model": model.name,
        "where": where,
        "workers": number,
        **best,
        "times_real_time_seen": round(seen / best["seconds"], 2),
        "ms_a_second_seen": {
            stage: round(1000 * spent / seen, 1) for stage, spent in best["stage_seconds"].items()
        },
    }


def compared(
    film: Path, model: Path, folder: Path, leads: Sequence[float], as_json: bool
) -> list[dict[str, Any]]:
    """Compare cut streams with the uncut one, frame by frame."""
    whole, other = folder / "whole.jsonl", folder / "cut.jsonl"
    frame = ("--every", "frame")
    labelled(film, model, whole, *frame, "--segment", 0)
    rows = []
    for lead in [None, *leads]:
        options = () if lead is None else ("--lead-in", lead)
        about = labelled(film, model, other, *frame, "--segment", 60, *options)
        share, count = same(whole, other)
        rows.append(
            {
                "model": model.name,
                "lead_in_frames": about["lead_in_frames"],
                "same_label": round(share, 5),
                "decided_frames": count,
            }
        )
        _show(rows[-1], as_json)
    return rows


def _show(row: dict[str, Any], as_json: bool) -> None:
    if not as_json:
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    run(main)
