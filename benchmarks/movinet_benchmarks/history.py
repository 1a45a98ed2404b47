"""What a folder of reports says over time, or over commits: a line for each variant and machine.

Reports of different machines, clips or paces are never of one line: nothing but what was measured
should differ along it.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from movinet_benchmarks.fidelity import MAX_DB
from movinet_benchmarks.report import SCHEMA, Report, Variant, read_report
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.plot import new_figure

GIT_SECONDS = 10
WIDTH, HEIGHT = 15.0, 3.8  # inches of three figures beside each other


@dataclass(frozen=True)
class Point:
    """One variant in one report.

    Attributes:
        report: the file's name in the folder.
        date: ISO 8601, UTC.
        commit: None where the report names none.
        median_ms, low_ms, high_ms: of a step, with its 95 % interval; None: too few processes.
        sqnr_db: to float32, the worse of its streams; None: not measured.
        peak_bytes, file_bytes: of memory, on disk.
        disturbed: the machine was not left in peace.
    """

    report: str
    date: str
    commit: str | None
    median_ms: float
    low_ms: float | None
    high_ms: float | None
    sqnr_db: float | None
    peak_bytes: int
    file_bytes: int
    disturbed: bool


@dataclass(frozen=True)
class Line:
    """A variant on a machine, measured in one way; points in the order of time."""

    machine: str
    conditions: str
    variant: str
    points: list[Point]


@dataclass(frozen=True)
class _Head:
    schema: str = ""


def described(folder: Path | None = None) -> str | None:
    """Return what ``git describe`` says of a folder, default: the current one; None: no commit."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=folder, timeout=GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def read_reports(folder: Path) -> tuple[dict[str, Report], list[str]]:
    """Read the reports of a folder and of those in it.

    Returns:
        Reports by their names in the folder, and a line for each that cannot be used. JSON of
        other kinds is passed over.

    Raises:
        UsageError: it is no folder, or holds no report that can be used.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder of reports")
    found: dict[str, Report] = {}
    skipped: list[str] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            if not path.is_file() or not _is_report(path):
                continue
            report = read_report(path)
        except (OSError, UsageError) as error:
            skipped.append(str(error))
            continue
        if _date(report) is None:
            skipped.append(f"the report {path} does not say when it was made")
        else:
            found[path.relative_to(folder).as_posix()] = report
    if not found:
        why = f": {skipped[0]}" if skipped else "; movinet bench MODEL -o report.json writes one"
        raise UsageError(f"{folder} holds no report that can be used{why}")
    return found, skipped


def _is_report(path: Path) -> bool:
    """Whether a file says that it is one; damaged ones that might be are taken for one."""
    content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=_Head).schema == SCHEMA
    except msgspec.ValidationError:
        return False
    except msgspec.DecodeError:
        return SCHEMA.encode() in content


def history(reports: dict[str, Report]) -> list[Line]:
    """Sort the variants of reports into lines.

    Args:
        reports: by name, each with a date.
    """
    points: dict[tuple[str, str, str], list[Point]] = {}
    for name, report in reports.items():
        for one in report.by_board():
            for variant in one.variants:
                key = (_machine(one), _conditions(one), variant.key)
                points.setdefault(key, []).append(_point(name, one, variant))
    return [
        Line(*key, sorted(found, key=lambda point: (point.date, point.report)))
        for key, found in sorted(points.items())
    ]


def _point(name: str, report: Report, variant: Variant) -> Point:
    step = variant.step_ms
    return Point(
        report=name,
        date=_date(report) or "",
        commit=report.run.commit,
        median_ms=step.median,
        low_ms=step.median_low,
        high_ms=step.median_high,
        sqnr_db=variant.sqnr_db,
        peak_bytes=variant.start.peak_bytes,
        file_bytes=variant.file_bytes,
        disturbed=bool(report.environment.disturbances),
    )


def _date(report: Report) -> str | None:
    """When a report was made, in UTC; older ones know it by the first look at the machine."""
    if report.run.date is not None:
        made = partial(datetime.fromisoformat, report.run.date)
    elif looks := report.environment.looks:
        made = partial(datetime.fromtimestamp, looks[0].time, timezone.utc)
    else:
        return None
    try:
        return made().astimezone(timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # no time that there ever was
        return None


def _machine(report: Report) -> str:
    """Name a machine by what stays: systems and packages change on it, and are history."""
    where = report.environment
    cores = "" if where.cores is None else f", {where.cores} cores"
    name = f"{where.cpu}{cores}, {where.machine}"
    return name if report.run.host is None else f"{report.run.host}: {name}"


def _conditions(report: Report) -> str:
    pace = report.run.pace
    return f"{report.run.clip}, " + ("back to back" if pace is None else f"{pace:g} frames/s")


def commits(lines: Sequence[Line]) -> list[str]:
    """Name all commits in the order in which they were first measured."""
    every = sorted((point.date, point.commit) for line in lines for point in line.points
                   if point.commit is not None)  # fmt: skip
    return list(dict.fromkeys(commit for _, commit in every))


def draw(lines: Sequence[Line], over: str) -> Any:
    """Draw latency with its interval, dB and memory; a row for each machine and conditions.

    Args:
        lines: of :func:`history`.
        over: ``time`` or ``commits``; points without a commit are left out of the latter.

    Raises:
        MissingPackageError: matplotlib is not installed.
        UsageError: over commits, and no report names one.
    """
    if over == "commits" and not commits(lines):
        raise UsageError("no report names a commit: movinet bench --commit NAME, or --over time")
    names = list(dict.fromkeys((line.machine, line.conditions) for line in lines))
    figure = new_figure(WIDTH, HEIGHT * len(names))
    rows = figure.subplots(len(names), 3, squeeze=False)
    for name, axes in zip(names, rows, strict=True):
        own = [line for line in lines if (line.machine, line.conditions) == name]
        order = commits(own)
        for i, line in enumerate(own):
            points = [p for p in line.points if over == "time" or p.commit is not None]
            if points:
                _draw_line(axes, line.variant, points, f"C{i % 10}", over, order)
        _label(axes, " · ".join(name), over, order)
    return figure


def _draw_line(
    axes: Any, name: str, points: Sequence[Point], colour: str, over: str, order: Sequence[str]
) -> None:
    def place(point: Point) -> Any:
        if over == "commits":
            return order.index(point.commit or "")
        return datetime.fromisoformat(point.date)

    style = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1}
    latency, fidelity, memory = axes
    latency.plot([*map(place, points)], [p.median_ms for p in points], **style, label=_plain(name))
    for p in points:
        if p.low_ms is not None and p.high_ms is not None:
            latency.plot(
                [place(p)] * 2, [p.low_ms, p.high_ms], color=colour, linewidth=2, alpha=0.5
            )
    # What is equal to float32 has no dB that could be drawn.
    known = [(place(p), p.sqnr_db) for p in points if p.sqnr_db is not None and p.sqnr_db < MAX_DB]
    fidelity.plot([at for at, _ in known], [db for _, db in known], **style)
    memory.plot([*map(place, points)], [p.peak_bytes / 1e6 for p in points], **style)


def _label(axes: Any, title: str, over: str, order: Sequence[str]) -> None:
    for one, unit in zip(axes, ("median, ms a step", "dB against float32", "peak MB"), strict=True):
        one.set_ylabel(unit)
        one.grid(alpha=0.3)
        one.margins(0.08, 0.15)
        if over == "commits":
            one.set_xticks(range(len(order)), [_plain(commit) for commit in order])
        one.tick_params(axis="x", labelrotation=30, labelsize=8)
    axes[0].set_title(_plain(title), loc="left", fontsize=10)
    axes[0].legend(loc="best", fontsize=8)


def _plain(text: str) -> str:
    """A name as it is: matplotlib takes what is between dollars for mathematics."""
    return text.replace("$", r"\$")
