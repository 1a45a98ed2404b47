"""``movinet bench`` and ``movinet bench compare``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from movinet_benchmarks.arm.cores import CORES
from movinet_benchmarks.arm.emulate import find_core
from movinet_benchmarks.formats import FORMATS, about, cells, headings
from movinet_benchmarks.gate import Check, checks
from movinet_benchmarks.history import described
from movinet_benchmarks.history_cli import history_command
from movinet_benchmarks.host import LIMIT_SECONDS, PYTHON, Host
from movinet_benchmarks.measure import Plan, measure
from movinet_benchmarks.report import Report, read_report
from movinet_benchmarks.timing import HOT_ROUNDS, PACED_ROUNDS, PROCESSES, Schedule
from movinet_runtime import StreamModel
from movinet_runtime.cli.options import only_with
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole
from movinet_runtime.outputs.plot import new_figure

REGRESSION = INCOMPLETE = 1
MEASURE = "measure"
# As many processes as show 5 % among loads that scatter by 3 % (docs/benchmarks.md).
GATE_PROCESSES, GATE_ROUNDS = 24, 100
COLOURS = {"same": "", "better": "green", "worse": "bold red"}


class MeasureByDefault(TyperGroup):
    """Takes ``bench model.tflite`` for ``bench measure model.tflite``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command before models and options."""
        if args and args[0] not in (*self.commands, "--help"):
            args = [MEASURE, *args]
        return list(super().parse_args(ctx, args))


bench = typer.Typer(
    cls=MeasureByDefault,
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure models beside each other, and compare measurements.",
)


@bench.command(MEASURE)
def measure_command(
    context: typer.Context,
    models: Annotated[list[Path], typer.Argument(help="Stream models (.tflite).")],
    clip: Annotated[
        Path | None, typer.Option(help="Video, GIF or folder to run; default: drawn figures.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="The float32 file: also measure fidelity.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Timed steps of each model in a process; "
            f"default: {HOT_ROUNDS}, or {PACED_ROUNDS} with --pace.",
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Fresh ones: each loads the models anew.")
    ] = PROCESSES,
    pace: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Frames a second, as a camera gives them: caches are cold, the core has slept. "
            "Default: one frame right after the other.",
        ),
    ] = None,
    threads: Annotated[
        str, typer.Option(help="Threads, several separated by commas: 1,2,4.")
    ] = "1",
    engine: Annotated[
        str, typer.Option(help="Engines, separated by commas: compiled,interpreter.")
    ] = "auto",
    long_frames: Annotated[
        int, typer.Option(min=2, help="Length of the long stream of the fidelity.")
    ] = 100,
    core: Annotated[
        list[str] | None,
        typer.Option(
            help="Also run on this emulated core, check the logits and count instructions: "
            f"{', '.join(CORES)}; repeat it. Needs qemu-user, apt and a C compiler.",
        ),
    ] = None,
    core_frames: Annotated[
        int, typer.Option(min=3, help="Frames on an emulated core, half a second each.")
    ] = 8,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Time on this board instead, over SSH: pi@raspberrypi.local; repeat it for "
            "several at once."
        ),
    ] = None,
    host_python: Annotated[str, typer.Option(help="Its Python with movinet-runtime.")] = PYTHON,
    host_limit: Annotated[
        int, typer.Option(min=1, help="Give up on the board after this many seconds.")
    ] = LIMIT_SECONDS,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="Also write it: report.json, .md, .html, or NAME.github.json, NAME.bencher.json; "
            "repeat it.",
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(
            envvar="MOVINET_COMMIT",
            help="That the report names, for bench history; default: git describe here.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Time models by turns, with their states carried, and say what they cost.

    movinet bench a0-stream-*.tflite --against a0-stream-float32.tflite

    movinet bench mine.tflite --clip clip.mp4 --threads 1,2,4 -o report.html -o report.json

    movinet bench a0-stream-*.tflite --pace 5

    movinet bench a0-stream-*.tflite --core cortex-a72 --core cortex-a76

    movinet bench a0-stream-*.tflite --host pi@raspberrypi.local -o pi.json

    movinet bench a0-stream-*.tflite --host pi@porch --host pi@barn -o fleet.json

    Of several boards, one that fails is a line of the report and the exit code is 1.
    """
    only_with(context, against is not None, "the fidelity, with --against", "long_frames")
    only_with(context, bool(core), "emulated cores, with --core", "core_frames")
    only_with(context, bool(host), "a board, with --host", "host_python", "host_limit")
    hosts = [Host(address, host_python, host_limit) for address in host or ()]
    plan = Plan(
        models,
        clip,
        Schedule(rounds, processes, pace, _list(engine), _counts(threads)),
        hosts,
        against,
        long_frames,
        [find_core(name) for name in core or ()],
        core_frames,
        commit or described(),
    )
    outputs = {path: _format(path) for path in output or ()}
    for path in outputs:  # what is wrong is said now, not after the measuring
        if not path.parent.is_dir():
            raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist")
    if against is not None:
        StreamModel(against)
    if "html" in outputs.values():
        new_figure(1, 1)  # what its picture needs is missing now, not after the measuring
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task("measuring", total=len(hosts) if hosts else processes)
        report = measure(
            plan,
            lambda n: progress.advance(task, n),
            lambda line: progress.update(task, description=line),
        )
    for path, form in outputs.items():
        with written_whole(path) as temporary:
            temporary.write_text(FORMATS[form](report), "utf-8")
    if as_json:
        print(FORMATS["json"](report), end="")
    else:
        for board in report.by_board():
            _print(board, f"\n{board.run.host}" if report.boards else None)
        if report.boards:
            _print_boards(report)
    for line in report.failures:
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    if report.failures:
        raise typer.Exit(INCOMPLETE)


