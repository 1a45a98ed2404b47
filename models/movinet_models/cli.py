"""``movinet models``: the family as a table. Runs inside the runtime's command line."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from movinet_models.costs import MIN_SQNR_DB, cores, costs, measured_model, recommended
from movinet_models.family import MODEL_IDS, lookup
from movinet_models.registry import LICENCE, PUBLISHED


def models(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the family, where weights come from, and which variant suits which board.

    movinet models

    movinet models --json | jq '.models."a0-stream".hub'
    """
    if as_json:
        family = {model_id: _describe(model_id) for model_id in MODEL_IDS}
        boards = {
            core: {"take": recommended(core).variant, "variants": [asdict(c) for c in costs(core)]}
            for core in cores()
        }
        print(json.dumps({"models": family, "cores": boards}, indent=2))
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
    console.print(f"Published weights are Google's, {LICENCE}; --json shows where.\n", style="dim")
    console.print(_boards())
    console.print(
        f"Counted under emulation with {measured_model()}; 'take' is the cheapest with "
        f"{MIN_SQNR_DB:g} dB. movinet export --quantize auto --target CORE counts your own model.",
        style="dim",
    )


def _boards() -> Table:
    table = Table(title="million instructions a frame (dB against float32)", title_justify="left")
    table.box, table.pad_edge = None, False
    variants = [cost.variant for cost in costs(cores()[0])]
    for column in ("core", "take", *sorted(variants)):
        table.add_column(column, justify="left" if column in ("core", "take") else "right")
    for core in cores():
        cells = {c.variant: f"{c.instructions:.1f} ({c.sqnr_db:.0f})" for c in costs(core)}
        best = recommended(core).variant
        table.add_row(core, best, *(cells[variant] for variant in sorted(variants)))
    return table


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
