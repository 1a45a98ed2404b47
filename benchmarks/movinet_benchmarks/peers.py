"""Our files beside the reference implementation's, and beside Google's published int8 file.

``python -m movinet_benchmarks.peers`` (``make bench``): speed, back to back and at a camera's
pace, fidelity, instructions on ARM. ``$MOVINET_SHARED`` has the others' files, the weights that
the reference's were made from, and clips; without it our files are measured alone, made from
the embedded weights.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.arm.cores import CORES
from movinet_benchmarks.arm.emulate import emulate
from movinet_benchmarks.arm.root import missing_tools
from movinet_benchmarks.command import run
from movinet_benchmarks.environment import Environment
from movinet_benchmarks.fidelity import Streams, compare, record
from movinet_benchmarks.pairs import Effort, Pair, Row, timed
from movinet_benchmarks.process.race import Frame
from movinet_models.costs import COSTS
from movinet_models.figures import drawn
from movinet_runtime import StreamModel
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole
from movinet_runtime.outputs.plot import new_figure, save_figure

# Our variants, and the reference's that each is measured beside.
VARIANTS = {
    "float32": "float32",
    "float16": "float16",
    "half": "float16",
    "heavy": "dynamic",
    "dynamic": "dynamic",
    "dynamic-si8": "int8",
}
REFERENCE = tuple(dict.fromkeys(VARIANTS.values()))
CLIPS = ("carving_ice", "arm_wrestling", "cleaning_pool")
WEIGHTS = "reference/a0_stream/ckpt"
# Google's own: Kinetics-600, another network than A0 (no squeeze-excitation).
GOOGLE, GOOGLE_FILE = "Google's int8", "published/movinet_a0_stream_int8.tflite"
BOARDS = ("cortex-a72", "cortex-a76")
LONG_FRAMES, CORE_FRAMES, DRAWN_CLIPS = 500, 8, 3


def fidelity(models: Mapping[str, Path], truth: Path, streams: Streams) -> dict[str, Row]:
    """Measure the logits of models against a float32 one: dB, and decided frames of its label."""
    reference = record(truth, streams)
    found: dict[str, Row] = {}
    for name, path in models.items():
        measured = compare(path, record(path, streams), reference)
        found[name] = {
            "short_db": round(measured.short.sqnr_db, 1),
            "long_db": round(measured.parts["long"].sqnr_db, 1),
        }
        decided = [part.decided_agreement for part in measured.parts.values()]
        if same := [share for share in decided if share is not None]:
            found[name]["same_label"] = round(min(same), 4)
    return found


def instructions(models: Mapping[str, Path], images: list[Frame]) -> dict[str, Row]:
    """Count instructions a frame on the emulated boards; nothing where that cannot be."""
    cores = [CORES[name] for name in BOARDS]
    if any(missing_tools(core.machine) for core in cores):
        return {name: {} for name in models}
    found = emulate(list(models.values()), cores, images[:CORE_FRAMES])
    return {
        name: {core.name: found[path, core.name].instructions / 1e6 for core in cores}
        for name, path in models.items()
    }


def export_all(weights: str | Path, folder: Path) -> dict[str, Path]:
    """Export all variants of A0.

    In a process of its own: TensorFlow's threads and heap would slow the measurement.
    """
    command = [sys.executable, "-m", "movinet_runtime.cli.main", "export", "a0-stream"]
    options: list[str | Path] = ["-w", weights, "-o", folder, "--long-frames", "2"]
    options += [word for variant in VARIANTS for word in ("-q", variant)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"the export failed: {done.stderr.strip().splitlines()[-1]}")
    return {variant: folder / f"a0-stream-{variant}.tflite" for variant in VARIANTS}


def results_of(shared: Path | None, folder: Path, effort: Effort) -> dict[str, Any]:
    """Measure everything; rows by name, the reference's beginning with ``reference ``.

    Args:
        shared: the folder with the others' files, weights and clips; None: our files
            alone, made from the embedded weights, on drawn clips.
        folder: for the exported files.
        effort: of the timing.
    """
    ours = export_all("embedded" if shared is None else shared / WEIGHTS, folder)
    truth = StreamModel(ours["float32"])
    peers: dict[str, Path] = {}
    google = None
    if shared is None:
        streams = Streams(drawn("test", DRAWN_CLIPS, truth.size, truth.fps), LONG_FRAMES)
    else:
        peers = {name: shared / f"peers/movinet_a0_stream_{name}.tflite" for name in REFERENCE}
        google = shared / GOOGLE_FILE
        paths = [shared / f"clips/{clip}.mp4" for clip in CLIPS]
        streams = Streams.read(paths, truth.size, truth.fps, LONG_FRAMES)
    images = streams.clips[0]
    rows = {
        name: timed(Pair(path, peers.get(VARIANTS[name]), google), images, effort)
        for name, path in ours.items()
    }
    theirs = {f"reference {name}": path for name, path in peers.items()}
    models = ours | theirs
    true = fidelity(models, ours["float32"], streams)
    if theirs:
        # They know no horizon, so that a long stream of theirs is to be compared with theirs.
        for name, row in fidelity(theirs, peers["float32"], streams).items():
            true[name] |= {key: row[key] for key in ("long_db", "same_label") if key in row}
    if google is not None:  # it has its own weights: nothing here says how true it is
        models |= {GOOGLE: google}
        rows[GOOGLE] = {
            "step_ms": rows["dynamic"]["google_ms"],
            "paced_ms": rows["dynamic"]["paced_google_ms"],
        }
    counted = instructions(models, images)
    return {
        "date": date.today().isoformat(),
        "weights": "embedded" if shared is None else "the reference's",
        "machine": asdict(Environment.of()),
        "effort": asdict(effort),
        "models": {
            name: rows.get(name, {}) | true.get(name, {}) | counted[name] | {"mb": _megabytes(path)}
            for name, path in models.items()
        },
    }


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 2)


def costs(results: Mapping[str, Any]) -> dict[str, Any]:
    """What ``movinet models`` shows of them: our variants on the boards' cores."""
    ours = {name: row for name, row in results["models"].items() if name in VARIANTS}
    return {
        "model": "a0-stream",
        "date": results["date"],
        "sqnr_db": {name: min(row["short_db"], row["long_db"]) for name, row in ours.items()},
        "instructions": {
            core: {name: round(row[core], 2) for name, row in ours.items()} for core in BOARDS
        },
    }


