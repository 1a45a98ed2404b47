"""Our files beside the reference implementation's: speed, fidelity, instructions on ARM.

``python -m movinet_benchmarks.peers`` (``make bench``). ``$MOVINET_SHARED`` has the
reference's exports and the weights they were made from; without it our files are measured
alone, made from the embedded weights.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from movinet_benchmarks import environment
from movinet_benchmarks.arm.cores import CORES
from movinet_benchmarks.arm.rehearse import rehearse
from movinet_benchmarks.arm.root import missing_tools
from movinet_benchmarks.fidelity import Streams, compare, record
from movinet_benchmarks.timing import Step, interleaved
from movinet_models.costs import COSTS
from movinet_models.figures import drawn
from movinet_runtime import StreamClassifier, StreamModel
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.errors import MovinetError, UsageError
from movinet_runtime.files import written_whole
from movinet_runtime.model_file import ModelFile
from movinet_runtime.outputs.plot import new_figure, save_figure
from movinet_runtime.quiet import hide_native_messages_at_exit

Frame = NDArray[np.uint8]
Row = dict[str, float]
# Our variants, and the reference's that each is measured beside.
VARIANTS = {
    "float32": "float32",
    "float16": "float16",
    "mixed": "float16",
    "wide": "dynamic",
    "dynamic": "dynamic",
    "int8": "int8",
}
REFERENCE = tuple(dict.fromkeys(VARIANTS.values()))
CLIPS = ("carving_ice", "arm_wrestling", "cleaning_pool")
WEIGHTS = "reference/a0_stream/ckpt"
BOARDS = ("cortex-a72", "cortex-a76")
LONG_FRAMES, CORE_FRAMES, DRAWN_CLIPS = 500, 8, 3


def signature_step(path: Path) -> Step:
    """The step of a client of the published files, from a camera's uint8 frame to logits."""
    runner = load_interpreter(ModelFile.read(path), threads=1).get_signature_runner()
    details = runner.get_input_details()
    states = {n: np.zeros(d["shape"], d["dtype"]) for n, d in details.items() if n != "image"}

    def step(frame: Frame) -> Any:
        image = frame[None, None].astype(np.float32) / np.float32(255)
        outputs = runner(image=image, **states)
        logits = outputs.pop("logits")
        states.update(outputs)
        return logits

    return step


def bare_invoke(path: Path) -> Step:
    """The network alone: the same input again, no state moved.

    Inputs are written first: the reference's int8 divides by what it finds in a counter.
    """
    interpreter = load_interpreter(ModelFile.read(path), threads=1)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    return lambda _: interpreter.invoke()


def speed(ours: Path, peer: Path | None, images: list[Frame], rounds: int) -> Row:
    """Measure our step and bare invoke, and each against the reference's, interleaved.

    Each pair has its own run: more models in one run would only measure how they throw
    each other out of the caches.

    Returns:
        Milliseconds (medians) and ratios.
    """
    step, bare = StreamClassifier(ours, threads=1).step, bare_invoke(ours)
    row: Row = {}
    if peer is not None:
        for what, theirs, mine in (
            ("step", signature_step(peer), step),
            ("invoke", bare_invoke(peer), bare),
        ):
            peer_ms, ours_ms = _medians_ms(theirs, mine, images, rounds)
            row |= {f"{what}_peer_ms": peer_ms, f"{what}_ratio": ours_ms / peer_ms}
    step_ms, bare_ms = _medians_ms(step, bare, images, rounds)
    return row | {"step_ms": step_ms, "invoke_ms": bare_ms, "step_over_bare": step_ms / bare_ms}


def _medians_ms(one: Step, other: Step, images: list[Frame], rounds: int) -> tuple[float, float]:
    times = interleaved({"one": one, "other": other}, images, rounds)
    return float(np.median(times["one"])) * 1e3, float(np.median(times["other"])) * 1e3


def speed_of_processes(
    ours: Path, peer: Path | None, images: list[Frame], rounds: int, processes: int
) -> Row:
    """Return the medians of :func:`speed` over fresh processes.

    Where in memory weights and buffers come to lie differs from process to process and is
    worth up to a tenth of a step, for one file or the other.
    """
    fresh = ProcessPoolExecutor(
        1, get_context("spawn"), hide_native_messages_at_exit, max_tasks_per_child=1
    )
    with fresh as pool:
        runs = [pool.submit(speed, ours, peer, images, rounds) for _ in range(processes)]
        found = [run.result() for run in runs]
    return {name: float(np.median([row[name] for row in found])) for name in found[0]}


def fidelity(models: Mapping[str, Path], truth: Path, streams: Streams) -> dict[str, Row]:
    """Measure the logits of models against a float32 one, dB."""
    reference = record(truth, streams)
    found: dict[str, Row] = {}
    for name, path in models.items():
        measured = compare(path, record(path, streams), reference)
        found[name] = {
            "short_db": round(measured.short.sqnr_db, 1),
            "long_db": round(measured.parts["long"].sqnr_db, 1),
        }
    return found


def instructions(models: Mapping[str, Path], images: list[Frame]) -> dict[str, Row]:
    """Count instructions a frame on the emulated boards; nothing where that cannot be."""
    cores = [CORES[name] for name in BOARDS]
    if any(missing_tools(core.machine) for core in cores):
        return {name: {} for name in models}
    found = rehearse(list(models.values()), cores, images[:CORE_FRAMES])
    return {
        name: {core.name: found[path, core.name].instructions / 1e6 for core in cores}
        for name, path in models.items()
    }


