"""``movinet models``: the family as a table. Runs inside the runtime's command line."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from movinet_models.costs import MIN_SQNR_DB, cores, costs, measured_model, recommended
from movinet_models.family import MODEL_IDS, lookup
from movinet_models.registry import SOURCES, TOP1
from movinet_models.variants import VARIANTS

ADDRESSES = 240  # columns of the widest table


def models(
    sources: Annotated[
        bool, typer.Option("--sources", help="Where weights are published, in the order tried.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the family, where weights come from, and which variant suits which board.

    movinet models

    movinet models --sources

    movinet models --json | jq -r '.models."a0-stream".sources[].url'
    """
    if sources:
        _print_sources(as_json)
        return
    if as_json:
        family = {model_id: _describe(model_id) for model_id in MODEL_IDS}
        boards = {
            core: {"take": recommended(core).variant, "variants": [asdict(c) for c in costs(core)]}
            for core in cores()
        }
        variants = {name: asdict(variant) for name, variant in VARIANTS.items()}
        print(json.dumps({"models": family, "variants": variants, "cores": boards}, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "input", "fps", "clip", "layers", "published top-1", "weights"):
        table.add_column(column, justify="left" if column in ("model", "weights") else "right")
    for model_id in MODEL_IDS:
        row = _describe(model_id)
        top1 = "" if row["top1"] is None else f"{row['top1']:g} %"
        clip = f"{row['frames']} frames"
        size, fps, layers = str(row["resolution"]), str(row["fps"]), str(row["layers"])
        table.add_row(model_id, size, fps, clip, layers, top1, _datasets(model_id))
    console = Console()
    console.print(table)
    console.print("--sources shows where weights are published, and their licences.\n", style="dim")
    console.print(_variants(), "")
    console.print(_boards())
    console.print(
        f"Counted under emulation with {measured_model()}; 'take' is the cheapest with "
        f"{MIN_SQNR_DB:g} dB. movinet export --quantize auto --target CORE counts your own model.",
        style="dim",
    )


def _variants() -> Table:
    table = Table(title="variants (--quantize)", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "weights, activations, states", "what for"):
        table.add_column(column)
    for variant in VARIANTS.values():
        table.add_row(variant.name, variant.recipe, variant.what)
    return table


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


def _datasets(model_id: str) -> str:
    """Name what there are weights of, each once: Kinetics-600, 400."""
    found = dict.fromkeys(source.dataset for source in SOURCES.get(model_id, ()))
    return ", ".join(found).capitalize().replace(", kinetics-", ", ") or "none"


def _print_sources(as_json: bool) -> None:
    # The table may hold models that the family lacks, and the family some that nobody publishes.
    model_ids = list(dict.fromkeys((*MODEL_IDS, *SOURCES)))
    if as_json:
        rows = {
            model_id: [asdict(source) for source in SOURCES.get(model_id, ())]
            for model_id in model_ids
        }
        print(json.dumps({"sources": rows}, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "source", "weights", "licence", "gate", "sha256"):
        table.add_column(column, no_wrap=True)
    table.add_column("address", no_wrap=True)
    for model_id in model_ids:
        for source in SOURCES.get(model_id, ()):
            digest = "" if source.sha256 is None else source.sha256[:8]
            gate, weights = source.gate or "", source.dataset.capitalize()
            table.add_row(model_id, source.kind, weights, source.licence, gate, digest, source.url)
    # As wide as it needs: an address that is folded cannot be copied.
    Console(width=ADDRESSES).print(table, soft_wrap=True)
    none = [model_id for model_id in model_ids if model_id not in SOURCES]
    Console().print(
        f"Tried from top to bottom by movinet pull. Nobody publishes {', '.join(none)}.",
        style="dim",
    )


def _describe(model_id: str) -> dict[str, Any]:
    spec = lookup(model_id)
    return {
        "resolution": spec.resolution,
        "fps": spec.architecture.fps,
        "frames": spec.architecture.frames,
        "layers": len(list(spec.layers())),
        "top1": TOP1.get(model_id),
        "sources": [asdict(source) for source in SOURCES.get(model_id, ())],
    }
