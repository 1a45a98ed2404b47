"""``movinet inspect``: what is inside a model file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from movinet_runtime.inspection import Inspection
from movinet_runtime.inspection import inspect as inspect_model
from movinet_runtime.model_file import ModelFile
from movinet_runtime.tensors import TensorSpec

# The two forms of the hard sigmoid in squeeze-excitation.
GATES = {"fifth": "clip(x/5 + 1/2, 0, 1)", "sixth": "relu6(x + 3) * 0.16667"}


def inspect(
    model: Annotated[Path, typer.Argument(help="A .tflite file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    tensors: Annotated[bool, typer.Option(help="List every input and output.")] = False,
) -> None:
    """Show what is inside a model file: states, operators, delegate partitions, provenance.

    movinet inspect a0.tflite

    movinet inspect a0.tflite --json | jq .metadata.labels
    """
    found = inspect_model(ModelFile.read(model))
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    console = Console()
    console.print(summary(found, title=str(model)))
    if tensors:
        console.print(_tensors("inputs", found.inputs))
        console.print(_tensors("outputs", found.outputs))


def summary(found: Inspection, title: str) -> Table:
    """A table of the facts, one a row."""
    name = escape(title)  # brackets in names are no markup
    table = Table(title=name, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    image = next((spec for spec in found.inputs if len(spec.shape) == 5), found.inputs[0])
    about = found.description
    if about is not None:
        table.add_row("model", escape(f"{about.model} {about.variant}"))
        table.add_row("weights", escape(about.weights))
        if about.licence:
            table.add_row("licence", escape(about.licence))
        if about.gate:
            table.add_row("gate", escape(f"{about.gate} ({GATES.get(about.gate, 'unknown')})"))
        if about.forced:
            table.add_row("parity", "[bold red]FAILED against its source; written by --force[/]")
        names = "" if about.labels else " (no labels)"
        if about.thresholds is not None:
            low, high = min(about.thresholds), max(about.thresholds)
            names += f", independent: each is an answer from {low:.0%} ... {high:.0%} on"
        table.add_row("classes", f"{about.classes}{names}")
        if about.prior:
            seen = (f"{label} {times:g} times" for label, times in about.prior.items())
            table.add_row("prior", escape(f"{', '.join(seen)} as often as each that is not named"))
        table.add_row("frames a second", f"{about.fps:g}")
    table.add_row("input", escape(f"{image.name} {list(image.shape)} {image.dtype}"))
    table.add_row("size", _bytes(found.file_bytes))
    states = f"{len(found.states)} ({_bytes(found.state_bytes)})" if found.states else "none"
    table.add_row("states", states)
    table.add_row("operators", f"{sum(found.ops.values())}: {_counts(found.ops)}")
    table.add_row("delegate partitions", str(found.partitions))
    table.add_row("operators outside", _counts(found.ops_outside) or "none")
    return table


def _tensors(title: str, specs: list[TensorSpec]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("name", no_wrap=True, min_width=max(len(spec.name) for spec in specs))
    codes = ("scale", "zero point") if any(spec.scale for spec in specs) else ()
    for column in ("shape", "dtype", *codes):
        table.add_column(column)
    for spec in specs:
        quantized = (f"{spec.scale:g}", str(spec.zero_point)) if spec.scale else ("", "")
        cells = (str(list(spec.shape)), spec.dtype.name, *quantized[: len(codes)])
        table.add_row(escape(spec.name), *cells)
    return table


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items(), key=lambda kv: -kv[1]))


def _bytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
