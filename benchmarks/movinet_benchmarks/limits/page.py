"""Tables and a picture of where models stand, from the figures that the command collected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from movinet_benchmarks.limits.count import KINDS, PRODUCT_KINDS
from movinet_benchmarks.limits.taken import LOOPS
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.plot import new_figure, save_figure

BEGIN, END = "<!-- make limits writes from here -->", "<!-- to here -->"
SHOWN = "a0"  # the member whose kinds of operators are shown
TIME = "ms"  # the unit where time is measured; else million instructions
Figures = Mapping[str, Any]

# The parts of what is least, and what they are called.
PARTS = {"products": "multiply-adds", "memory": "loads and stores", "other": "other arithmetic"}
COLOURS = dict(zip(PARTS, ("C0", "C1", "C2"), strict=True))
MOVED = ("image read", "states read", "states written", "activations read", "activations written")


@dataclass(frozen=True)
class Sheet:
    """A table for the terminal and for a page."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> Table:
        """Return it for the terminal."""
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for number, column in enumerate(self.columns):
            justify: Literal["left", "right"] = "right" if number else "left"
            table.add_column(column, justify=justify, no_wrap=not number)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Return it for a page."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines])


def sheets(figures: Figures) -> list[Sheet]:
    """Return all tables for which there are figures."""
    rows = figures["rows"]
    found = [_counts(rows), _standing(rows)]
    found += [_kinds(row) for row in rows if row["model"] == f"{SHOWN}-stream"]
    if any(row["unit"] == TIME for row in rows):
        found.append(_threads(rows))
    found.append(_growth(rows))
    return found


def _counts(rows: Sequence[Figures]) -> Sheet:
    """Columns are models: their operators are those of every variant, but for the formats."""
    first = {row["model"]: row for row in reversed(rows)}
    models = sorted(first)
    lines = {
        f"million multiply-adds, {kind}": [first[m]["multiply_adds"][kind] for m in models]
        for kind in PRODUCT_KINDS
    }
    sums = [sum(first[m]["multiply_adds"].values()) for m in models]
    lines["million multiply-adds, together"] = sums
    for variant in dict.fromkeys(row["variant"] for row in rows):
        files = {row["model"]: row for row in rows if row["variant"] == variant}
        weights = [files[m]["bytes"]["weights"] if m in files else None for m in models]
        lines[f"MB weights, {variant}"] = weights
    for what in MOVED:
        lines[f"MB {what}"] = [first[m]["bytes"][what] for m in models]
    cells = [[n, *("" if v is None else f"{v / 1e6:.2f}" for v in v_s)] for n, v_s in lines.items()]
    return Sheet("What a step computes and moves, as the file has it", ("", *models), cells)


def _standing(rows: Sequence[Figures]) -> Sheet:
    paced = "at a camera's pace: least"
    columns = ("file", "on", "least", "taken", "taken / least", paced, "taken", "tiles")
    cells = []
    for row in rows:
        least, taken = total(row["least"]), row["taken"]
        unit = "ms" if row["unit"] == TIME else "M"
        numbers = [f"{least:.2f} {unit}", f"{taken:.2f} {unit}", f"{taken / least:.2f}"]
        if row["unit"] == TIME:
            numbers += [f"{row['least_paced']:.2f} ms", f"{row['taken_paced']:.2f} ms", ""]
        else:
            numbers += ["", "", f"{row['tiled']:.3f}"]
        cells.append([row["file"], row["on"], *numbers])
    title = "The least and what is taken: one step, one thread; M: million instructions"
    return Sheet(title, columns, cells)


def _kinds(row: Figures) -> Sheet:
    """The parts of the least by kind, and what is taken for them where that is known."""
    least, taken = row["least"], row.get("taken_by_loop")
    products = sum(row["multiply_adds"].values())
    groups = LOOPS if taken else {kind: (kind,) for kind in KINDS}
    cells = []
    for name, kinds in groups.items():
        numbers = [sum(least[kind][part] for kind in kinds) for part in PARTS]
        numbers.append(sum(numbers))
        if taken:
            numbers += [taken[name], taken[name] - numbers[-1]]
        made = sum(row["multiply_adds"].get(kind, 0) for kind in kinds) / products
        cells.append([name, f"{made:.1%}", *(f"{n:.2f}" for n in numbers)])
    sums = [sum(one[part] for one in least.values()) for part in PARTS]
    sums += [sum(sums), row["taken"], row["taken"] - sum(sums)]
    shown = sums if taken else sums[:-2]
    cells.append(["together", "100.0%", *(f"{n:.2f}" for n in shown)])
    columns = (row["unit"], "of the multiply-adds", *PARTS.values(), "least", "taken", "more")
    return Sheet(f"{row['file']} on {row['on']}", columns[: len(cells[-1])], cells)


def total(least: Mapping[str, Mapping[str, float]]) -> float:
    """Add up all kinds and parts."""
    return sum(sum(one.values()) for one in least.values())


