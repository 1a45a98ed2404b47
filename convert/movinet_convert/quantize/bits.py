"""What fewer bits for the dense layers cost: ``python -m movinet_convert.quantize.bits``.

Head and classifier hold most of A0's weights and read each once a step. Here theirs are rounded
to fewer bits, with a scale for each output channel, and all else is float32.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from movinet_benchmarks.command import run
from movinet_benchmarks.fidelity import LONG_FRAMES, Fidelity, Recording, Streams, compare, record
from movinet_convert import flatbuffer, stream_graph
from movinet_convert.graph import Graph
from movinet_convert.quantize.calibration import Moments, drawn_clips, second_moments
from movinet_convert.quantize.dynamic import is_dense
from movinet_convert.quantize.rounding import rounded
from movinet_convert.sources import load_weights
from movinet_models.family import UnknownModelError, lookup
from movinet_models.figures import drawn
from movinet_runtime.errors import UsageError

TRIED = (8, 6, 5, 4)
WIDEST = 2048  # the classifier's input, which calibration of a variant leaves out
DRAWN_CLIPS = 4  # to judge on, where none are given


def coarse(graph: Graph, bits: int, moments: Moments) -> Graph:
    """Return a float graph whose dense layers' weights have only the values of fewer bits.

    Args:
        graph: the float32 graph.
        bits: of a weight, 2 to 8.
        moments: of the layers' inputs, as :func:`~movinet_convert.quantize.dynamic.dynamic` has
            them; without, each weight is rounded to the nearest.
    """
    result = replace(graph, tensors=dict(graph.tensors))
    for op in graph.ops:
        if is_dense(graph, op):
            kernel = graph.tensors[op.inputs[1]]
            codes = rounded(kernel, moments.get(op.inputs[0]), bits=bits)
            if codes.data is None or codes.quantization is None:
                raise ValueError(f"{kernel.name} was not rounded")
            scales = codes.quantization.scale.reshape(-1, *[1] * (codes.data.ndim - 1))
            result.tensors[kernel.name] = replace(kernel, data=scales * codes.data)
    return result


def trial(graph: Graph, streams: Streams, tried: Sequence[int], moments: Moments) -> list[Fidelity]:
    """Measure the float graph with each number of bits against itself, on streams."""
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        path = Path(folder) / "model.tflite"

        def recorded(one: Graph) -> Recording:
            path.write_bytes(flatbuffer.serialize(one, "", {}))
            return record(path, streams)

        truth = recorded(graph)
        return [
            compare(path, recorded(coarse(graph, bits, moments)), truth)
            for bits in track(tried, "measuring", transient=True, console=Console(stderr=True))
        ]


def main(
    weights: Annotated[
        str, typer.Argument(help="As movinet export takes them: a file, a folder, embedded.")
    ] = "embedded",
    clip: Annotated[
        list[Path] | None,
        typer.Option(help="Judge on this clip; repeat it. Default: drawn ones."),
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A stream model.")] = "a0-stream",
    bits: Annotated[
        list[int] | None,
        typer.Option(min=2, max=8, help=f"Repeat it. Default: {', '.join(map(str, TRIED))}."),
    ] = None,
    long_frames: Annotated[
        int, typer.Option(min=1, help="Of all clips as one stream, again and again.")
    ] = LONG_FRAMES,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure dense layers of fewer bits, rounded to the nearest and by GPTQ on drawn figures.

    python -m movinet_convert.quantize.bits weights.keras --clip held_out.mp4

    python -m movinet_convert.quantize.bits movinet_a0_stream_int8.tflite -m a0lite-stream --bits 4
    """
    try:
        spec = lookup(model)
    except UnknownModelError as error:
        raise UsageError(str(error)) from None
    if not spec.streams:
        raise UsageError(f"{model} is no stream model")
    loaded = load_weights(weights, spec)
    spec, tried = spec.at(loaded.resolution), bits or TRIED
    graph = stream_graph.build(spec, loaded.weights, loaded.hard_sigmoid)
    size, fps = (spec.resolution, spec.resolution), float(spec.architecture.fps)
    if clip:
        streams = Streams.read(clip, size, fps, long_frames)
    else:
        streams = Streams(drawn("test", DRAWN_CLIPS, size, fps), long_frames)
    ways = {
        "nearest": Moments(),
        "GPTQ": second_moments(graph, drawn_clips(size, fps), most=WIDEST),
    }
    found = [
        (way, count, one.parts)
        for way, known in ways.items()
        for count, one in zip(tried, trial(graph, streams, tried, known), strict=True)
    ]
    if as_json:
        rows = [
            {"rounding": way, "bits": count} | {name: asdict(part) for name, part in parts.items()}
            for way, count, parts in found
        ]
        print(json.dumps(rows, allow_nan=False))
        return
    table = Table("bits", "rounding", "dB", "dB, one stream", "same label where decided", box=None)
    for way, count, parts in found:
        same = parts["short"].decided_agreement
        figures = (f"{parts[name].sqnr_db:.1f}" for name in ("short", "long"))
        table.add_row(str(count), way, *figures, "" if same is None else f"{same:.1%}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
