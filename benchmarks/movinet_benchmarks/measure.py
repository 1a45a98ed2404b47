"""Measure models beside each other: real frames, states carried, one after the other by turns."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from movinet_benchmarks.arm.cores import Core
from movinet_benchmarks.arm.rehearse import Rehearsal, rehearse
from movinet_benchmarks.fidelity import Fidelity, Streams, compare, record
from movinet_benchmarks.host import Host, time_on_host
from movinet_benchmarks.report import Measurement, Report, as_report
from movinet_benchmarks.statistics import summary
from movinet_benchmarks.timing import Frame, Progress, Timed, time_models
from movinet_models.figures import drawn
from movinet_runtime import StreamModel, frames_at
from movinet_runtime.errors import ModelFileError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile

CLIP_FRAMES = 32
DRAWN = 2  # clips of figures, where none are given


def frames_for(
    size: tuple[int, int], fps: float, clip: Path | None, count: int = CLIP_FRAMES
) -> list[Frame]:
    """Return frames of a clip, or of drawn figures, at the model's size."""
    if clip is not None:
        return list(frames_at(clip, size, fps, count))
    return [frame for shown in drawn("test", DRAWN, size, fps) for frame in shown][:count]


def measure(
    models: Sequence[Path],
    clip: Path | None = None,
    rounds: int = 200,
    engines: Sequence[str] = ("auto",),
    threads: Sequence[int] = (1,),
    against: Path | None = None,
    long_frames: int = 100,
    progress: Progress = lambda n: None,
    cores: Sequence[Core] = (),
    core_frames: int = 8,
    report: Callable[[str], None] = lambda line: None,
    host: Host | None = None,
) -> Report:
    """Measure models in one interleaved run, and how true they are.

    Args:
        models: stream models; all see frames of their own size.
        clip: real frames; default: drawn figures.
        rounds: timed steps of each.
        engines, threads: each combination is measured.
        against: the float32 model that fidelity is measured against; None: not measured.
        long_frames: of the long stream of the fidelity.
        progress: called with 1 after each round, of ``rounds`` in all.
        cores: emulated cores to count instructions on, afterwards.
        core_frames: for each of them.
        report: called with a line before each step there.
        host: time on this board instead of here.

    Returns:
        A report: docs/benchmarks.md.
    """
    names = _names(models)
    loaded = {name: StreamModel(path) for name, path in names.items()}
    first = next(iter(loaded.values()))
    if any(one.size != first.size for one in loaded.values()):
        raise ModelFileError("the models have different resolutions: measure them one by one")
    images = frames_for(first.size, first.fps, clip)
    if host is None:
        timed, machine = time_models(names, images, rounds, engines, threads, progress)
    else:
        timed, machine = time_on_host(host, names, images, rounds, engines, threads)
    return as_report(
        [_measurement(names[one.name], one) for one in timed],
        {} if against is None else _fidelities(names, against, images, long_frames),
        _rehearsals(names, cores, images[:core_frames], report),
        {"clip": clip.name if clip else "drawn figures", "rounds": rounds},
        machine,
    )


def _rehearsals(
    names: Mapping[str, Path],
    cores: Sequence[Core],
    images: Sequence[Frame],
    report: Callable[[str], None],
) -> dict[str, list[Rehearsal]]:
    found = rehearse(list(names.values()), cores, images, report=report)
    return {name: [found[path, core.name] for core in cores] for name, path in names.items()}


def _names(models: Sequence[Path]) -> dict[str, Path]:
    """Name models by their files, with the folder where that is not enough."""
    stems = [path.stem for path in models]
    return {
        path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}/{path.stem} {i}": path
        for i, path in enumerate(models)
    }


def _measurement(path: Path, timed: Timed) -> Measurement:
    file = ModelFile.read(path)
    about = inspect(file)
    return Measurement(
        timed.name,
        timed.engine,
        timed.threads,
        timed.samples_ms,
        summary(np.array(timed.samples_ms)),
        timed.start,
        len(file.content),
        about.state_bytes,
        sum(about.ops.values()),
        about.partitions,
        dict(about.ops_outside),
        timed.fps,
    )


def _fidelities(
    names: Mapping[str, Path], against: Path, images: list[Frame], long_frames: int
) -> dict[str, Fidelity]:
    streams = Streams([images], long_frames)
    truth = record(against, streams)
    return {name: compare(path, record(path, streams), truth) for name, path in names.items()}
