"""``python -m movinet_benchmarks.limits``: see the help of :func:`main`."""

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from movinet_benchmarks.arm.cores import CORES
from movinet_benchmarks.arm.root import missing_tools
from movinet_benchmarks.command import run
from movinet_benchmarks.environment import Environment, Snapshot
from movinet_benchmarks.limits.count import Step, counted
from movinet_benchmarks.limits.least import VECTORS, Peak, least_instructions, least_time
from movinet_benchmarks.limits.page import BEGIN, TIME, picture, rewritten, sheets, title_of
from movinet_benchmarks.limits.peak import Peaks, measured_peaks
from movinet_benchmarks.limits.taken import Effort, Times, instructions, times
from movinet_benchmarks.process.race import Progress as Advance
from movinet_models.family import FORMS, UnknownModelError, lookup
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole
from movinet_runtime.model_file import ModelFile

HERE = platform.machine()
MODELS = ("a0", "a1", "a2", "t0")
GROWTH = ("a3", "a4", "a5")
VARIANTS = ("float32", "float16", "dynamic")
SMALL = 100_000  # multiply-adds: 2 µs on a core at 50 G a second


@dataclass(frozen=True)
class Subject:
    """A file, what a step of it computes, and where that is measured."""

    path: Path
    model: str
    variant: str
    step: Step
    places: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, on: Sequence[str]) -> "Subject":
        """Read a file.

        Raises:
            ModelFileError: none of this project's models.
        """
        about = ModelFile.read(path).description
        if about is None:
            raise UsageError(f"{path} does not say which model it is: only exports of movinet do")
        step = counted(path)
        places = tuple(on) or tuple(place for place in PLACES if fits(step, place))
        return cls(path, about.model, about.variant, step, places)

    @property
    def working_set(self) -> int:
        """Bytes of the weights and states."""
        return self.step.weight_bytes + sum(t.bytes for t in self.step.states.values())


PLACES = (HERE, *VECTORS)


def fits(step: Step, place: str) -> bool:
    """Whether a file is one that is made for a core, or for this machine."""
    int8 = any(op.int8 for op in step.operators)
    if place not in VECTORS:
        return not step.half
    return step.half if VECTORS[place].half else not (step.half or int8)


def export_all(members: Sequence[str], folder: Path, advance: Advance) -> list[Path]:
    """Export seeded random weights, in processes of their own as ``peers`` does.

    Forced: with random weights the large members' activations grow until no two float32
    networks agree. Counts and times do not depend on the weights.
    """
    found = []
    for member in members:
        command = [sys.executable, "-m", "movinet_runtime.cli.main", "export", f"{member}-stream"]
        command += [word for variant in VARIANTS for word in ("-q", variant)]
        command += ["-w", "random:0", "--calibrate", "none", "--long-frames", "2", "--force"]
        done = subprocess.run([*command, "-o", folder], capture_output=True, text=True)
        if done.returncode:
            raise UsageError(f"the export failed: {done.stderr.strip().splitlines()[-1]}")
        found += [folder / f"{member}-stream-{variant}.tflite" for variant in VARIANTS]
        advance(1)
    return found


def time_row(subject: Subject, peak: Peak, taken: Times) -> dict[str, Any]:
    """Return the figures of one file on this machine, in milliseconds."""
    least = least_time(subject.step, peak)
    operators, products = subject.step.share_below(SMALL)
    return _row(subject, HERE) | {
        "unit": TIME,
        "least": {kind: asdict(one) for kind, one in least.by_kind.items()},
        "least_paced": least.paced,
        "taken": taken.hot,
        "taken_paced": taken.paced,
        "two_threads": taken.two_threads,
        "disturbances": taken.disturbances,
        "small": {
            "limit": SMALL,
            "operators": operators,
            "multiply_adds": products,
            "least_time": least.below(SMALL) / least.total,
        },
    }


def instruction_row(subject: Subject, core: str, taken: Mapping[str, int]) -> dict[str, Any]:
    """Return the figures of one file on an emulated core, in million instructions."""
    parts = least_instructions(subject.step, VECTORS[core])
    return _row(subject, core) | {
        "unit": "million instructions",
        "least": {k: {p: n / 1e6 for p, n in asdict(one).items()} for k, one in parts.items()},
        "tiled": subject.step.tiled(*VECTORS[core].tile),
        "taken": sum(taken.values()) / 1e6,
        "taken_by_loop": {loop: n / 1e6 for loop, n in taken.items()},
    }


def _row(subject: Subject, place: str) -> dict[str, Any]:
    return {
        "file": f"{subject.model}-{subject.variant}",
        "model": subject.model,
        "variant": subject.variant,
        "on": place,
        "multiply_adds": subject.step.multiply_adds_by_kind(),
        "bytes": subject.step.bytes_moved(),
        "operators": len(subject.step.operators),
    }


