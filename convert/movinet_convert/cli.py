"""``movinet export``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from movinet_models.family import UnknownModelError, lookup
from movinet_models.registry import PUBLISHED
from movinet_runtime.classifier import read_labels
from movinet_runtime.cli.inspect import summary
from movinet_runtime.errors import UsageError

MAX_PARITY_ERROR = 1e-4


def export(
    model: Annotated[str, typer.Argument(help="a0-stream ... a5-stream, t0-stream, a0-base ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .tflite file to write.")],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="A Model Garden checkpoint (prefix, folder, .tar.gz), a hub SavedModel "
            "(folder, .tar.gz, handle or URL), a .keras file, or random[:SEED]. "
            "Default: the published Kinetics-600 weights, downloaded.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="One label a line, in the order of the logits."),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=32, help="Side of the input; default: the model's.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Clip length of a base model.")] = None,
    clip: Annotated[
        Path | None,
        typer.Option(help="Video, GIF or folder for the comparison with the Keras network."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Make a TFLite file from weights, and prove that it computes the same.

    Stream models take one frame and the states of the frames before; base models a
    clip of fixed length.

    movinet export a0-stream -o a0.tflite

    movinet export a0-stream --weights movinet_a0_stream.tar.gz -o a0.tflite

    movinet export a2-stream --weights mine.keras --labels mine.txt -o mine.tflite
    """
    try:
        spec = lookup(model)
    except UnknownModelError as error:
        raise UsageError(str(error)) from error
    if frames is not None and spec.streams:
        raise UsageError(f"--frames is for base models; {spec.id} takes one frame at a time")
    if weights is None:
        if spec.id not in PUBLISHED:
            raise UsageError(f"nobody publishes weights for {spec.id}: give --weights")
        weights = PUBLISHED[spec.id].hub
    names = None if labels is None else read_labels(labels)
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("starting", total=None)

        def report(step: str) -> None:
            progress.update(task, description=step)
            if not console.is_terminal:
                console.print(f"{step} ...", style="dim")

        from movinet_convert.export import export as export_model  # NumPy and the schema

        done = export_model(spec, weights, output, names, resolution, frames, clip, report)
    if as_json:
        print(json.dumps(_as_json(done), indent=2))
    else:
        _print(done)
    if done.parity.error > MAX_PARITY_ERROR:
        console.print(
            f"warning: the file is {done.parity.error:.1e} of the logits' range away from the "
            "Keras network; please report this model",
            style="bold red",
        )


def _print(done: Any) -> None:
    console = Console()
    table = summary(done.inspection, title=str(done.path))
    table.add_row(
        "against Keras",
        f"{done.parity.error:.1e} of the logits' range over {done.parity.frames} frames "
        f"({done.parity.clip})",
    )
    console.print(table)
    for note in done.notes:
        console.print(f"note: {note}", style="yellow")


def _as_json(done: Any) -> dict[str, Any]:
    parity = {
        "error": done.parity.error,
        "frames": done.parity.frames,
        "clip": done.parity.clip,
    }
    found: dict[str, Any] = done.inspection.as_json()
    return {"path": str(done.path), "parity": parity, "notes": done.notes} | found