def table_of(results: Mapping[str, Any]) -> Table:
    """Rows are models; ratios below 1 mean that we are faster."""
    table = Table(title=title_of(results), title_justify="left", box=None, pad_edge=False)
    columns = {
        "MB": ("mb", ".1f"),
        "step ms": ("step_ms", ".2f"),
        "/ reference": ("step_ratio", ".2f"),
        "/ Google's": ("google_ratio", ".2f"),
        "paced ms": ("paced_ms", ".2f"),
        "/ reference ": ("paced_ratio", ".2f"),
        "/ Google's ": ("paced_google_ratio", ".2f"),
        "bare ms": ("invoke_ms", ".2f"),
        "/ reference  ": ("invoke_ratio", ".2f"),
        "step / bare": ("step_over_bare", ".2f"),
        "dB short": ("short_db", ".1f"),
        f"dB {LONG_FRAMES}": ("long_db", ".1f"),
        "same label": ("same_label", ".1%"),
    } | {f"M instr. {core}": (core, ".2f") for core in BOARDS}
    table.add_column("model")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name, row in results["models"].items():
        cells = (_cell(row.get(key), form) for key, form in columns.values())
        table.add_row(name, *cells)
    return table


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def title_of(results: Mapping[str, Any]) -> str:
    """What was measured, where, when and how."""
    effort = results["effort"]
    how = (
        f"{effort['rounds']} steps back to back and {effort['paced_rounds']} at "
        f"{effort['pace']:g} frames a second in each of {effort['processes']} processes"
    )
    weights = f"A0, {results['weights']} weights"
    return f"{weights}, one thread, {how}, {results['machine']['cpu']}, {results['date']}"


