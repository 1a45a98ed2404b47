"""``movinet train``."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from movinet_models.family import GATES, Gate, ModelSpec, UnknownModelError, lookup
from movinet_models.registry import SOURCES
from movinet_models.splits import packed
from movinet_runtime.cli.options import only_with
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole

# For a few hundred clips and published weights.
EPOCHS, FREEZE, BATCH, PATIENCE = 30, 3, 8, 8
PRECISIONS = ("float32", "float16", "bfloat16")


def train(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with a sub-folder of clips for each class (or train/ and validation/ "
            "with those), or a CSV with path,label[,split][,group]; of path,labels a clip may "
            "show several classes (a;b), or none."
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
        int | None,
        typer.Option(
            min=0,
            help="Frames before most clips, of another one or its own, which do not count: as "
            "in a stream that goes on for ever. Default: --frames in a stream model, which "
            "cameras need; 0 for clips alone.",
        ),
    ] = None,
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
    rate: Annotated[
        float,
        typer.Option("--learning-rate", "--rate", help="Its peak; it warms up, and falls again."),
    ] = 1e-3,
    final_rate: Annotated[
        float,
        typer.Option(
            "--final-learning-rate",
            "--final-rate",
            min=0,
            max=1,
            help="Share of the peak at the end; more where another training goes on.",
        ),
    ] = 0.01,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, help="Before the classifier.")] = 0.2,
    validation: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Share of each class kept back, where the data has no split."
        ),
    ] = 0.2,
    group: Annotated[
        str | None,
        typer.Option(
            help="A regular expression in file names: clips in which it matches the same were cut "
            "from one recording and stay on one side. A CSV's column group goes before it; names "
            "like UCF101's (_g01_c01) and Kinetics' (ID_START_END) are known."
        ),
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(
            help="What makes an epoch the best: top1, macro (mean of the classes) or map (mean "
            "average precision) of validation clips, or stream, where the state is carried from "
            "clip to clip. Default: stream in a stream model with a lead-in, else top1, or map "
            "where clips show several classes."
        ),
    ] = None,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after so many epochs without a better one.")
    ] = PATIENCE,
    smoothing: Annotated[
        float, typer.Option(min=0, max=0.9, help="Label smoothing: share given to all classes.")
    ] = 0.1,
    ema: Annotated[
        float,
        typer.Option(
            min=0, max=0.9999, help="Momentum of an average of the weights, which is kept: 0.99."
        ),
    ] = 0.0,
    drop_path: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Stochastic depth: probability that the last branch is left out."
        ),
    ] = 0.0,
    erase: Annotated[
        float, typer.Option(min=0, max=1, help="Share of clips with a rectangle painted over.")
    ] = 0.0,
    mixup: Annotated[
        float, typer.Option(min=0, help="Mix clips and labels by a Beta of this alpha: 0.2.")
    ] = 0.0,
    weight_cap: Annotated[
        float, typer.Option(min=1, help="A rare class weighs at most so many times its share.")
    ] = 10.0,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=TIMES",
            help="In use, a class is seen so many times as often as each that is not named: "
            "nothing=20 for a camera before which mostly nothing happens. May be repeated.",
        ),
    ] = None,
    keep_statistics: Annotated[
        bool,
        typer.Option(
            "--keep-statistics",
            help="Batch norm uses the statistics that the weights came with, as the runtime will, "
            "instead of each batch's: for batches of a few clips, of a kind that they know.",
        ),
    ] = False,
    flip: Annotated[bool, typer.Option(help="Mirror half of the clips.")] = True,
    colour: Annotated[float, typer.Option(min=0, max=1, help="Strength of colour changes.")] = 0.2,
    speed: Annotated[float, typer.Option(min=1, help="Up to so much slower or faster.")] = 1.25,
    crop: Annotated[
        float, typer.Option(min=0.1, max=1, help="Least share of the square that is cut out.")
    ] = 0.7,
    precision: Annotated[
        str,
        typer.Option(
            help="float32; float16 or bfloat16 compute in half precision on graphics cards that "
            "have it, with weights in float32."
        ),
    ] = "float32",
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that read clips; default: one for each core, from three cores on.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="A folder for small copies of the clips, made at their first use: large videos "
            "are read several times as fast from then on."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same training.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a stopped training was.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report, as JSON.")] = False,
) -> None:
    """Teach a network one's own classes; the result goes into movinet export.

    Every epoch ends with a checkpoint beside the output (mine.checkpoint.npz), long ones have
    more; mine.report/ grows with each: epochs.csv, tensorboard/, and pictures at the end.

    movinet train clips/ -o mine.keras

    movinet train clips.csv -o mine.keras --no-flip --epochs 60

    movinet train ucf101/ -o mine.keras --group '_(g[0-9]+)_' --best macro

    movinet export a0-stream --weights mine.keras -q all -o models/ --calibrate clips/

    All graphics cards of a machine share out every batch; several machines do where TF_CONFIG
    names them (docs/training.md).
    """
    try:
        spec = lookup(model).at(resolution)
    except UnknownModelError as error:
        raise UsageError(str(error)) from error
    _check_options(context, spec, **context.params)
    saved = _checkpoint(output, resume)

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task("opening clips")
        clips = _clips(data, validation, seed, group, console, progress, task)
        progress.update(task, description="building the network")

        from movinet_convert.training.checkpoint import Checkpoint, decides
        from movinet_convert.training.devices import found_devices
        from movinet_convert.training.fit import Training
        from movinet_convert.training.reading import default_workers
        from movinet_convert.training.reading import workers as reading_processes

        plan = _plan(spec, clips, **context.params)
        devices = found_devices()
        with devices.strategy.scope():
            start = _start(spec, clips.labels, progress, task, **context.params)
        _say_start(console, start, clips)
        _say_devices(console, devices, batch)
        augmentation = _augmentation(**context.params)
        decided = decides(start.network, clips, plan, augmentation) | {
            "weights": start.digest,
            "dropout": [dropout, drop_path],
            "precision": precision,
            "cached": cache is not None,
        }
        devices.must_agree(decided)
        checkpoint = Checkpoint(saved, decided)
        with reading_processes(default_workers() if workers is None else workers) as pool:
            training = Training(
                start.network,
                clips,
                plan,
                augmentation,
                checkpoint,
                devices=devices,
                pool=pool,
                cache=cache,
            )
            progress.remove_task(task)
            answers = _run(training, resume, start.folded, output, devices.first, console, progress)
    _say(console, (f"skipped: {reason}" for reason in training.broken.values()))
    if not devices.first:
        return
    report = _finish(training, start, clips, answers, output)
    saved.unlink(missing_ok=True)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))


def _plan(
    spec: ModelSpec,
    clips: Any,
    *,
    weights: str | None,
    epochs: int,
    freeze: int | None,
    frames: int,
    lead_in: int | None,
    horizon: int | None,
    start_resolution: int | None,
    best: str | None,
    prior: list[str] | None,
    **more: Any,
) -> Any:
    """Return what to do, with what depends on the model, its start and the clips filled in."""
    from movinet_convert.training.plan import Metric, Plan, default_metric, read_prior
    from movinet_convert.training.start import SCRATCH

    led = (frames if lead_in is None else lead_in) if spec.streams else 0
    same = {field.name for field in fields(Plan)} & more.keys()
    return Plan(
        epochs=epochs,
        freeze=min(epochs, (0 if weights == SCRATCH else FREEZE) if freeze is None else freeze),
        frames=frames,
        start_resolution=start_resolution or spec.resolution,
        lead_in=led,
        horizon=horizon or frames,
        best=cast(Metric, best or default_metric(bool(led), clips.independent)),
        prior=read_prior(prior or (), clips.labels, clips.independent),
        independent=clips.independent,
        **{name: more[name] for name in same},
    )


def _start(
    spec: ModelSpec,
    labels: list[str],
    progress: Progress,
    task: TaskID,
    *,
    weights: str | None,
    dropout: float,
    drop_path: float,
    gate: Gate | None,
    seed: int,
    precision: str,
    **_: object,
) -> Any:
    """Build the network and give it weights; say each step."""
    from movinet_convert.training.start import begin

    return begin(
        spec,
        weights,
        labels,
        dropout=dropout,
        drop_path=drop_path,
        gate=gate,
        seed=seed,
        precision=precision,
        report=lambda step: progress.update(task, description=step),
    )


def _augmentation(
    *,
    crop: float,
    flip: bool,
    colour: float,
    speed: float,
    erase: float,
    mixup: float,
    **_: object,
) -> Any:
    """Return what changes training clips at random."""
    from movinet_convert.training.reading import Augmentation

    speeds = (1 / speed, speed)
    return Augmentation(
        (crop, 1.0), flip=flip, colour=colour, speed=speeds, erase=erase, mixup=mixup
    )


def _clips(
    data: Path,
    validation: float,
    seed: int,
    group: str | None,
    console: Console,
    progress: Progress,
    task: TaskID,
) -> Any:
    """Open the clips, and say what there is."""
    from movinet_models.clips import collect, find_clips

    listed = find_clips(data)
    progress.update(task, total=len(listed))
    clips = collect(listed, validation, seed, lambda n: progress.advance(task, n), group)
    _say(console, (f"skipped: {reason}" for reason in clips.skipped))
    _say(console, clips.notes)
    console.print(
        f"{len(clips.clips)} clips of {len(clips.labels)} classes, "
        f"{len(clips.of('validation'))} of them for validation, {len(clips.skipped)} skipped",
        style="dim",
    )
    return clips


def _run(
    training: Any,
    resume: bool,
    folded: bool,
    output: Path,
    writes: bool,
    console: Console,
    progress: Progress,
) -> Any:
    """Train, from the start or from the checkpoint on, and show each epoch."""
    from movinet_convert.training.fit import restore_statistics, some_batches
    from movinet_convert.training.log import Log

    if resume:
        training.resume()
    elif folded:
        restore_statistics(training.network, some_batches(training.train))
    with ExitStack() as files:
        log = files.enter_context(Log(output.with_suffix(".report"), resume)) if writes else None

        def finished(epoch: Any) -> None:
            if log is not None:
                log.add(training.history)
            _say_epoch(console, len(training.history), training.plan.epochs, epoch)

        return training.run(_shown(progress, training), finished)


def _check_options(
    context: typer.Context,
    spec: ModelSpec,
    *,
    gate: str | None,
    weights: str | None,
    output: Path,
    best: str | None,
    frames: int,
    lead_in: int | None,
    mixup: float,
    batch: int,
    cache: Path | None,
    precision: str,
    **_: object,
) -> None:
    """Refuse options that do not apply, or not to each other."""
    from movinet_convert.training.plan import METRICS

    only_with(context, spec.streams, "stream models", "lead_in", "horizon")
    only_with(context, weights != "none", "weights that have some", "keep_statistics")
    if lead_in is not None and lead_in > frames:
        raise UsageError(f"--lead-in {lead_in} is longer than a clip of --frames {frames}")
    if mixup and batch == 1:
        raise UsageError("--mixup mixes the clips of a batch: --batch 2 at least")
    if cache is not None and cache.exists() and not cache.is_dir():
        raise UsageError(f"--cache {cache} is no folder")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision is {', '.join(PRECISIONS)}, not '{precision}'")
    if best not in (None, *METRICS):
        raise UsageError(f"--best is {', '.join(METRICS)}, not '{best}'")
    if best == "stream" and not spec.streams:
        raise UsageError(f"{spec.id} has no states: --best stream does not apply")
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


def _say(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _say_start(console: Console, start: Any, clips: Any) -> None:
    if known := len(start.seen & clips.seen("validation")):
        _say(console, [f"{known} clips of validation were trained on by the weights before"])
    if start.network.spec.gated:
        console.print(f"gate {start.network.gate}", style="dim")


def _say_devices(console: Console, devices: Any, batch: int) -> None:
    if devices.count == 1:
        return
    own = f", this is machine {devices.machine} of {devices.machines}" * (devices.machines > 1)
    console.print(f"{devices.count} devices{own}", style="dim", highlight=False)
    if batch >= devices.count and batch % devices.count:
        _say(console, [f"batches of {devices.divisible(batch)} clips: equal parts of all devices"])


def _say_epoch(console: Console, number: int, epochs: int, epoch: Any) -> None:
    stream = "" if epoch.val_stream is None else f", in streams {epoch.val_stream:.1%}"
    console.print(
        f"epoch {number}/{epochs}: loss {epoch.loss:.3f}, accuracy {epoch.accuracy:.1%}, "
        f"on validation {epoch.val_accuracy:.1%}{stream}",
        highlight=False,
    )


def _shown(progress: Progress, training: Any) -> Any:
    """Return what shows the steps of a training; the time left is that of all epochs."""
    task: TaskID | None = None

    def on_step(done: int, steps: int) -> None:
        nonlocal task
        epoch, epochs = len(training.history), training.plan.epochs
        before = steps * epoch + done - 1
        if task is None:
            task = progress.add_task("", total=steps * epochs, completed=before)
        progress.update(task, description=f"epoch {epoch + 1}/{epochs}", completed=before + 1)

    return on_step


def _finish(training: Any, start: Any, clips: Any, answers: Any, output: Path) -> dict[str, Any]:
    """Save the network and report what it answers to the validation clips."""
    from movinet_convert.training.report import scores, write_report

    network, plan = training.network, training.plan
    network.clip_frames, network.horizon = plan.frames, plan.horizon
    if clips.divided or start.seen:
        network.trained_on = packed(start.seen | clips.seen("train"))
    network.thresholds = answers.thresholds() if clips.independent else None
    with written_whole(output) as temporary:
        network.save(temporary)
    spec, folder = network.spec, output.with_suffix(".report")
    about = {
        "model": spec.id,
        "resolution": spec.resolution,
        "labels": clips.labels,
        "best": plan.best,
        "prior": dict(plan.prior),
        "skipped": len(clips.skipped) + len(training.broken),
    }
    rows = scores(answers, clips.labels, network.thresholds)
    files = write_report(folder, answers, rows, training.history, about)
    with written_whole(folder / "split.csv") as temporary:
        temporary.write_text(clips.table(), "utf-8")
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    shown = ["precision", "recall", "average_precision"]
    shown += ["threshold"] if clips.independent else []
    for column in ("clips", *shown):
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        shares = (getattr(row, column) for column in shown)
        cells = ("-" if share is None else f"{share:.1%}" for share in shares)
        table.add_row(escape(row.label), str(row.clips), *cells)
    console = Console(stderr=True)
    console.print(table)
    console.print(f"mean average precision {answers.mean_average_precision():.1%}", highlight=False)
    console.print(
        f"{output}, {', '.join(map(str, files))}", style="dim", soft_wrap=True, markup=False
    )
    return dict(json.loads(files[0].read_text("utf-8")))
