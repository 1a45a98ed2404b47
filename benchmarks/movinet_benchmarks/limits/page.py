"""Tables and a picture of where models stand, from the figures that the command collected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from movinet_benchmarks.limits.count import KINDS, PRODUCT_KINDS
from movinet_benchmarks.limits.taken import LOOPS
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.plot import new_figure, save_figure

BEGIN, END = "<!-- make limits writes from here -->", "<!-- to here -->"
SHOWN = "a0"  # the member whose kinds of operators are shown
TIME = "ms"  # the unit where time is measured; else million instructions
Figures = Mapping[str, Any]


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
            table.add_column(column, justify="right" if number else "left")
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
    moved = ("weights", "states read", "states written", "activations read", "activations written")
    columns = ["million multiply-adds", *PRODUCT_KINDS, "together", *(f"MB {m}" for m in moved)]
    files = {row["file"]: row for row in rows}
    cells = []
    for name, row in files.items():
        counts = [row["multiply_adds"][kind] for kind in PRODUCT_KINDS]
        numbers = [f"{n / 1e6:.1f}" for n in (*counts, sum(counts))]
        cells.append([name, *numbers, *(f"{row['bytes'].get(m, 0) / 1e6:.2f}" for m in moved)])
    return Sheet("What a step computes and moves, as the file has it", columns, cells)


def _standing(rows: Sequence[Figures]) -> Sheet:
    columns = (
        "file",
        "on",
        "least",
        "taken",
        "taken / least",
        "at a camera's pace: least",
        "taken",
    )
    cells = []
    for row in rows:
        least, taken = total(row["least"]), row["taken"]
        if row["unit"] == TIME:
            numbers = [f"{least:.2f} ms", f"{taken:.2f} ms", f"{taken / least:.2f}"]
            numbers += [f"{row['least_paced']:.2f} ms", f"{row['taken_paced']:.2f} ms"]
        else:
            numbers = [f"{least:.2f} M", f"{taken:.2f} M", f"{taken / least:.2f}", "", ""]
        cells.append([row["file"], row["on"], *numbers])
    return Sheet("The least and what is taken: one step, one thread", columns, cells)


def _kinds(row: Figures) -> Sheet:
    least = row["least"]
    products = sum(row["multiply_adds"].values())
    title = f"{row['file']} on {row['on']}"
    if row["unit"] == TIME:
        cells = [
            [k, f"{row['multiply_adds'].get(k, 0) / products:.1%}", f"{least.get(k, 0):.3f}"]
            for k in KINDS
        ]
        cells.append(["together", "", f"{total(least):.3f}"])
        return Sheet(title, ("kind", "of the multiply-adds", "least ms"), cells)
    cells = []
    for loop, kinds in LOOPS.items():
        parts = [[least.get(k, {}).get(p, 0.0) for k in kinds] for p in PARTS]
        numbers = [sum(part) for part in parts]
        made = sum(row["multiply_adds"].get(k, 0) for k in kinds) / products
        taken = row["taken_by_loop"][loop]
        cells.append([loop, f"{made:.1%}", *(f"{n:.2f}" for n in (*numbers, sum(numbers), taken))])
        cells[-1].append(f"{taken - sum(numbers):.2f}")
    sums = [sum(one.get(p, 0.0) for one in least.values()) for p in PARTS]
    last = (*sums, sum(sums), row["taken"], row["taken"] - sum(sums))
    cells.append(["together", "", *(f"{n:.2f}" for n in last)])
    columns = ("million instructions", "of the multiply-adds", *PARTS, "least", "taken", "more")
    return Sheet(title, columns, cells)


PARTS = ("products", "memory", "other")


def total(least: Mapping[str, Any]) -> float:
    """Add up the kinds of what is least: milliseconds, or the parts of instructions."""
    return sum(sum(one.values()) if isinstance(one, Mapping) else one for one in least.values())


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
    return (
        f"{where}: at most {peaks['float32'] / 1e9:.1f} G multiply-adds a second of float32, "
        f"{peaks['int8'] / 1e9:.1f} of int8, {cached[0] / 1e9:.0f} to {cached[-1] / 1e9:.0f} GB/s "
        f"from the cache that a model fits in, {peaks['memory'] / 1e9:.0f} GB/s from the memory; "
        f"{effort['rounds']} steps in each of {effort['processes']} processes."
    )


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
    """Each row's least beside what is taken, as shares of what is taken."""
    names, place = [], 0.0
    for row in rows:
        if row["unit"] == TIME:
            arithmetic = row["least_arithmetic"]
            parts = {"arithmetic": arithmetic, "bytes": total(row["least"]) - arithmetic}
        else:
            sums = {p: sum(one[p] for one in row["least"].values()) for p in PARTS}
            parts = {"products": sums["products"], "bytes": sums["memory"]}
            parts["other arithmetic"] = sums["other"]
        left = 0.0
        for part, value in parts.items():
            share = value / row["taken"]
            axes.barh(place, share, left=left, color=COLOURS[part], label=part)
            left += share
        axes.barh(place, 1 - left, left=left, color=COLOURS["beyond the least"])
        axes.text(
            left + 0.01, place, f"{row['taken'] - total(row['least']):.2f} beyond", va="center"
        )
        unit = "ms" if row["unit"] == TIME else "M"
        names.append(f"{_column(row)}\n{row['taken']:.2f} {unit}")
        place -= 1
    axes.set_yticks([-float(i) for i in range(len(names))], names)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of what is taken")
    axes.set_title(f"{SHOWN.upper()}: what the least consists of")
    handles = {
        label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    axes.legend(
        handles.values(),
        handles.keys(),
        loc="lower center",
        bbox_to_anchor=(0.5, -0.28),
        ncols=4,
        frameon=False,
    )


COLOURS = {
    "arithmetic": "C0",
    "products": "C0",
    "bytes": "C1",
    "other arithmetic": "C2",
    "beyond the least": "0.85",
}
