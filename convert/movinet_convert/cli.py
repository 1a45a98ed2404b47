"""``movinet export``."""

import json
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from movinet_benchmarks.fidelity import LONG_FRAMES
from movinet_models.family import UnknownModelError, lookup
from movinet_models.registry import PUBLISHED
from movinet_runtime.classifier import read_labels
from movinet_runtime.cli.inspect import summary
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole

MAX_PARITY_ERROR = 1e-4  # of float32
ALL, AUTO = "all", "auto"


def export(
    model: Annotated[str, typer.Argument(help="a0-stream ... a5-stream, t0-stream, a0-base ...")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The .tflite file to write, or a folder for files named after their variants.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="A Model Garden checkpoint (prefix, folder, .tar.gz), a hub SavedModel "
            "(folder, .tar.gz, handle or URL), a .keras or .npz file, embedded (drawn figures), "
            "or random[:SEED]. "
            "Default: the published Kinetics-600 weights, downloaded.",
        ),
    ] = None,
    quantize: Annotated[
        list[str] | None,
        typer.Option(
            "--quantize",
            "-q",
            help="float32 (default), float16, mixed, wide, dynamic, int8, all, or auto: the "
            "fastest that is true enough; repeat it for several.",
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
        typer.Option(
            help="Video, GIF or folder, not one of --calibrate: variants are compared with float32 "
            "on its first frames too, not only on drawn figures."
        ),
    ] = None,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(
            help="Videos, GIFs, folders or globs of unlabeled clips like those that the model "
            "will see; quantized variants round their weights for them. Repeat it. Default: drawn "
            "figures; 'none' rounds to the nearest."
        ),
    ] = None,
    min_sqnr: Annotated[
        float, typer.Option(help="auto: how true it must be to float32, dB, on clips held out.")
    ] = 30.0,
    target: Annotated[
        str | None,
        typer.Option(
            help="auto: cortex-a72 (Pi 4), cortex-a76 (Pi 5), armv7 or x86-64; the instructions "
            "of a core are counted under emulation. Default: the time on this machine."
        ),
    ] = None,
    half_arithmetic: Annotated[
        bool,
        typer.Option(
            help="float16, mixed, wide: let cores with half-precision arithmetic compute in it."
        ),
    ] = True,
    long_frames: Annotated[
        int,
        typer.Option(
            min=2, help="Frames of the stream without a reset on which variants are compared."
        ),
    ] = LONG_FRAMES,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Make TFLite files from weights, and prove that they compute the same.

    Stream models take one frame and the states of the frames before; base models a
    clip of fixed length.

    movinet export a0-stream -o a0.tflite

    movinet export a0-stream --weights movinet_a0_stream.tar.gz --quantize all -o models/

    movinet export a2-stream --weights mine.keras --labels mine.txt -q dynamic -o mine.tflite
    """
    try:
        spec = lookup(model)
    except UnknownModelError as error:
        raise UsageError(str(error)) from error
    if calibrate not in (None, [], ["none"]) and not spec.streams:
        raise UsageError("--calibrate is for stream models")
    if frames is not None and spec.streams:
        raise UsageError(f"--frames is for base models; {spec.id} takes one frame at a time")
    if weights is None:
        if spec.id not in PUBLISHED:
            raise UsageError(f"nobody publishes weights for {spec.id}: give --weights")
        weights = PUBLISHED[spec.id].hub
    names = None if labels is None else read_labels(labels)
    auto = quantize == [AUTO]
    if auto:
        if not spec.streams:
            raise UsageError("--quantize auto is for stream models")
        from movinet_convert.choose import check_target

        check_target(target)
    drafts = tempfile.TemporaryDirectory(prefix="movinet-") if auto else nullcontext("")
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        drafts as folder,
        Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        outputs = _outputs(
            spec.id, [ALL] if auto else quantize or ["float32"], Path(folder) if auto else output
        )
        task = progress.add_task("starting", total=None)

        def report(step: str) -> None:
            progress.update(task, description=step)
            if not console.is_terminal:
                console.print(f"{step} ...", style="dim")

        from movinet_convert.choose import candidates
        from movinet_convert.export import export as export_model  # NumPy and the schema

        done = export_model(
            spec,
            weights,
            outputs,
            labels=names,
            resolution=resolution,
            frames=frames,
            clip=clip,
            calibrate=() if calibrate == ["none"] else calibrate or None,
            half_arithmetic=half_arithmetic,
            report=report,
            long_frames=long_frames,
        )
        if auto:
            report("measuring what the variants cost")
            measured = candidates(done, target)
            done = [_take(measured, min_sqnr, spec.id, output)]
    if as_json:
        print(json.dumps([_as_json(one) for one in done], indent=2))
    else:
        if auto:
            Console().print(_choice_table(measured, done[0].variant, min_sqnr, target))
        _print(done)
    for one in done:
        if one.variant == "float32" and one.parity.error > MAX_PARITY_ERROR:
            console.print(
                f"warning: {one.path} is {one.parity.error:.1e} of the logits' range away from "
                "the Keras network; please report this model",
                style="bold red",
            )


def _outputs(model_id: str, quantize: list[str], output: Path) -> dict[str, Path]:
    """Name a file for each variant: a0-stream-dynamic.tflite in a folder, or the one given."""
    from movinet_convert.quantize import VARIANTS

    unknown = [name for name in quantize if name not in (*VARIANTS, ALL)]
    if unknown:
        known = ", ".join((*VARIANTS, ALL, AUTO))
        raise UsageError(f"no variant '{unknown[0]}'; --quantize takes {known}")
    wanted = list(VARIANTS) if ALL in quantize else list(dict.fromkeys(quantize))
    if output.suffix == ".tflite" and not output.is_dir():
        if len(wanted) > 1:
            raise UsageError(f"{len(wanted)} variants cannot all be {output}: name a folder")
        if not output.parent.is_dir():
            raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
        return {wanted[0]: output}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {output}: {error.strerror}") from error
    return {variant: output / f"{model_id}-{variant}.tflite" for variant in wanted}


def _take(measured: list[Any], min_sqnr: float, model_id: str, output: Path) -> Any:
    """Write the first candidate that is true enough to where the user wants it."""
    chosen = next(one for one in measured if one.meets(min_sqnr)).exported
    (path,) = _outputs(model_id, [chosen.variant], output).values()
    with written_whole(path) as temporary:
        temporary.write_bytes(chosen.path.read_bytes())
    return replace(chosen, path=path)


def _choice_table(measured: list[Any], chosen: str, min_sqnr: float, target: str | None) -> Table:
    from movinet_convert.choose import unit

    title = f"fastest with {min_sqnr:g} dB, one thread, {target or 'here'}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("variant", unit(target), "SQNR dB", ""):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for one in measured:
        sqnr = "-" if one.sqnr_db is None else f"{one.sqnr_db:.1f}"
        variant = one.exported.variant
        mark = "chosen" if variant == chosen else ""
        table.add_row(variant, f"{one.cost:.2f}", sqnr, mark)
    return table


def _print(done: list[Any]) -> None:
    console = Console()
    for one in done:
        table = summary(one.inspection, title=str(one.path))
        table.add_row(
            "against Keras",
            f"{one.parity.error:.1e} of the logits' range over {one.parity.frames} frames "
            f"({one.parity.clip})",
        )
        if one.fidelity is not None:
            short, long = one.fidelity.short, one.fidelity.long
            table.add_row(
                "against float32",
                f"{short.sqnr_db:.1f} dB, {short.agreement:.0%} agree; long stream of "
                f"{long.frames} frames {long.sqnr_db:.1f} dB, {long.agreement:.0%}",
            )
        console.print(table)
    for note in done[0].notes:
        console.print(f"note: {note}", style="yellow")


def _as_json(one: Any) -> dict[str, Any]:
    parity = {"error": one.parity.error, "frames": one.parity.frames, "clip": one.parity.clip}
    found: dict[str, Any] = one.inspection.as_json()
    return {
        "path": str(one.path),
        "variant": one.variant,
        "parity": parity,
        "fidelity": None if one.fidelity is None else one.fidelity.as_json(),
        "notes": one.notes,
    } | found
