"""A report in the forms that other tools and people read."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from movinet_benchmarks.arm.emulate import Emulation
from movinet_benchmarks.fidelity import MAX_DB
from movinet_benchmarks.page import Section, page, picture
from movinet_benchmarks.report import Report, Variant, encoded
from movinet_benchmarks.statistics import Summary


def as_json(report: Report) -> str:
    """The report itself."""
    return encoded(report).decode()


def as_github(report: Report) -> str:
    """github-action-benchmark's ``customSmallerIsBetter``: a list of named values."""
    rows = []
    for variant in report.variants:
        step, name = variant.step_ms, variant.key
        rows.append(_github(f"{name}: step", "ms", step.median, _spread(step, "± {:.3f}")))
        rows.append(_github(f"{name}: file", "bytes", variant.file_bytes))
        rows.append(_github(f"{name}: states", "bytes", variant.state_bytes))
        rows.append(_github(f"{name}: partitions", "count", variant.partitions))
        rows.append(_github(f"{name}: peak memory", "bytes", variant.start.peak_bytes))
        for core, one in variant.arm.items():
            rows.append(_github(f"{name}: {core}", "instructions", one.instructions))
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _github(name: str, unit: str, value: float, spread: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "unit": unit, "value": value}
    return row if spread is None else row | {"range": spread}


def _spread(step: Summary, form: str) -> str | None:
    """Half the median's interval; None where one process cannot tell."""
    if step.median_low is None or step.median_high is None:
        return None
    return form.format((step.median_high - step.median_low) / 2)


def as_bencher(report: Report) -> str:
    """Bencher Metric Format: benchmark -> measure -> value; latency in nanoseconds."""
    found = {}
    for variant in report.variants:
        step = variant.step_ms
        found[variant.key] = {
            "latency": {
                "value": step.median * 1e6,
                "lower_value": step.p5 * 1e6,
                "upper_value": step.p95 * 1e6,
            },
            "file-size": {"value": variant.file_bytes},
            "state-size": {"value": variant.state_bytes},
            "partitions": {"value": variant.partitions},
            "peak-memory": {"value": variant.start.peak_bytes},
        } | {
            f"instructions-{core}": {"value": one.instructions} for core, one in variant.arm.items()
        }
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


HEADINGS = (
    "variant",
    "median ms",
    "± 95 %",
    "p95",
    "p99",
    "mean",
    "first ms",
    "load ms",
    "peak MB",
    "file MB",
    "states MB",
    "ops",
    "partitions",
    "fps",
    "x real time",
    "SQNR dB",
)


def headings(report: Report) -> list[str]:
    """The columns of a report's table; emulated cores come last."""
    return [*HEADINGS, *(f"M instr. {core}" for core in report.cores)]


def cells(variant: Variant, emulated: Sequence[str] = ()) -> list[str]:
    """One row of the table under ``headings``."""
    step, start, fidelity = variant.step_ms, variant.start, variant.sqnr_db
    outside = sum(variant.ops_outside.values())
    return [
        variant.key,
        f"{step.median:.2f}",
        _spread(step, "{:.2f}") or "-",
        f"{step.p95:.2f}",
        f"{step.p99:.2f}",
        f"{step.avg:.2f}",
        f"{start.first_ms:.1f}",
        f"{start.load_ms:.0f}",
        f"{start.peak_bytes / 1e6:.0f}",
        f"{variant.file_bytes / 1e6:.2f}",
        f"{variant.state_bytes / 1e6:.2f}",
        f"{variant.ops}" + (f" ({outside} outside)" if outside else ""),
        str(variant.partitions),
        f"{variant.frames_per_second:.0f}",
        f"{variant.real_time_factor:.0f}",
        "-" if fidelity is None else "reference" if fidelity >= MAX_DB else f"{fidelity:.1f}",
        *(_instructions(variant.arm.get(core)) for core in emulated),
    ]


def _instructions(emulation: Emulation | None) -> str:
    return "-" if emulation is None else f"{emulation.instructions / 1e6:.2f}"


def about(report: Report) -> list[str]:
    """Lines on the machine and the run."""
    where, run = report.environment, report.run
    packages = ", ".join(f"{name} {found}" for name, found in where.packages.items())
    how = "interleaved" if run.pace is None else f"at {run.pace:g} frames a second, caches cold"
    processes = "1 process" if run.processes == 1 else f"each of {run.processes} processes"
    lines = [
        f"{where.cpu}, {where.cores} cores, {where.system}",
        f"Python {where.python}, {packages}",
        f"{run.rounds} rounds of {run.clip} in {processes}, {how}, states carried",
    ]
    if report.cores:
        lines.append("instructions: executed for a frame on the emulated core, all else warm")
    if run.commit is not None:
        lines.append(f"commit {run.commit}")
    return lines + [f"DISTURBED: {reason}" for reason in where.disturbances]


def as_markdown(report: Report) -> str:
    """A table for a README or a pull request; of several boards, one for each."""
    tables = [_markdown(board) for board in report.by_board()]
    if report.boards:
        titles = [f"### {board.run.host}\n\n" for board in report.by_board()]
        tables = [title + table for title, table in zip(titles, tables, strict=True)]
        tables += ["".join(f"* FAILED: {line}\n" for line in report.failures)]
    return "\n".join(filter(None, tables))


def _markdown(report: Report) -> str:
    columns = headings(report)
    rows = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    rows += [cells(variant, report.cores) for variant in report.variants]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return table + "\n\n" + "\n".join(f"* {line}" for line in about(report)) + "\n"


def as_html(report: Report) -> str:
    """One page with its picture inside; it opens without a network and runs no script."""
    sections = [
        Section(
            one.run.host or "" if report.boards else "",
            headings(one),
            [cells(variant, one.cores) for variant in one.variants],
            about(one),
            picture(one),
        )
        for one in report.by_board()
    ]
    return page(sections, report.failures)


FORMATS: dict[str, Callable[[Report], str]] = {
    "json": as_json,
    "github": as_github,
    "bencher": as_bencher,
    "markdown": as_markdown,
    "html": as_html,
}
