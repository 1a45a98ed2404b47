"""Our files beside the reference implementation's, in one process, interleaved.

``python -m movinet_benchmarks.peers`` (``make bench``). Needs ``$MOVINET_SHARED`` for
the reference's exports and the weights they were made from.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.measure import Step, interleaved
from movinet_runtime import StreamClassifier, open_frames
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.errors import MovinetError, UsageError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import resized

Frame = NDArray[np.uint8]
VARIANTS = ("float32", "float16", "dynamic", "int8")
CLIP = "clips/carving_ice.mp4"
WEIGHTS = "reference/a0_stream/ckpt"


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


def compare(shared: Path, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Measure each variant's step and bare invoke against the reference's file.

    Each pair has its own interleaved run: more models in one run would only measure
    how they throw each other out of the caches.

    Returns:
        Milliseconds (medians) and ratios by variant.
    """
    pictures = open_frames(shared / CLIP).sampled(5)
    images = [resized(frame.image, (172, 172)) for frame in pictures]
    results = {}
    for variant in VARIANTS:
        peer = shared / "peers" / f"movinet_a0_stream_{variant}.tflite"
        ours = export_variant(shared / WEIGHTS, variant, folder)
        classifier = StreamClassifier(ours, threads=1)
        step = interleaved({"peer": signature_step(peer), "ours": classifier.step}, images, rounds)
        bare = interleaved({"peer": bare_invoke(peer), "ours": bare_invoke(ours)}, images, rounds)
        results[variant] = {
            f"{what}_{who}_ms": float(np.median(times[who])) * 1e3
            for what, times in (("step", step), ("invoke", bare))
            for who in ("peer", "ours")
        }
        for what in ("step", "invoke"):
            row = results[variant]
            row[f"{what}_ratio"] = row[f"{what}_ours_ms"] / row[f"{what}_peer_ms"]
    return results


def export_variant(weights: Path, variant: str, folder: Path) -> Path:
    """Export the weights that the reference's files were made from.

    In a process of its own: TensorFlow's threads and heap would slow the measurement.
    """
    path = folder / f"a0-stream-{variant}.tflite"
    command = [sys.executable, "-m", "movinet_runtime.cli.main", "export", "a0-stream"]
    options: list[str | Path] = ["-w", weights, "-q", variant, "-o", path]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"the export failed: {done.stderr.strip().splitlines()[-1]}")
    return path


def main(rounds: int = 400, as_json: bool = False) -> None:
    """Print the table of ratios; below 1 we are faster."""
    shared = os.environ.get("MOVINET_SHARED")
    if not shared:
        raise UsageError("set MOVINET_SHARED to the folder with peers/ and reference/")
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        results = compare(Path(shared), Path(folder), rounds)
    if as_json:
        print(json.dumps(results, indent=2))
        return
    table = Table(title=f"A0, one thread, median of {rounds}, interleaved", title_justify="left")
    for column in ("variant", "what", "reference ms", "ours ms", "ratio"):
        table.add_column(column, justify="left" if column in ("variant", "what") else "right")
    for variant, row in results.items():
        for what in ("step", "invoke"):
            numbers = (row[f"{what}_peer_ms"], row[f"{what}_ours_ms"], row[f"{what}_ratio"])
            table.add_row(variant, what, *(f"{number:.2f}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    try:
        typer.run(main)
    except MovinetError as error:
        print(f"movinet: {error}", file=sys.stderr)
        raise SystemExit(2) from None
