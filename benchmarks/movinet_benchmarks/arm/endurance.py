"""How true a model stays on an emulated core over a long stream: half precision counts there.

    python -m movinet_benchmarks.arm.endurance a0-half.tflite --against a0-float32.tflite

The stream is drawn figures, each clip in another place and light, one after the other, so that the
scene changes with every clip; in its middle it is dark for a while.
"""

import json
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.arm.emulate import find_core, logits_on
from movinet_benchmarks.command import run
from movinet_benchmarks.fidelity import sqnr
from movinet_models.figures import drawn
from movinet_runtime import StreamModel

CLIPS, DARK_FRAMES, WINDOW = 60, 100, 100


def scenes(size: tuple[int, int], fps: float, frames: int) -> list[NDArray[np.uint8]]:
    """Return drawn clips as one stream, with darkness from the middle on for a while."""
    shown = [frame for clip in drawn("test", CLIPS, size, fps) for frame in clip]
    stream = list(islice(cycle(shown), frames))
    half = frames // 2
    for index in range(half, min(half + DARK_FRAMES, frames)):
        stream[index] = stream[index] // 16
    return stream


def main(
    model: Annotated[Path, typer.Argument(help="A stream model.")],
    against: Annotated[Path, typer.Option(help="The float32 file of the same weights.")],
    core: Annotated[str, typer.Option(help="An emulated core.")] = "cortex-a76",
    frames: Annotated[int, typer.Option(min=300, help="Of the stream.")] = 5000,
    horizon: Annotated[list[int] | None, typer.Option(help="Default: 10 and 50.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Compare a model on an emulated core with float32 on this machine, over a long stream."""
    truth = StreamModel(against)
    stream = scenes(truth.size, truth.fps, frames)
    rows: list[dict[str, Any]] = []
    for frames_kept in horizon or [10, 50]:
        reference = truth.stream(horizon=frames_kept)
        expected = np.stack([reference.step(frame).logits for frame in stream])
        found = logits_on(find_core(core), model, stream, frames_kept)
        half = frames // 2
        parts = {
            "all": slice(None),
            "first": slice(0, WINDOW),
            "dark": slice(half, half + DARK_FRAMES),
            "after": slice(half + DARK_FRAMES, half + DARK_FRAMES + WINDOW),
            "last": slice(frames - WINDOW, None),
        }
        same = found.argmax(axis=1) == expected.argmax(axis=1)
        figures = {name: round(sqnr(found[p], expected[p]), 1) for name, p in parts.items()}
        rows.append({"horizon": frames_kept, "db": figures, "same_label": float(same.mean())})
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title=f"{model.name} on {core}, {frames} frames", title_justify="left", box=None)
    for column in ("horizon", *(f"{part}, dB" for part in rows[0]["db"]), "same label"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [f"{value:.1f}" for value in row["db"].values()]
        table.add_row(str(row["horizon"]), *cells, f"{row['same_label']:.2%}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