def collected(
    subjects: Sequence[Subject], effort: Effort, before: Snapshot, bar: Progress
) -> dict[str, Any]:
    """Measure everything: time first, while nothing else runs here."""
    timed = [s for s in subjects if HERE in s.places]
    peaks = measured_peaks([s.working_set for s in timed]) if timed else None
    task = bar.add_task("timing", total=3 * effort.processes * len(timed))
    rows = []
    if peaks is not None:
        for one in timed:
            taken = times(one.path, effort, before, lambda n: bar.advance(task, n))
            rows.append(time_row(one, peaks.peak(one.working_set), taken))
    tasks = [(s, core) for core in VECTORS for s in subjects if core in s.places]
    task = bar.add_task("emulating", total=len(tasks))
    executed = instructions([(s.path, core) for s, core in tasks], lambda n: bar.advance(task, n))
    rows += [instruction_row(s, core, executed[s.path, core]) for s, core in tasks]
    return {
        "date": date.today().isoformat(),
        "machine": asdict(Environment.of()),
        "effort": asdict(effort),
        "peaks": None if peaks is None else _peaks(peaks, timed),
        "rows": rows,
    }


def _peaks(peaks: Peaks, timed: Sequence[Subject]) -> dict[str, Any]:
    models = {s.path.stem: asdict(peaks.peak(s.working_set)) for s in timed}
    memory = max(peaks.bandwidths)
    return {
        "float32": peaks.float32,
        "int8": peaks.int8,
        "memory": peaks.bandwidths[memory],
        "models": models,
    }


def _members(names: Sequence[str] | None) -> list[str]:
    """Check members of the family before anything is made of them.

    Raises:
        UsageError: unknown.
    """
    try:
        found = [lookup(f"{name}-{FORMS[0]}").member for name in names or (*MODELS, *GROWTH)]
    except UnknownModelError as error:
        raise UsageError(str(error)) from None
    return list(dict.fromkeys(found))


def _places(names: Sequence[str] | None) -> list[str]:
    found = list(dict.fromkeys(names or ()))
    for name in found or VECTORS:
        if name not in PLACES:
            raise UsageError(f"no limit is known for '{name}'; there are {', '.join(PLACES)}")
        if name in CORES and (missing := missing_tools(CORES[name].machine)):
            raise UsageError(f"{name} needs {', '.join(missing)}; --on {HERE} goes without")
    return found


def main(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Stream models that movinet exported.")
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            help="Without files: export this member of the family; repeat it. Default: all."
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Measure all files here, of {', '.join(PLACES)}; repeat it. Each where it fits."
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Fresh ones; medians over them.")
    ] = Effort.processes,
    rounds: Annotated[int, typer.Option(min=2, help="Timed steps in a process.")] = Effort.rounds,
    paced_rounds: Annotated[
        int, typer.Option(min=2, help="The same, at the camera's pace.")
    ] = Effort.paced_rounds,
    pace: Annotated[
        float, typer.Option(min=0.1, help="The camera's frames a second.")
    ] = Effort.pace,
    output: Annotated[Path, typer.Option(help="Folder for limits.json and limits.png.")] = Path(
        "out"
    ),
    page: Annotated[
        Path | None,
        typer.Option(
            help=f"Also write the tables into it, behind '{BEGIN}', and the picture beside it."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Say where models stand against the least that their multiplications and bytes allow.

    python -m movinet_benchmarks.limits --member a0 --processes 3

    python -m movinet_benchmarks.limits a0-stream-heavy.tflite --on cortex-a72 --json
    """
    before = Snapshot.now()
    members, places = _members(member), _places(on)
    if page is not None:
        _read(page)  # what is wrong with it is said now, not after half an hour
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with (
        tempfile.TemporaryDirectory(prefix="movinet-") as folder,
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar,
    ):
        if not models:
            task = bar.add_task("exporting", total=len(members))
            models = export_all(members, Path(folder), lambda n: bar.advance(task, n))
        subjects = [Subject.read(path, places) for path in models]
        figures = collected(subjects, Effort(processes, rounds, paced_rounds, pace), before, bar)
    output.mkdir(parents=True, exist_ok=True)
    with written_whole(output / "limits.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=1, allow_nan=False), "utf-8")
    picture(figures, output / "limits.png")
    if page is not None:
        text = rewritten(_read(page), figures, str(page))
        with written_whole(page) as temporary:
            temporary.write_text(text, "utf-8")
        picture(figures, page.with_suffix(".png"))
    if as_json:
        print(json.dumps(figures, indent=1, allow_nan=False))
        return
    for sheet in sheets(figures):
        Console().print(sheet.rich())
        print()
    print(title_of(figures))


def _read(page: Path) -> str:
    try:
        text = page.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the page {page}: {error.strerror}") from error
    if BEGIN not in text:
        raise UsageError(f"{page} has no place for tables: it needs the line {BEGIN}")
    return text


if __name__ == "__main__":
    run(main)
