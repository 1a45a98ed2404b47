"""A report in the forms that other tools and people read."""

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from movinet_benchmarks.fidelity import MAX_DB
from movinet_benchmarks.report import Report, Variant, arm, cores, key, sqnr

LINE = 18  # pixels between labels
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def as_json(report: Report) -> str:
    """The report itself."""
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def as_github(report: Report) -> str:
    """github-action-benchmark's ``customSmallerIsBetter``: a list of named values."""
    rows = []
    for variant in report["variants"]:
        step = variant["step_ms"]
        spread = (step["avg_high"] - step["avg_low"]) / 2
        name = key(variant)
        rows.append(_github(f"{name}: step", "ms", step["median"], f"± {spread:.3f}"))
        rows.append(_github(f"{name}: file", "bytes", variant["file_bytes"]))
        rows.append(_github(f"{name}: states", "bytes", variant["state_bytes"]))
        rows.append(_github(f"{name}: partitions", "count", variant["partitions"]))
        rows.append(_github(f"{name}: peak memory", "bytes", variant["start"]["peak_bytes"]))
        for core, one in arm(variant).items():
            rows.append(_github(f"{name}: {core}", "instructions", one["instructions"]))
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _github(name: str, unit: str, value: float, spread: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "unit": unit, "value": value}
    return row if spread is None else row | {"range": spread}


def as_bencher(report: Report) -> str:
    """Bencher Metric Format: benchmark -> measure -> value; latency in nanoseconds."""
    found = {}
    for variant in report["variants"]:
        step = variant["step_ms"]
        found[key(variant)] = {
            "latency": {
                "value": step["median"] * 1e6,
                "lower_value": step["p5"] * 1e6,
                "upper_value": step["p95"] * 1e6,
            },
            "file-size": {"value": variant["file_bytes"]},
            "state-size": {"value": variant["state_bytes"]},
            "partitions": {"value": variant["partitions"]},
            "peak-memory": {"value": variant["start"]["peak_bytes"]},
        } | {
            f"instructions-{core}": {"value": one["instructions"]}
            for core, one in arm(variant).items()
        }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