def export_all(weights: str | Path, folder: Path) -> dict[str, Path]:
    """Export all variants of A0.

    In a process of its own: TensorFlow's threads and heap would slow the measurement.
    """
    command = [sys.executable, "-m", "movinet_runtime.cli.main", "export", "a0-stream"]
    options: list[str | Path] = ["-w", weights, "-q", "all", "-o", folder, "--long-frames", "2"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"the export failed: {done.stderr.strip().splitlines()[-1]}")
    return {variant: folder / f"a0-stream-{variant}.tflite" for variant in VARIANTS}


def measure(shared: Path | None, folder: Path, rounds: int, processes: int) -> dict[str, Any]:
    """Measure everything; rows by name, the reference's beginning with ``reference ``.

    Args:
        shared: the folder with the reference's files, weights and clips; None: our files
            alone, made from the embedded weights, on drawn clips.
        folder: for the exported files.
        rounds: timed runs of each in a process.
        processes: fresh ones; medians of them.
    """
    ours = export_all("embedded" if shared is None else shared / WEIGHTS, folder)
    truth = StreamModel(ours["float32"])
    peers: dict[str, Path] = {}
    if shared is None:
        streams = Streams(drawn("test", DRAWN_CLIPS, truth.size, truth.fps), LONG_FRAMES)
    else:
        peers = {name: shared / f"peers/movinet_a0_stream_{name}.tflite" for name in REFERENCE}
        paths = [shared / f"clips/{clip}.mp4" for clip in CLIPS]
        streams = Streams.read(paths, truth.size, truth.fps, LONG_FRAMES)
    images = streams.clips[0]
    rows = {
        name: speed_of_processes(path, peers.get(VARIANTS[name]), images, rounds, processes)
        for name, path in ours.items()
    }
    theirs = {f"reference {name}": path for name, path in peers.items()}
    models = ours | theirs
    true = fidelity(models, ours["float32"], streams)
    if theirs:
        # They know no horizon, so that a long stream of theirs is to be compared with theirs.
        for name, row in fidelity(theirs, peers["float32"], streams).items():
            true[name]["long_db"] = row["long_db"]
    counted = instructions(models, images)
    return {
        "date": date.today().isoformat(),
        "weights": "embedded" if shared is None else "the reference's",
        "machine": environment.describe(),
        "rounds": rounds,
        "processes": processes,
        "models": {
            name: rows.get(name, {}) | true[name] | counted[name] | {"mb": _megabytes(path)}
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
    machine = results["machine"]
    runs = f"median of {results['rounds']} in each of {results['processes']} processes"
    weights = f"A0, {results['weights']} weights"
    title = f"{weights}, one thread, {runs}, {machine['cpu']}, {results['date']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    columns = {
        "MB": ("mb", ".1f"),
        "step ms": ("step_ms", ".2f"),
        "/ reference": ("step_ratio", ".2f"),
        "bare ms": ("invoke_ms", ".2f"),
        "/ reference ": ("invoke_ratio", ".2f"),
        "step / bare": ("step_over_bare", ".2f"),
        "dB short": ("short_db", ".1f"),
        f"dB {LONG_FRAMES}": ("long_db", ".1f"),
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


def picture(results: Mapping[str, Any], path: Path) -> None:
    """Draw fidelity over instructions for each board: the upper left corner is best."""
    figure = new_figure(11, 4.8)
    boards = figure.subplots(1, len(BOARDS))
    for axes, core in zip(boards, BOARDS, strict=True):
        for name, row in results["models"].items():
            if core not in row:
                continue
            variant = name.removeprefix("reference ")
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
    rounds: Annotated[int, typer.Option(min=2, help="Timed runs of each in a process.")] = 150,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes; medians of them.")] = 7,
    output: Annotated[Path, typer.Option(help="Folder for bench.json and bench.png.")] = Path(
        "out"
    ),
    record_costs: Annotated[
        bool, typer.Option(help="Keep the ARM figures for movinet models.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure A0: speed, fidelity, instructions on ARM; beside the reference's exports if set.

    They, their weights and the clips are in the folder that MOVINET_SHARED names.
    """
    shared = os.environ.get("MOVINET_SHARED")
    if not shared and record_costs:
        raise UsageError("--record-costs: set MOVINET_SHARED to the folder with reference/")
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        results = measure(Path(shared) if shared else None, Path(folder), rounds, processes)
    output.mkdir(parents=True, exist_ok=True)
    with written_whole(output / "bench.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1), "utf-8")
    picture(results, output / "bench.png")
    if record_costs:
        with written_whole(COSTS) as temporary:
            temporary.write_text(json.dumps(costs(results), indent=1) + "\n", "utf-8")
    if as_json:
        print(json.dumps(results, indent=1))
    else:
        Console().print(table_of(results))
        print(f"see {output / 'bench.json'}, {output / 'bench.png'}")


if __name__ == "__main__":
    hide_native_messages_at_exit()
    try:
        typer.run(main)
    except MovinetError as error:
        print(f"movinet: {error}", file=sys.stderr)
        raise SystemExit(2) from None