def _threads(rows: Sequence[Figures]) -> Sheet:
    columns = (
        "file",
        "two threads / one",
        "share that gains nothing",
        "µs an operator",
        "operators",
        "small ones",
        "their multiply-adds",
        "their least time",
    )
    cells = []
    for row in rows:
        if row["unit"] != TIME:
            continue
        ratio, small = row["two_threads"], row["small"]
        # Amdahl: r = s + (1 - s) / 2. Or every operator costs the same time more.
        waits = 1e3 * row["taken"] * (ratio - 0.5) / row["operators"]
        numbers = [f"{ratio:.2f}", f"{2 * ratio - 1:.0%}", f"{waits:.1f}", f"{row['operators']}"]
        numbers += [f"{small[k]:.1%}" for k in ("operators", "multiply_adds", "least_time")]
        cells.append([row["file"], *numbers])
    return Sheet("Two threads", columns, cells)


def _growth(rows: Sequence[Figures]) -> Sheet:
    columns = ("model", "million multiply-adds", *_columns(rows))
    cells = []
    for model, products in sorted(
        {r["model"]: sum(r["multiply_adds"].values()) for r in rows}.items()
    ):
        here = {_column(r): r for r in rows if r["model"] == model}
        numbers = [_per_multiply_add(here.get(column)) for column in _columns(rows)]
        cells.append([model, f"{products / 1e6:.1f}", *numbers])
    title = "Growth: picoseconds, or instructions in 1000, for a multiply-add; (least)"
    return Sheet(title, columns, cells)


def _column(row: Figures) -> str:
    return f"{row['variant']} on {row['on']}"


def _columns(rows: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(_column(row) for row in rows))


def _per_multiply_add(row: Figures | None) -> str:
    if row is None:
        return ""
    products = sum(row["multiply_adds"].values())
    return f"{1e9 * row['taken'] / products:.1f} ({1e9 * total(row['least']) / products:.1f})"


def title_of(figures: Figures) -> str:
    """What was measured, where and when."""
    peaks, effort = figures["peaks"], figures["effort"]
    where = f"{figures['machine']['cpu']}, {figures['date']}"
    if peaks is None:
        return f"Counted on {where}."
    cached = sorted(one["cached"] for one in peaks["models"].values())
    disturbed = [reason for row in figures["rows"] for reason in row.get("disturbances", ())]
    doubt = f" DISTURBED, so that times are too long: {disturbed[0]}." if disturbed else ""
    return (
        f"{where}: at most {peaks['float32'] / 1e9:.1f} G multiply-adds a second of float32, "
        f"{peaks['int8'] / 1e9:.1f} of int8, {cached[0] / 1e9:.0f} to {cached[-1] / 1e9:.0f} GB/s "
        f"from the cache that a model fits in, {peaks['memory'] / 1e9:.0f} GB/s from the memory; "
        f"{effort['rounds']} steps in each of {effort['processes']} processes."
    ) + doubt


def rewritten(page: str, figures: Figures, name: str) -> str:
    """Return a page with new tables between its marks.

    Raises:
        UsageError: it has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{name} has no place for tables: it needs the lines {BEGIN} and {END}")
    tables = "\n\n".join([title_of(figures), *(sheet.markdown() for sheet in sheets(figures))])
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def picture(figures: Figures, path: Path) -> None:
    """Draw the least and what is taken, by kind for the instructions of A0, and the growth."""
    rows = figures["rows"]
    figure = new_figure(13, 5.2)
    bars, growth = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_bars(bars, [r for r in rows if r["model"] == f"{SHOWN}-stream"])
    for column in _columns(rows):
        drawn = [r for r in rows if _column(r) == column and not r["model"].startswith("t")]
        products = [sum(r["multiply_adds"].values()) for r in drawn]
        taken = [r["taken"] / total(r["least"]) for r in drawn]
        growth.plot([p / 1e6 for p in products], taken, marker="o", label=column)
        if column == _columns(rows)[0]:
            for row, x, y in zip(drawn, products, taken, strict=True):
                growth.annotate(
                    row["model"][:2].upper(), (x / 1e6, y), (0, 7), textcoords="offset points"
                )
    growth.set_xscale("log")
    growth.set_ylim(bottom=1)
    growth.set_xlabel("million multiply-adds a step")
    growth.set_ylabel("taken / least")
    growth.set_title("A0 to A5: distance from the limit")
    growth.grid(alpha=0.3)
    growth.legend(frameon=False)
    save_figure(figure, path)


def _draw_bars(axes: Any, rows: Sequence[Figures]) -> None:
    """The parts of each row's least as shares of what is taken."""
    names = []
    for place, row in enumerate(rows):
        left = 0.0
        for part, label in PARTS.items():
            share = sum(one[part] for one in row["least"].values()) / row["taken"]
            bar = {"color": COLOURS[part], "label": None if place else label}
            axes.barh(place, share, left=left, **bar)
            left += share
        axes.barh(place, 1 - left, left=left, color="0.88")
        unit = "ms" if row["unit"] == TIME else "M"
        beyond = f"{row['taken'] - total(row['least']):.2f} {unit} more"
        axes.text(left + 0.01, place, beyond, va="center")
        names.append(f"{_column(row)}\n{row['taken']:.2f} {unit}")
    axes.invert_yaxis()
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of what is taken")
    axes.set_title(f"{SHOWN.upper()}: what the least consists of")
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False)