@bench.command("compare")
def compare_command(
    context: typer.Context,
    base: Annotated[Path, typer.Argument(help="A report (.json), or a model (.tflite).")],
    new: Annotated[Path, typer.Argument(help="Another one; two models are timed by turns.")],
    fail_if_slower: Annotated[str, typer.Option(help="Allowed: exit code 1 beyond it.")] = "5%",
    rounds: Annotated[
        int, typer.Option(min=2, help="Timed steps of two models in a process.")
    ] = GATE_ROUNDS,
    processes: Annotated[
        int, typer.Option(min=3, help="Fresh ones, for two models.")
    ] = GATE_PROCESSES,
    against: Annotated[
        Path | None, typer.Option(help="Two models: the float32 file for their fidelity.")
    ] = None,
    times: Annotated[bool, typer.Option(help="Compare times; not those of two machines.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The checks as JSON.")] = False,
) -> None:
    """Decide whether something became worse: exit code 0 no, 1 yes, 2 it cannot be said.

    Times are worse only where the whole 95 % interval of the ratio of medians is beyond
    what is allowed; two models are timed by turns in fresh processes, which neither a noisy
    machine nor the luck of one load can tilt. Sizes, ops, partitions and fidelity must not be
    worse at all.

    movinet bench compare before.json after.json --fail-if-slower 5%

    movinet bench compare old.tflite new.tflite

    movinet bench compare committed.json today.json --no-times
    """
    slower = _share(fail_if_slower)
    models = [path.suffix == ".tflite" for path in (base, new)]
    if any(models) and not all(models):
        raise UsageError("compare two reports or two models, not one of each")
    only_with(context, all(models), "two models", "rounds", "processes", "against")
    if all(models):
        plan = Plan([base, new], schedule=Schedule(rounds, processes), against=against)
        found = checks(*_by_turns(plan), slower, paired=True, times=times)
    else:
        found = checks(read_report(base), read_report(new), slower, times=times)
    worse = [check for check in found if check.verdict == "worse"]
    if as_json:
        rows = {"worse": bool(worse), "checks": [asdict(check) for check in found]}
        print(json.dumps(rows, indent=1, allow_nan=False))
    else:
        _print_checks(found, slower)
    if worse:
        raise typer.Exit(REGRESSION)


bench.command("history")(history_command)


def _by_turns(plan: Plan) -> tuple[Report, Report]:
    """Measure two models in the same processes; return a report of each, under one name."""
    both = measure(plan)
    first, second = (
        replace(both, variants=[replace(variant, name="model")]) for variant in both.variants
    )
    return first, second


def _format(path: Path) -> str:
    endings = {
        ".github.json": "github",
        ".bencher.json": "bencher",
        ".json": "json",
        ".md": "markdown",
        ".html": "html",
    }
    for ending, form in endings.items():
        if path.name.endswith(ending):
            return form
    raise UsageError(f"cannot tell the format of {path}: it ends in {', '.join(endings)}")


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _counts(text: str) -> list[int]:
    parts = _list(text)
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--threads takes numbers such as 1,2,4, not '{text}'")
    return [int(part) for part in parts]


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10:
        raise UsageError(f"--fail-if-slower takes 5% or 0.05, not '{text}'")
    return value


def _print_boards(report: Report) -> None:
    """Medians side by side: a row for each variant, a column for each board."""
    boards = report.by_board()
    table = Table(title="\nmedian ms, ± 95 %", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    found = []
    for board in boards:
        table.add_column(escape(str(board.run.host)), justify="right", overflow="fold")
        rows = [cells(variant) for variant in board.variants]
        found.append({row[0]: row[1] if row[2] == "-" else f"{row[1]} ± {row[2]}" for row in rows})
    for name in dict.fromkeys(name for one in found for name in one):
        table.add_row(escape(name), *(one.get(name, "-") for one in found))
    Console().print(table)


def _print(report: Report, title: str | None = None) -> None:
    """The variants as columns: there are more figures than variants."""
    name = None if title is None else escape(title)
    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    rows: list[Sequence[str]] = [cells(variant, report.cores) for variant in report.variants]
    for row in rows:
        table.add_column(escape(row[0]), justify="right", overflow="fold")
    for i, heading in enumerate(headings(report)[1:], start=1):
        table.add_row(heading, *(row[i] for row in rows))
    console = Console()
    console.print(table)
    for line in about(report):
        style = "yellow" if line.startswith("DISTURBED") else "dim"
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _print_checks(found: list[Check], slower: float) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("variant", "what", "base", "new", "", ""):
        table.add_column(column, justify="right" if column in ("base", "new") else "left")
    for check in found:
        style = COLOURS[check.verdict]
        verdict = "" if check.verdict == "same" else check.verdict
        table.add_row(
            escape(check.variant),
            check.what,
            check.base,
            check.new,
            check.why,
            verdict,
            style=style,
        )
    console = Console()
    console.print(table)
    worse = sum(check.verdict == "worse" for check in found)
    console.print(f"{worse} worse (allowed: {slower:.0%} slower)" if worse else "nothing is worse")
