"""``movinet export``."""

import json
import math
import tempfile
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from movinet_benchmarks.fidelity import LONG_FRAMES
from movinet_models.costs import MIN_SQNR_DB
from movinet_models.family import GATES, ModelSpec, UnknownModelError, lookup
from movinet_models.variants import FORMER, VARIANTS, best_here, named, variants_of
from movinet_runtime.classifier import read_labels
from movinet_runtime.cli.inspect import summary
from movinet_runtime.cli.options import only_with
from movinet_runtime.cli.place import checked_place
from movinet_runtime.errors import UsageError
from movinet_runtime.files import writing, written_whole

ALL, AUTO = "all", "auto"
TFLITE, ONNX = ".tflite", ".onnx"
MAY_BE_HALF = {"float16", "heavy", ALL, AUTO}
STATES = ("frames", "buffers")


def export(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="a0-stream ... a5-stream, t0-stream, a0-base ...")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The .tflite or .onnx file to write, or a folder for files named after their "
            "variants.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="A Model Garden checkpoint (prefix, folder, .tar.gz), a hub SavedModel "
            "(folder, .tar.gz), any MoViNet .tflite, a PyTorch state dict (.pth), a .keras or .npz "
            "file, a URL of one of them, kinetics-400 (published, base), embedded (drawn figures), "
            "or random[:SEED]. Default: the published Kinetics-600 weights (movinet pull).",
        ),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            help="The hard sigmoid that stream weights were trained with: fifth (published in "
            "2021) or sixth (Model Garden since 2022). Default: found, and said in the summary."
        ),
    ] = None,
    quantize: Annotated[
        list[str] | None,
        typer.Option(
            "--quantize",
            "-q",
            help="float32, float16, half, heavy, dynamic, dynamic-si8, int8 (relu6 networks), all, "
            "or auto: the fastest above --min-sqnr; repeat it for several. Default: what this "
            "machine's core runs best; base models float32. movinet models tells them apart.",
        ),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="tflite (default) or onnx: a float32 file for ONNX Runtime, OpenVINO and others, "
            "compared with the .tflite. Default: what the name of --output says.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="One label a line, in the order of the logits."),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Side of the input; default: the model's."),
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
        float | None,
        typer.Option(
            help="auto: the least SQNR of the logits against float32 on clips held out, dB; "
            "default: 30."
        ),
    ] = None,
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
            help="float16, heavy: let cores with half-precision arithmetic compute in it."
        ),
    ] = True,
    states: Annotated[
        str,
        typer.Option(
            help="frames: a state for each past frame, which nothing has to copy; buffers: one for "
            "each layer, with the names and shapes of the published files."
        ),
    ] = STATES[0],
    streams: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Streams in one step, for several cameras or files at once."
        ),
    ] = 1,
    long_frames: Annotated[
        int,
        typer.Option(
            min=2, help="Frames of the stream without a reset on which variants are compared."
        ),
    ] = LONG_FRAMES,
    on: Annotated[
        str | None,
        typer.Option(
            help="Where calibration is done: local (a process for each core), a number of "
            "processes, dask://HOST:PORT or a scheduler file; the file is the same. Default: in "
            "this process."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Write a file that does not compute what its source does, and mark it."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Make TFLite or ONNX files from weights, and prove that they compute the same.

    Stream models take one frame and the states of the frames before; base models a
    clip of fixed length.

    movinet export a0-stream -o a0.tflite

    movinet export a0-stream --weights movinet_a0_stream.tar.gz --quantize all -o models/

    movinet export a2-stream --weights mine.keras --labels mine.txt -q dynamic -o mine.tflite

    movinet export a0-stream -q dynamic --streams 4 -o four-cameras.tflite

    movinet export a0lite-stream -w movinet_a0_stream_int8.tflite -q int8 -o lite.tflite

    movinet export a0-stream --format onnx -o a0.onnx
    """
    try:
        spec = lookup(model)
    except UnknownModelError as error:
        raise UsageError(str(error)) from error
    _check_options(spec, weights, quantize, calibrate, frames, gate, target, min_sqnr)
    as_onnx = _is_onnx(file_format, output, {*(quantize or ["float32"])})
    quantize, former = _variants(spec, ["float32"] if as_onnx else quantize)
    _check_applies(context, spec, quantize, states, as_onnx)
    names = None if labels is None else read_labels(labels)
    auto = quantize == [AUTO]
    if auto:
        from movinet_convert.choose import check_target

        check_target(target)
        _outputs(spec.id, ["float32"], output)  # so that nothing is measured in vain
    drafts = tempfile.TemporaryDirectory(prefix="movinet-") if auto else nullcontext("")
    console = Console(stderr=True)
    with drafts as folder, _progress(console) as progress:
        outputs = (
            _outputs(spec.id, variants_of(spec), Path(folder))
            if auto
            else _outputs(spec.id, quantize, output, ONNX if as_onnx else TFLITE)
        )
        task = progress.add_task("starting", total=None)

        def report(step: str) -> None:
            progress.update(task, description=step)
            if not console.is_terminal:
                console.print(f"{step} ...", style="dim", markup=False)

        from movinet_convert.choose import candidates
        from movinet_convert.export import export as export_model  # NumPy and the schema
        from movinet_convert.sources.published import find, shown

        source, origin = find(weights, spec, shown(report))
        options: dict[str, Any] = {
            "origin": origin,
            "gate": gate,
            "labels": names,
            "resolution": resolution,
            "frames": frames,
            "clip": clip,
            "force": force,
            "report": report,
        }
        if as_onnx:
            from movinet_convert.onnx_export import export_onnx

            done: list[Any] = [export_onnx(spec, source, outputs["float32"], **options)]
        else:
            done = export_model(
                spec,
                source,
                outputs,
                calibrate=() if calibrate == ["none"] else calibrate or None,
                half_arithmetic=half_arithmetic,
                buffers=states == "buffers",
                streams=streams,
                long_frames=long_frames,
                where=on,
                **options,
            )
        if auto:
            least = MIN_SQNR_DB if min_sqnr is None else min_sqnr
            report("measuring what the variants cost")
            measured = candidates(done, target)
            done = [_take(measured, least, spec.id, output)]
    if as_json:
        print(json.dumps([_as_json(one) for one in done], indent=2))
    elif as_onnx:
        _print_onnx(done[0])
    else:
        if auto:
            Console().print(_choice_table(measured, done[0].variant, least, target))
        _print(done, former)


def _progress(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _check_options(
    spec: ModelSpec,
    weights: str | None,
    quantize: list[str] | None,
    calibrate: list[str] | None,
    frames: int | None,
    gate: str | None,
    target: str | None,
    min_sqnr: float | None,
) -> None:
    """Refuse options that do not apply to what was asked for."""
    auto = quantize == [AUTO]
    if calibrate not in (None, [], ["none"]) and not spec.streams:
        raise UsageError("--calibrate is for stream models")
    if frames is not None and spec.streams:
        raise UsageError(f"--frames is for base models; {spec.id} takes one frame at a time")
    if gate not in (None, *GATES):
        raise UsageError(f"--gate is {' or '.join(GATES)}, not '{gate}'")
    if gate is not None and not spec.gated:
        raise UsageError(f"{spec.id} has no hard sigmoid: --gate does not apply")
    if weights == "":
        raise UsageError("--weights names nothing")
    if auto and not spec.streams:
        raise UsageError("--quantize auto is for stream models")
    if min_sqnr is not None and not math.isfinite(min_sqnr):
        raise UsageError(f"--min-sqnr is a number of dB, not {min_sqnr}")
    if quantize and AUTO in quantize and not auto:
        raise UsageError("--quantize auto chooses among all variants: give it alone")
    for option, value in (("--target", target), ("--min-sqnr", min_sqnr)):
        if value is not None and not auto:
            raise UsageError(f"{option} is for --quantize auto")


def _check_applies(
    context: typer.Context, spec: ModelSpec, quantize: list[str], states: str, as_onnx: bool
) -> None:
    """Refuse options that change nothing for these variants and this format."""
    checked_place(context.params["on"])
    calibrates = spec.streams and context.params["calibrate"] != ["none"]
    only_with(context, calibrates, "calibration", "on")
    if states not in STATES:
        raise UsageError(f"--states is {' or '.join(STATES)}, not '{states}'")
    only_with(context, set(quantize) != {"float32"}, "quantized variants", "calibrate", "on")
    only_with(context, spec.streams, "stream models", "long_frames", "states", "streams")
    only_with(context, not as_onnx, "TFLite files", "states", "streams")
    only_with(context, bool({*quantize} & MAY_BE_HALF), "float16 and heavy", "half_arithmetic")


def _variants(spec: ModelSpec, quantize: list[str] | None) -> tuple[list[str], list[str]]:
    """Return the short names of what --quantize asks for, and notes on former names."""
    if not quantize:
        return [best_here(spec) if spec.streams else "float32"], []
    if quantize == [AUTO]:
        return quantize, []
    if ALL in quantize:
        return variants_of(spec), []
    found, notes = [], []
    for asked in quantize:
        name = named(spec, asked)
        if name is None:
            known = ", ".join((*variants_of(spec), ALL, AUTO))
            raise UsageError(f"{spec.id} has no variant '{asked}'; --quantize takes {known}")
        if asked in FORMER and name == FORMER[asked]:
            notes.append(f"'{asked}' is called {name} now: {VARIANTS[name].what}")
        found.append(name)
    return list(dict.fromkeys(found)), notes


def _is_onnx(file_format: str | None, output: Path, variants: set[str]) -> bool:
    """Tell the file format by --format, else by the output's name; ONNX is float32 alone."""
    said = output.suffix.lower() if not output.is_dir() else ""
    named = said if said in (TFLITE, ONNX) else f".{file_format or TFLITE[1:]}"
    if f".{file_format}" not in (TFLITE, ONNX, ".None"):
        raise UsageError(f"--format is tflite or onnx, not '{file_format}'")
    if file_format is not None and named != f".{file_format}":
        raise UsageError(f"--format {file_format} does not write {output.name}")
    if named == ONNX and variants != {"float32"}:
        others = ", ".join(sorted(variants - {"float32"}))
        raise UsageError(f"ONNX files are float32, without -q; {others}: --format tflite")
    if named == ONNX:
        import movinet_convert.onnx_file  # noqa: F401  # says what is missing, before any work
    return named == ONNX


def _outputs(
    model_id: str, wanted: list[str], output: Path, ending: str = TFLITE
) -> dict[str, Path]:
    """Name a file for each variant: a0-stream-dynamic.tflite in a folder, or the one given."""
    if output.suffix.lower() == ending and not output.is_dir():
        if len(wanted) > 1:
            raise UsageError(f"{len(wanted)} variants cannot all be {output}: name a folder")
        if not output.parent.is_dir():
            raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
        outputs = {wanted[0]: output}
    else:
        outputs = {variant: output / f"{model_id}-{variant}{ending}" for variant in wanted}
    _check_writable(next(iter(outputs.values())))
    return outputs


def _check_writable(path: Path) -> None:
    """Refuse early what would fail at the end; a folder is made only when files are."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with writing(path), tempfile.TemporaryFile(dir=folder):
        pass


def _take(measured: list[Any], min_sqnr: float, model_id: str, output: Path) -> Any:
    """Write the first candidate above the SQNR threshold to where the user wants it."""
    chosen = next(one for one in measured if one.meets(min_sqnr)).exported
    (path,) = _outputs(model_id, [chosen.variant], output).values()
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _print(done: list[Any], notes: list[str]) -> None:
    console = Console()
    for one in done:
        table = summary(one.inspection, title=str(one.path))
        if one is done[0]:
            what = "" if one.variant == "float32" else "float32 "
            for parity in one.parity:
                table.add_row(f"{what}against {parity.against}", escape(str(parity)))
        if one.fidelity is not None:
            table.add_row("against float32", _fidelity(one.fidelity))
        console.print(table)
    for note in (*done[0].notes, *notes):
        console.print(f"note: {note}", style="yellow", markup=False)


def _print_onnx(done: Any) -> None:
    """The same for an ONNX file, which says no more than its graph does."""
    found, about, console = done.inspection, done.inspection.metadata, Console()
    title = escape(str(done.path))
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(found.ops).most_common())
    states = f"{len(about['states'])} ({found.state_bytes / 1e6:.2f} MB)" if about["states"] else ""
    rows = {
        "model": f"{about['model']} float32",
        "weights": about["weights"]["source"],
        "licence": about["weights"]["licence"],
        "gate": about["gate"],
        "parity": "FAILED against its source; written by --force"
        if about["parity"]["forced"]
        else None,
        "classes": f"{about['classes']}{'' if about['labels'] else ' (no labels)'}",
        "frames a second": f"{about['fps']:g}",
        "input": f"image {list(found.inputs['image'])} float32",
        "size": f"{found.file_bytes / 1e6:.2f} MB",
        "states": states or "none",
        "operators": f"{sum(found.ops.values())}: {kinds}",
    } | {f"against {parity.against}": str(parity) for parity in done.parity}
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(value))
    console.print(table)
    for note in done.notes:
        console.print(f"note: {note}", style="yellow", markup=False)


def _fidelity(fidelity: Any) -> str:
    short, long = fidelity.short, fidelity.long
    found = f"{short.sqnr_db:.1f} dB, {short.agreement:.0%} agree"
    if long is None:
        return f"{found} on {short.frames} clips"
    return (
        f"{found}; long stream of {long.frames} frames {long.sqnr_db:.1f} dB, {long.agreement:.0%}"
    )


def _as_json(one: Any) -> dict[str, Any]:
    parity = [asdict(parity) | {"holds": parity.holds} for parity in one.parity]
    found: dict[str, Any] = one.inspection.as_json()
    return {
        "path": str(one.path),
        "variant": one.variant,
        "parity": parity,
        "fidelity": None if one.fidelity is None else one.fidelity.as_json(),
        "notes": one.notes,
    } | found
