"""Measure models beside each other: real frames, states carried, one after the other by turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from movinet_benchmarks.arm.cores import Core
from movinet_benchmarks.arm.emulate import Emulation, emulate
from movinet_benchmarks.fidelity import Streams, compare, record
from movinet_benchmarks.host import Answer, Host, HostError, time_on_host, time_on_hosts
from movinet_benchmarks.process.race import Frame, Progress
from movinet_benchmarks.report import Board, Report, Run, StreamFidelity, Variant, new_report
from movinet_benchmarks.statistics import summary
from movinet_benchmarks.timing import Schedule, Timed, time_models
from movinet_models.figures import drawn
from movinet_runtime import StreamModel, frames_at
from movinet_runtime.errors import ModelFileError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile

CLIP_FRAMES = 32
DRAWN = 2  # clips of figures, where none are given


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        models: stream models; all see frames of their own size.
        clip: real frames; None: drawn figures.
        schedule: how models are timed.
        hosts: time on these boards, at once; none: here.
        against: the float32 model that fidelity is measured against; None: not measured.
        long_frames: of the long stream of the fidelity.
        cores: emulated cores to count instructions on, afterwards.
        core_frames: for each of them.
        commit: that the report names.
    """

    models: Sequence[Path]
    clip: Path | None = None
    schedule: Schedule = field(default_factory=Schedule)
    hosts: Sequence[Host] = ()
    against: Path | None = None
    long_frames: int = 100
    cores: Sequence[Core] = ()
    core_frames: int = 8
    commit: str | None = None


def frames_for(
    size: tuple[int, int], fps: float, clip: Path | None, count: int = CLIP_FRAMES
) -> list[Frame]:
    """Return frames of a clip, or of drawn figures, at the model's size."""
    if clip is not None:
        return list(frames_at(clip, size, fps, count))
    return [frame for shown in drawn("test", DRAWN, size, fps) for frame in shown][:count]


def measure(
    plan: Plan,
    progress: Progress = lambda n: None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Measure models, and how true they are.

    Args:
        plan: what and how.
        progress: called with 1 after each process, or after each of several boards.
        say: called with a line before each step on an emulated core.

    Raises:
        HostError: the board, or each of them, measured nothing.
    """
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    names = _names(plan.models)
    loaded = {name: StreamModel(path) for name, path in names.items()}
    first = next(iter(loaded.values()))
    if any(one.size != first.size for one in loaded.values()):
        raise ModelFileError("the models have different resolutions: measure them one by one")
    images = frames_for(first.size, first.fps, plan.clip)
    runs, boards = _timed(plan, names, images, progress)
    true = _fidelities(names, plan, images)
    emulated = emulate(list(names.values()), plan.cores, images[: plan.core_frames], say=say)
    variants = []
    for board, answer in runs.items():
        for one in answer.timed:
            path = names[one.name]
            arm = {core.name: emulated[path, core.name] for core in plan.cores}
            found = _variant(path, one, true.get(one.name), arm)
            variants.append(replace(found, board=board if boards else None))
    run = Run(
        clip=plan.clip.name if plan.clip else "drawn figures",
        rounds=plan.schedule.steps,
        processes=plan.schedule.processes,
        pace=plan.schedule.pace,
        commit=plan.commit,
        date=date,
        host=plan.hosts[0].address if len(plan.hosts) == 1 else None,
    )
    return new_report(run, next(iter(runs.values())).environment, variants, boards)


def _timed(
    plan: Plan, names: Mapping[str, Path], images: list[Frame], progress: Progress
) -> tuple[dict[str, Answer], list[Board]]:
    """Time here or on boards; return what was measured by address, and the boards of a fleet."""
    if len(plan.hosts) > 1:
        answers = time_on_hosts(plan.hosts, names, images, plan.schedule, progress)
        boards = [
            Board(address, None, str(answer))
            if isinstance(answer, HostError)
            else Board(address, answer.environment, None)
            for address, answer in answers.items()
        ]
        runs = {name: one for name, one in answers.items() if not isinstance(one, HostError)}
        if not runs:
            raise HostError("no board measured anything: " + "; ".join(map(str, answers.values())))
        return runs, boards
    if plan.hosts:
        (host,) = plan.hosts
        return {host.address: Answer(*time_on_host(host, names, images, plan.schedule))}, []
    return {"": Answer(*time_models(names, images, plan.schedule, progress))}, []


def _names(models: Sequence[Path]) -> dict[str, Path]:
    """Name models by their files, with the folder where that is not enough."""
    stems = [path.stem for path in models]
    return {
        path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}/{path.stem} {i}": path
        for i, path in enumerate(models)
    }


def _variant(
    path: Path, timed: Timed, fidelity: StreamFidelity | None, arm: dict[str, Emulation]
) -> Variant:
    file = ModelFile.read(path)
    about = inspect(file)
    step = summary(timed.samples_ms)
    frames_per_second = 1000 / step.median
    return Variant(
        name=timed.name,
        engine=timed.engine,
        threads=timed.threads,
        samples_ms=timed.samples_ms,
        step_ms=step,
        start=timed.start,
        file_bytes=len(file.content),
        state_bytes=about.state_bytes,
        ops=sum(about.ops.values()),
        partitions=about.partitions,
        ops_outside=dict(about.ops_outside),
        fps=timed.fps,
        frames_per_second=round(frames_per_second, 2),
        real_time_factor=round(frames_per_second / timed.fps, 3),
        fidelity=fidelity,
        arm=arm,
    )


def _fidelities(
    names: Mapping[str, Path], plan: Plan, images: list[Frame]
) -> dict[str, StreamFidelity]:
    if plan.against is None:
        return {}
    streams = Streams([images], plan.long_frames)
    truth = record(plan.against, streams)
    found = {name: compare(path, record(path, streams), truth) for name, path in names.items()}
    return {name: StreamFidelity(**one.parts) for name, one in found.items()}
