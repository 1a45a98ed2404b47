"""``movinet train``."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_models.family import GATES, Gate, ModelSpec, UnknownModelError, lookup
from movinet_models.registry import SOURCES
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole

SCRATCH = "none"
# For a few hundred clips and published weights.
EPOCHS, FREEZE, BATCH, PATIENCE = 30, 3, 8, 8


def train(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with a sub-folder of clips for each class (or train/ and validation/ "
            "with those), or a CSV with path,label[,split]."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .keras file to write.")],
    model: Annotated[str, typer.Option("--model", "-m", help="a0-stream ... t0-stream.")] = (
        "a0-stream"
    ),
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="What to start from: as for export, or 'none' to start from nothing. "
            "Default: the published Kinetics-600 weights, downloaded.",
        ),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            help="The hard sigmoid of stream models, fifth or sixth; default: that of the weights."
        ),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=32, help="Side of the input; default: the model's.")
    ] = None,
    start_resolution: Annotated[
        int | None,
        typer.Option(min=32, help="Begin with smaller pictures and grow: faster from nothing."),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a training clip.")] = 16,
    lead_in: Annotated[
        int,
        typer.Option(
            min=0,
            help="Frames of another clip before every other clip, which do not count: as in a "
            "stream that goes on for ever.",
        ),
    ] = 0,
    horizon: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frames that averages over time remember, also later; default: --frames."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = EPOCHS,
    freeze: Annotated[
        int | None,
        typer.Option(min=0, help="Epochs that train only the new classifier; default 3, or 0."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Clips at a time.")] = BATCH,
    rate: Annotated[float, typer.Option(help="Peak of the learning rate.")] = 1e-3,
    final_rate: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of --rate at the end; more where another training goes on."
        ),
    ] = 0.01,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, help="Before the classifier.")] = 0.2,
    validation: Annotated[
        float, typer.Option(help="Share of the files kept back, where no split says.")
    ] = 0.2,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after so many epochs without a better one.")
    ] = PATIENCE,
    flip: Annotated[bool, typer.Option(help="Mirror half of the clips.")] = True,
    colour: Annotated[float, typer.Option(min=0, max=1, help="Strength of colour changes.")] = 0.2,
    speed: Annotated[float, typer.Option(min=1, help="Up to so much slower or faster.")] = 1.25,
    crop: Annotated[
        float, typer.Option(min=0.1, max=1, help="Least share of the square that is cut out.")
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="The same seed, the same training.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a stopped training was.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report, as JSON.")] = False,
) -> None:
    """Teach a network one's own classes; the result goes into movinet export.

    Every epoch ends with a checkpoint beside the output (mine.checkpoint.npz); the report
    with pictures is in mine.report/.

    movinet train clips/ -o mine.keras

    movinet train clips.csv -o mine.keras --no-flip --epochs 60 --resume

    movinet export a0-stream --weights mine.keras -q all -o models/ --calibrate clips/
    """
    try:
        spec = lookup(model).at(resolution)
    except UnknownModelError as error:
        raise UsageError(str(error)) from error
    _check_options(spec, gate, weights, output)
    saved = _checkpoint(output, resume)

    from movinet_models.clips import collect, find_clips

    console = Console(stderr=True)
    listed = find_clips(data)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task("opening clips", total=len(listed))
        clips = collect(listed, validation, seed, lambda n: progress.advance(task, n))
        _say(console, clips.skipped)
        console.print(
            f"{len(clips.clips)} clips of {len(clips.labels)} classes, "
            f"{len(clips.of('validation'))} of them for validation, {len(clips.skipped)} skipped",
            style="dim",
        )
        progress.update(task, description="building the network")

        from movinet_convert.training.batches import Augmentation
        from movinet_convert.training.fit import Checkpoint, Plan, fit

        scratch = weights == SCRATCH
        plan = Plan(
            epochs=epochs,
            freeze=min(epochs, (0 if scratch else FREEZE) if freeze is None else freeze),
            frames=frames,
            batch=batch,
            rate=rate,
            final_rate=final_rate,
            start_resolution=start_resolution or spec.resolution,
            patience=patience,
            lead_in=min(lead_in, frames) if spec.streams else 0,
            horizon=horizon or frames,
            seed=seed,
        )
        network, folded = _network(
            spec,
            weights,
            clips.labels,
            dropout,
            gate,
            lambda step: progress.update(task, description=step),
        )
        if spec.gated:
            console.print(f"gate {network.gate}", style="dim")
        augmentation = Augmentation(
            area=(crop, 1.0), flip=flip, colour=colour, speed=(1 / speed, speed)
        )
        progress.remove_task(task)
        history, broken = fit(
            network,
            clips,
            plan,
            augmentation,
            Checkpoint(saved, plan, clips.labels),
            resume,
            lambda: [_shown(progress, console, plan.epochs)],
            folded,
        )
    _say(console, broken.values())
    network.clip_frames, network.horizon = plan.frames, plan.horizon
    report = _finish(network, clips, plan.frames, plan.batch, history, output, len(broken))
    saved.unlink(missing_ok=True)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))


def _check_options(spec: ModelSpec, gate: str | None, weights: str | None, output: Path) -> None:
    if gate not in (None, *GATES):
        raise UsageError(f"--gate is {' or '.join(GATES)}, not '{gate}'")
    if gate is not None and not spec.gated:
        raise UsageError(f"{spec.id} has no hard sigmoid: --gate does not apply")
    if output.suffix != ".keras":
        raise UsageError(f"--output must end in .keras, {output} does not")
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: no folder {output.parent}")
    if weights is None and spec.id not in SOURCES:
        raise UsageError(f"nobody publishes weights for {spec.id}: give --weights, or none")


def _checkpoint(output: Path, resume: bool) -> Path:
    """Name the checkpoint of a training; it must be there, or not, as the user says."""
    saved = output.with_suffix(".checkpoint.npz")
    if resume and not saved.exists():
        raise UsageError(f"nothing to resume: there is no {saved}")
    if saved.exists() and not resume:
        raise UsageError(f"{saved} is a stopped training: add --resume, or remove it")
    return saved


def _say(console: Console, skipped: Iterable[str]) -> None:
    for reason in skipped:
        console.print(
            f"skipped: {reason}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )


def _network(
    spec: ModelSpec,
    weights: str | None,
    labels: list[str],
    dropout: float,
    gate: str | None,
    report: Callable[[str], None],
) -> tuple[Any, bool]:
    """Return the network to begin with, and whether its batch norm is folded into kernels."""
    from movinet_convert.network import MoViNet, load_into_network
    from movinet_convert.parameters import DEFAULT_GATE
    from movinet_convert.sources import load_weights
    from movinet_convert.sources.published import find, shown

    if weights == SCRATCH:
        chosen = cast(Gate, gate or DEFAULT_GATE)
        network = MoViNet(spec.id, len(labels), spec.resolution, labels, dropout, gate=chosen)
        return network, False
    source, origin = find(weights, spec, shown(report))
    form = cast(Gate | None, gate)
    loaded = load_weights(source, spec, None, form, origin)
    _check_source(loaded, spec, report)
    if loaded.classes != len(labels):
        loaded = load_weights(source, spec, len(labels), form, origin)
    network = load_into_network(spec, loaded.weights, labels, dropout, gate=loaded.hard_sigmoid)
    return network, loaded.folded


def _check_source(loaded: Any, spec: ModelSpec, report: Callable[[str], None]) -> None:
    """Refuse weights that do not compute what their source does.

    Raises:
        ParityError: they do not.
    """
    from movinet_convert.export import against_source
    from movinet_convert.proof import ParityError

    for parity in against_source(spec, loaded, None, report):
        if not parity.holds:
            raise ParityError(f"{loaded.source}: {parity.failure()}")


def _shown(progress: Progress, console: Console, epochs: int) -> Any:
    """A Keras callback that shows where the training is, and a line for each epoch."""
    from movinet_convert.backend import keras

    class Shown(keras.callbacks.Callback):  # type: ignore[misc]
        task: TaskID

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            total = self.params["steps"] * (epochs - epoch)  # so that the time left is that of all
            self.task = progress.add_task(f"epoch {epoch + 1}/{epochs}", total=total)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            progress.advance(self.task)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            progress.remove_task(self.task)
            console.print(
                f"epoch {epoch + 1}/{epochs}: loss {logs['loss']:.3f}, "
                f"accuracy {logs['accuracy']:.1%}, on validation {logs['val_accuracy']:.1%}",
                highlight=False,
            )

    return Shown()


def _finish(
    network: Any, clips: Any, frames: int, batch: int, history: Any, output: Path, broken: int
) -> dict[str, Any]:
    """Save the network, judge it on the validation clips and report."""
    from movinet_convert.training.batches import Batches
    from movinet_convert.training.report import confusion_matrix, scores, write_report

    with written_whole(output) as temporary:
        network.save(temporary)
    held = clips.of("validation")
    spec = network.spec
    batches = Batches(
        held, clips.labels, spec.architecture.fps, frames, spec.resolution, batch, spec.streams
    )
    truth, found = [], []
    for i in range(len(batches)):
        video, labels, weights = batches[i]
        logits = network.stream(video, horizon=network.horizon)[0].numpy()
        for j, last in enumerate(weights.argmax(axis=1)):
            truth.append(int(labels[j, last].argmax()))
            found.append(int(logits[j, last].argmax()))
    confusion = confusion_matrix(truth, found, len(clips.labels))
    more = {"model": spec.id, "resolution": spec.resolution, "labels": clips.labels}
    more["skipped"] = len(clips.skipped) + broken
    files = write_report(output.with_suffix(".report"), confusion, clips.labels, history, more)
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for column in ("clips", "precision", "recall"):
        table.add_column(column, justify="right")
    for score in scores(confusion, clips.labels):
        shares = ("-" if s is None else f"{s:.1%}" for s in (score.precision, score.recall))
        table.add_row(score.label, str(score.clips), *shares)
    console = Console(stderr=True)
    console.print(table)
    console.print(f"{output}, {', '.join(map(str, files))}", style="dim", soft_wrap=True)
    return dict(json.loads(files[0].read_text("utf-8")))
