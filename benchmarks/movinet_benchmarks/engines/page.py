"""What the race found, as a table for a terminal, a page and a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from movinet_benchmarks.engines.race import BASE
from movinet_runtime.outputs.plot import new_figure, save_figure

Results = Mapping[str, Any]
MOST_DB = 100.0  # beyond it logits differ by the order of sums alone

PAGE = """# Other engines on the same network

One step of A0, from a camera's uint8 frame to logits, with {weights} weights, one thread. All
engines get the same weights and the same frames, carry their states, and take turns in one
process. Times are divided by those of our float32 file in this project's runtime: above 1 is
slower.

{table}

![time of a step, of ours in float32]({picture})

{title}.

*At a camera's pace*: each engine gets {pace:g} frames a second; between two steps the process
sleeps, and touches more memory than the caches hold (as `movinet bench --pace` does). *Hot*: back
to back, each by turns with ours alone, so that the caches hold both. Intervals of 95 % are over
the processes. *dB*: logits against ours in float32 over one stream of {frames} frames without a
reset; beyond {most:g} dB they differ by the order of sums alone.
{remarks}
## Settings

{settings}

Memory is in huge pages, as the runtime has it for its own. What a step reads and writes is
allocated and bound before the first one. The others run the file of `movinet export --format onnx`
([onnx.md](onnx.md)): past frames are states of their own that change places by changing what is
bound, no state is copied, and a temporal convolution is a sum of products.

- ONNX Runtime and ncnn get the frame from NumPy as float32, channels first, within the time of the
  step; OpenVINO converts it within its graph.
- pnnx has no average pooling that is padded at one end alone, and leaves two of them as they are.
  They become ncnn's own with full windows, which is the same (see the dB).

## Again

```sh
make engines                                              # out/engines.md and its picture
.venv/bin/python -m movinet_benchmarks.engines -o docs/engines.md
```

`make engines` installs the engines (`movinet-benchmarks[engines]`, and pnnx without torch, which
only its Python side needs). Engines that are missing are named and left out. The reference's
weights and clips are in `$MOVINET_SHARED`; without it the embedded weights and drawn figures are
taken.
"""


def title_of(results: Results) -> str:
    """What was measured, where, when and how."""
    effort = results["effort"]
    return (
        f"A0, {results['weights']} weights, one thread, {effort['rounds']} steps hot and "
        f"{effort['paced_rounds']} at {effort['pace']:g} frames a second in each of "
        f"{effort['processes']} processes, {results['machine']['cpu']}, {results['date']}"
    )


def table_of(results: Results) -> Table:
    """Rows are engines; ratios above 1 mean that ours in float32 is faster."""
    table = Table(title=title_of(results), title_justify="left", box=None, pad_edge=False)
    table.add_column("engine")
    for heading in ("hot ms", "/ ours", "paced ms", "/ ours ", "dB", "version"):
        table.add_column(heading, justify="right")
    for name, row in results["engines"].items():
        cells = [f"{row['hot_ms']:.2f}", _ratio(row, "hot"), f"{row['paced_ms']:.2f}"]
        table.add_row(name, *cells, _ratio(row, "paced"), decibels(name, row), row["version"])
    return table


def remarks(results: Results) -> list[str]:
    """Say which engines are missing, and what makes the times doubtful."""
    missing = [f"{name} is left out: {reason}" for name, reason in results["left_out"].items()]
    return missing + [f"DISTURBED: {why}" for why in results["machine"]["disturbances"]]


def decibels(name: str, row: Mapping[str, Any]) -> str:
    """Say how true logits are; nothing of what all are compared with."""
    if name == BASE:
        return ""
    return f"> {MOST_DB:g}" if row["db"] > MOST_DB else f"{row['db']:.1f}"


def _ratio(row: Mapping[str, Any], what: str) -> str:
    low_high = row.get(f"{what}_ratio_95")
    interval = f" ({low_high[0]:.2f}–{low_high[1]:.2f})" if low_high else ""
    return f"{row[f'{what}_ratio']:.2f}{interval}"


def page(results: Results, picture_name: str) -> str:
    """The page in Markdown."""
    head = ["engine", "at a camera's pace, of ours", "hot, of ours", "dB"]
    rows = [head, ["---", "---:", "---:", "---:"]]
    about = [["engine", "version", "settings"], ["---", "---", "---"]]
    for name, row in results["engines"].items():
        rows.append([name, _ratio(row, "paced"), _ratio(row, "hot"), decibels(name, row)])
        about.append([name, row["version"], row["settings"]])
    said = "".join(f"\n{line}.\n" for line in remarks(results))
    return PAGE.format(
        table=markdown(rows),
        settings=markdown(about),
        title=title_of(results),
        weights=results["weights"],
        picture=picture_name,
        pace=results["effort"]["pace"],
        frames=results["frames"],
        most=MOST_DB,
        remarks=said,
    )


def markdown(rows: list[list[str]]) -> str:
    """A table of cells."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def picture(results: Results, path: Path) -> None:
    """Draw the ratios as bars, the fastest at a camera's pace on top."""
    engines = sorted(results["engines"].items(), key=lambda item: -item[1]["paced_ratio"])
    figure = new_figure(9, 1.4 + 0.5 * len(engines))
    axes = figure.subplots()
    for what, label, offset, color in (
        ("paced", f"at {results['effort']['pace']:g} frames a second", 0.19, "C0"),
        ("hot", "back to back", -0.19, "0.75"),
    ):
        places = [i + offset for i in range(len(engines))]
        ratios = [row[f"{what}_ratio"] for _, row in engines]
        axes.barh(places, ratios, 0.36, color=color, label=label)
    for i, (name, row) in enumerate(engines):
        true = decibels(name, row)
        longest = max(row["paced_ratio"], row["hot_ratio"])
        axes.text(longest + 0.02, i, f"{true} dB" if true else "", va="center", fontsize=9)
    axes.set_yticks(range(len(engines)), [name for name, _ in engines])
    axes.axvline(1, color="0.3", linewidth=1, linestyle="--")
    axes.set_xlabel("time of a step, of ours in float32 (one thread)")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    save_figure(figure, path)