def headline(results: Mapping[str, Any]) -> str:
    """The README's table: a step back to back and at a camera's pace, with 95 % intervals."""
    columns = {
        "step, ms": "step_ms",
        "/ reference": "step_ratio",
        "/ Google's int8": "google_ratio",
        "at a camera's pace, ms": "paced_ms",
        "/ reference ": "paced_ratio",
        "/ Google's int8 ": "paced_google_ratio",
    }
    rest = ["MB", "dB", "same label"]
    rows = [["variant", *columns, *rest], ["---", *["---:"] * (len(columns) + len(rest))]]
    for name, row in results["models"].items():
        if "step_ms" in row:
            true = [row[key] for key in ("short_db", "long_db") if key in row]
            cells = [_with_interval(row, key) for key in columns.values()]
            decibels = f"{min(true):.0f}" if true else ""
            same = f"{row['same_label']:.1%}" if "same_label" in row else ""
            rows.append([name, *cells, f"{row['mb']:.1f}", decibels, same])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{table}\n\n{title_of(results)}\n"


def _with_interval(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    low_high = row.get(f"{key}_95")
    return f"{row[key]:.2f}" + (f" ({low_high[0]:.2f}–{low_high[1]:.2f})" if low_high else "")


def _ours(name: str) -> str:
    """Return the variant of ours that has a model's colour: it, of its name, or beside it."""
    theirs = name.removeprefix("reference ")
    return theirs if theirs in VARIANTS else next(o for o, t in VARIANTS.items() if t == theirs)


def picture(results: Mapping[str, Any], path: Path) -> None:
    """Draw fidelity over instructions for each board: the upper left corner is best."""
    figure = new_figure(11, 4.8)
    boards = figure.subplots(1, len(BOARDS))
    for axes, core in zip(boards, BOARDS, strict=True):
        for name, row in results["models"].items():
            if core not in row or "short_db" not in row:
                continue
            variant = _ours(name)
            axes.scatter(
                row[core],
                min(row["short_db"], row["long_db"], 60.0),
                marker="o" if name == variant else "x",
                color=f"C{list(VARIANTS).index(variant)}",
                label=name,
            )
        axes.axhline(30, color="0.8", linewidth=1, linestyle="--")
        axes.set_title(f"{core} ({CORES[core].board})")
        axes.set_xlabel("million instructions a frame")
        axes.set_ylabel("dB against float32 (60: equal)")
        axes.grid(alpha=0.3)
    handles, names = boards[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False)
    save_figure(figure, path)


def main(
    rounds: Annotated[
        int, typer.Option(min=2, help="Timed runs of each in a process.")
    ] = Effort.rounds,
    paced_rounds: Annotated[
        int, typer.Option(min=2, help="The same, at the camera's pace.")
    ] = Effort.paced_rounds,
    processes: Annotated[
        int, typer.Option(min=1, help="Fresh ones; medians and intervals over them.")
    ] = Effort.processes,
    pace: Annotated[
        float, typer.Option(min=0.1, help="The camera's frames a second.")
    ] = Effort.pace,
    output: Annotated[Path, typer.Option(help="Folder for bench.json, .md, .png.")] = Path("out"),
    record_costs: Annotated[
        bool, typer.Option(help="Keep the ARM figures for movinet models.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure A0: speed, fidelity, instructions on ARM; beside others' files if there are any.

    They, their weights and the clips are in the folder that MOVINET_SHARED names.
    """
    shared = os.environ.get("MOVINET_SHARED")
    if not shared and record_costs:
        raise UsageError("--record-costs: set MOVINET_SHARED to the folder with reference/")
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        results = results_of(
            Path(shared) if shared else None,
            Path(folder),
            Effort(rounds, paced_rounds, processes, pace),
        )
    output.mkdir(parents=True, exist_ok=True)
    with written_whole(output / "bench.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1, allow_nan=False), "utf-8")
    with written_whole(output / "bench.md") as temporary:
        temporary.write_text(headline(results), "utf-8")
    picture(results, output / "bench.png")
    if record_costs:
        with written_whole(COSTS) as temporary:
            temporary.write_text(json.dumps(costs(results), indent=1) + "\n", "utf-8")
    if as_json:
        print(json.dumps(results, indent=1, allow_nan=False))
    else:
        Console().print(table_of(results))
        print(f"see {', '.join(str(output / f'bench.{end}') for end in ('json', 'md', 'png'))}")


if __name__ == "__main__":
    run(main)
