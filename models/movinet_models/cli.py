"""``movinet models``: the family as a table. Runs inside the runtime's command line."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from movinet_models.family import MODEL_IDS, lookup
from movinet_models.registry import LICENCE, PUBLISHED


def models(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the family and where weights come from.

    movinet models

    movinet models --json | jq '."a0-stream".hub'
    """
    if as_json:
        print(json.dumps({model_id: _describe(model_id) for model_id in MODEL_IDS}, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "input", "fps", "clip", "layers", "published top-1", "weights"):
        table.add_column(column, justify="left" if column in ("model", "weights") else "right")
    for model_id in MODEL_IDS:
        row = _describe(model_id)
        top1 = "" if row["top1"] is None else f"{row['top1']:.2f} %"
        clip = f"{row['frames']} frames"
        size, fps, layers = str(row["resolution"]), str(row["fps"]), str(row["layers"])
        weights = "Kinetics-600" if row["hub"] else "none"
        table.add_row(model_id, size, fps, clip, layers, top1, weights)
    console = Console()
    console.print(table)
    console.print(f"Published weights are Google's, {LICENCE}; --json shows where.", style="dim")


def _describe(model_id: str) -> dict[str, str | int | float | None]:
    spec = lookup(model_id)
    published = PUBLISHED.get(model_id)
    return {
        "resolution": spec.resolution,
        "fps": spec.architecture.fps,
        "frames": spec.architecture.frames,
        "layers": len(list(spec.layers())),
        "top1": None if published is None else published.top1,
        "hub": None if published is None else published.hub,
        "checkpoint": None if published is None else published.checkpoint,
        "licence": None if published is None else LICENCE,
    }