HEADINGS = (
    "variant",
    "median ms",
    "p95",
    "p99",
    "mean ± 95 %",
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
    return [*HEADINGS, *(f"M instr. {core}" for core in cores(report))]


def cells(variant: Variant, emulated: Sequence[str] = ()) -> list[str]:
    """One row of the table under ``headings``."""
    step, start = variant["step_ms"], variant["start"]
    fidelity = sqnr(variant)
    outside = sum(variant["ops_outside"].values())
    return [
        key(variant),
        f"{step['median']:.2f}",
        f"{step['p95']:.2f}",
        f"{step['p99']:.2f}",
        f"{step['avg']:.2f} ± {(step['avg_high'] - step['avg_low']) / 2:.2f}",
        f"{start['first_ms']:.1f}",
        f"{start['load_ms']:.0f}",
        f"{start['peak_bytes'] / 1e6:.0f}",
        f"{variant['file_bytes'] / 1e6:.2f}",
        f"{variant['state_bytes'] / 1e6:.2f}",
        f"{variant['ops']}" + (f" ({outside} outside)" if outside else ""),
        str(variant["partitions"]),
        f"{variant['frames_per_second']:.0f}",
        f"{variant['real_time_factor']:.0f}",
        "-" if fidelity is None else "reference" if fidelity >= MAX_DB else f"{fidelity:.1f}",
        *(_instructions(arm(variant).get(core)) for core in emulated),
    ]


def _instructions(rehearsal: Mapping[str, Any] | None) -> str:
    return "-" if rehearsal is None else f"{rehearsal['instructions'] / 1e6:.2f}"


def about(report: Report) -> list[str]:
    """Lines on the machine and the run."""
    where, run = report["environment"], report["run"]
    packages = ", ".join(f"{name} {found}" for name, found in where["packages"].items())
    lines = [
        f"{where['cpu']}, {where['cores']} cores, {where['system']}",
        f"Python {where['python']}, {packages}",
        f"{run['rounds']} rounds of {run['clip']}, interleaved, states carried",
    ]
    if cores(report):
        lines.append("instructions: executed for a frame on the emulated core, all else warm")
    return lines + [f"DISTURBED: {reason}" for reason in where["disturbances"]]


def as_markdown(report: Report) -> str:
    """A table for a README or a pull request."""
    columns = headings(report)
    rows = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    rows += [cells(variant, cores(report)) for variant in report["variants"]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return table + "\n\n" + "\n".join(f"* {line}" for line in about(report)) + "\n"


def as_html(report: Report) -> str:
    """One page with its pictures inside; it opens without a network and runs no script."""
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in headings(report))
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(variant, cores(report)))
        + "</tr>"
        for variant in report["variants"]
    )
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in about(report))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>movinet bench</title>
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd }}
td:first-child, th:first-child {{ text-align: left }}
svg {{ width: 100%; height: auto; margin: 1rem 0 }}
.wide {{ overflow-x: auto }}
</style>
<h1>movinet bench</h1>
<ul>{notes}</ul>
<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>
<h2>Latency of a step</h2>
{_bars(report)}
{_trade_off(report)}
</html>
"""


def _bars(report: Report) -> str:
    """Medians with their 5th to 95th percentile."""
    variants = report["variants"]
    most = max(variant["step_ms"]["p95"] for variant in variants) * 1.05
    left, width, row = 330, 900, 34
    parts = []
    for i, variant in enumerate(variants):
        step, y = variant["step_ms"], i * row + 8

        def x(value: float) -> float:
            return float(left + (width - left - 70) * value / most)

        colour = PALETTE[i % len(PALETTE)]
        low, high = x(step["p5"]), x(step["p95"])
        parts.append(
            f'<text x="0" y="{y + 15}">{html.escape(key(variant))}</text>'
            f'<rect x="{left}" y="{y}" width="{x(step["median"]) - left:.1f}" height="20" '
            f'fill="{colour}"/>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 10}" y2="{y + 10}" stroke="#000"/>'
            f'<text x="{high + 6:.1f}" y="{y + 15}">{step["median"]:.2f} ms</text>'
        )
    return _svg(width, len(variants) * row + 16, parts)


def _trade_off(report: Report) -> str:
    """Fidelity over latency, where fidelity is known; the best are joined (Pareto front)."""
    points = [
        (variant["step_ms"]["median"], value, variant)
        for variant in report["variants"]
        if (value := sqnr(variant)) is not None
    ]
    if not points:
        return ""
    width, height, margin = 900, 420, 60
    slowest = max(ms for ms, _, _ in points) * 1.15
    finite = [db for _, db, _ in points if db < MAX_DB]
    best = math.ceil((max(finite, default=60) + 10) / 10) * 10

    def place(ms: float, db: float) -> tuple[float, float]:
        x = margin + (width - 2 * margin) * ms / slowest
        return x, height - margin - (height - 2 * margin) * max(0.0, min(db, best)) / best

    parts = [_axis(place, slowest, best, margin, width, height)]
    front = [(ms, db) for ms, db, _ in points if not _beaten(ms, db, points)]
    line = " ".join("{:.1f},{:.1f}".format(*place(ms, db)) for ms, db in sorted(front))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#999" stroke-dasharray="5 4"/>')
    taken: list[float] = []  # heights of labels, so that near points stay legible
    for i, (ms, db, variant) in enumerate(points):
        x, y = place(ms, db)
        beside = y + 5
        while any(abs(beside - other) < LINE for other in taken):
            beside += LINE
        taken.append(beside)
        label = html.escape(variant["name"]) + (
            " (reference)" if db >= MAX_DB else f", {db:.1f} dB"
        )
        right = x > width * 0.55
        anchor, shift = ("end", -12) if right else ("start", 12)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{PALETTE[i % len(PALETTE)]}"/>'
            f'<text x="{x + shift:.1f}" y="{beside:.1f}" text-anchor="{anchor}">{label}</text>'
        )
    return "<h2>Fidelity over latency</h2>" + _svg(width, height, parts)


def _beaten(ms: float, db: float, points: list[tuple[float, float, Variant]]) -> bool:
    return any(m <= ms and d >= db and (m, d) != (ms, db) for m, d, _ in points)


def _axis(
    place: Callable[[float, float], tuple[float, float]],
    slowest: float,
    best: float,
    margin: int,
    width: int,
    height: int,
) -> str:
    parts = []
    for i in range(6):
        x, _ = place(slowest * i / 5, 0)
        _, y = place(0, best * i / 5)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{margin}" y2="{height - margin}" stroke="#eee"/>'
            f'<line x1="{margin}" x2="{width - margin}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>'
            f'<text x="{x - 10:.1f}" y="{height - margin + 20}">{slowest * i / 5:.2f}</text>'
            f'<text x="{margin - 34}" y="{y + 5:.1f}">{best * i / 5:.0f}</text>'
        )
    parts.append(f'<text x="{width // 2}" y="{height - 12}">ms a step</text>')
    parts.append(f'<text x="8" y="{margin - 20}">dB against float32</text>')
    return "".join(parts)


def _svg(width: int, height: int, parts: list[str]) -> str:
    inside = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width} {height}" font-size="14" fill="#1a1a1a" role="img">'
        f"{inside}</svg>"
    )


FORMATS: dict[str, Callable[[Report], str]] = {
    "json": as_json,
    "github": as_github,
    "bencher": as_bencher,
    "markdown": as_markdown,
    "html": as_html,
}
