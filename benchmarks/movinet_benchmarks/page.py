"""A report as one HTML page."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from movinet_benchmarks.fidelity import MAX_DB
from movinet_benchmarks.report import Report, Variant
from movinet_runtime.outputs.plot import new_figure

WIDTH, ROW, HEIGHT = 10.0, 0.4, 4.0  # inches
# Text stays text, and the names inside do not change from run to run.
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "movinet", "font.family": "sans-serif"}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Section:
    """A table, notes on the run, and a picture; only the picture is markup."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    svg: str

    def html(self) -> str:
        """Return it as markup."""
        title = f"<h2>{html.escape(self.title)}</h2>\n" if self.title else ""
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in self.headings)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        items = "".join(f"<li>{html.escape(line)}</li>" for line in self.notes)
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        return f'{title}<ul>{items}</ul>\n<div class="wide">{table}</div>\n{self.svg}'


def page(sections: Sequence[Section], failures: Sequence[str] = ()) -> str:
    """Put sections together, and what went wrong before them."""
    wrong = "".join(f"<p><b>{html.escape(line)}</b></p>\n" for line in failures)
    content = "\n".join(section.html() for section in sections)
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
{wrong}{content}
</html>
"""


def picture(report: Report) -> str:
    """Draw latencies, and fidelity over latency where fidelity is known, as one SVG.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    variants = report.variants
    known = [(variant, db) for variant in variants if (db := variant.sqnr_db) is not None]
    bars = 1 + ROW * len(variants)
    figure = new_figure(WIDTH, bars + (HEIGHT if known else 0))
    if known:
        upper, lower = figure.subplots(2, 1, height_ratios=[bars, HEIGHT])
        _fidelity(lower, known)
    else:
        upper = figure.subplots()
    _latency(upper, variants)
    return _svg(figure)


def _latency(axes: Any, variants: Sequence[Variant]) -> None:
    """Bars are medians, lines reach from the 5th to the 95th percentile."""
    for i, variant in enumerate(variants):
        step = variant.step_ms
        axes.barh(i, step.median, color=f"C{i}", height=0.6)
        axes.plot([step.p5, step.p95], [i, i], color="black", linewidth=1)
        right = max(step.p95, step.median)
        axes.annotate(
            f"{step.median:.2f} ms",
            (right, i),
            xytext=(5, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    axes.set_yticks(range(len(variants)), [_plain(variant.key) for variant in variants])
    axes.invert_yaxis()
    axes.margins(x=0.18)  # room for the text
    axes.set_title("Latency of a step: median, 5th to 95th percentile")
    axes.set_xlabel("ms")


def _fidelity(axes: Any, known: Sequence[tuple[Variant, float]]) -> None:
    """The best are joined (Pareto front); what is equal to float32 stands above the others."""
    top = max((db for _, db in known if db < MAX_DB), default=50.0) + 10
    points = [(variant.step_ms.median, min(db, top)) for variant, db in known]
    front = sorted(point for point in points if not _beaten(point, points))
    axes.plot(*zip(*front, strict=True), color="0.6", linestyle="--", linewidth=1)
    for i, ((variant, db), point) in enumerate(zip(known, points, strict=True)):
        truth = "reference" if db >= MAX_DB else f"{db:.1f} dB"
        axes.scatter(*point, color=f"C{i}", zorder=2, label=f"{_plain(variant.key)}, {truth}")
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    axes.set_title("Fidelity over latency: the upper left corner is best")
    axes.set_xlabel("ms a step")
    axes.set_ylabel("dB against float32")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _beaten(point: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    ms, db = point
    return any(m <= ms and d >= db and (m, d) != point for m, d in points)


def _plain(text: str) -> str:
    """A name as it is: matplotlib takes what is between dollars for mathematics."""
    return text.replace("$", r"\$")


def _svg(figure: Any) -> str:
    from matplotlib import rc_context

    drawn = io.StringIO()
    with rc_context(SETTINGS):
        figure.savefig(drawn, format="svg", metadata=NO_METADATA)
    text = drawn.getvalue()
    return text[text.index("<svg") :].strip()  # without the XML declaration: this goes into a page
