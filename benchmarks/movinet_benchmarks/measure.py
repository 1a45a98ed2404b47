"""Measure models beside each other: real frames, states carried, one after the other by turns."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks import environment
from movinet_benchmarks.arm.cores import Core
from movinet_benchmarks.arm.rehearse import Rehearsal, rehearse
from movinet_benchmarks.fidelity import Fidelity, Streams, compare, record
from movinet_benchmarks.report import Measurement, Report, Start, as_report
from movinet_benchmarks.statistics import Samples, summary
from movinet_models.figures import clips, render
from movinet_runtime import StreamClassifier, open_frames
from movinet_runtime.errors import ModelFileError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import resized

Frame = NDArray[np.uint8]
Step = Callable[[Frame], object]
Progress = Callable[[int], None]

WARM_UP = 5
CLIP_FRAMES = 32
DRAWN = 2  # clips of figures, where none are given

# In a process of its own: what a program pays that starts with this model.
START = """
import json, re, resource, sys, time
begin = time.perf_counter()
import numpy as np
from movinet_runtime import StreamClassifier
imported = time.perf_counter()
classifier = StreamClassifier(sys.argv[1], int(sys.argv[3]), engine=sys.argv[2])
loaded = time.perf_counter()
frame = np.zeros((*classifier.size, 3), np.uint8)
classifier.step(frame)
first = time.perf_counter()
for _ in range(8):
    classifier.step(frame)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
try:  # on Linux that remembers the process before exec; this does not
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
except (OSError, TypeError):
    pass
times = [imported - begin, loaded - imported, first - loaded]
print(json.dumps([*(1000 * t for t in times), peak]))
"""


def interleaved(
    steps: Mapping[str, Step],
    images: Sequence[Frame],
    rounds: int,
    progress: Progress = lambda n: None,
) -> dict[str, Samples]:
    """Time every step once a round, so that a noisy machine hits all alike; seconds.

    The order turns from round to round: who comes first finds other caches. A frame is
    copied just before: one that was decoded a moment ago is in the caches.
    """
    for step in steps.values():
        for image in images[:WARM_UP]:
            step(image)
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            image = images[i % len(images)].copy()
            start = time.perf_counter()
            steps[name](image)
            times[name].append(time.perf_counter() - start)
        progress(1)
    return {name: np.array(values) for name, values in times.items()}


def frames_for(
    size: tuple[int, int], fps: float, clip: Path | None, count: int = CLIP_FRAMES
) -> list[Frame]:
    """Return frames of a clip, or of drawn figures, at the model's size."""
    if clip is not None:
        sampled = open_frames(clip, fps).sampled(fps)
        return [resized(frame.image, size) for frame in islice(sampled, count)]
    drawn = [
        frame for one in clips("test", DRAWN) for frame in render(one, fps=fps, side=max(size))
    ]
    return [resized(frame, size) for frame in drawn[:count]]


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

    Returns:
        A report: docs/benchmarks.md.
    """
    names = _names(models)
    before = environment.Snapshot.now()
    steps: dict[tuple[str, str, int], StreamClassifier] = {}
    for name, path in names.items():
        for engine in engines:
            for count in threads:
                steps[name, engine, count] = StreamClassifier(path, count, engine=engine)
    first = next(iter(steps.values()))
    if any(one.size != first.size for one in steps.values()):
        raise ModelFileError("the models have different resolutions: measure them one by one")
    images = frames_for(first.size, first.fps, clip)
    times = interleaved(
        {json.dumps(key): one.step for key, one in steps.items()}, images, rounds, progress
    )
    found = []
    for key, one in steps.items():
        name, engine, count = key
        found.append(
            _measurement(names[name], name, engine, count, times[json.dumps(key)] * 1000, one.fps)
        )
    after = environment.Snapshot.now()
    fidelity = {} if against is None else _fidelities(names, against, images, long_frames)
    return as_report(
        found,
        fidelity,
        _rehearsals(names, cores, images[:core_frames], report),
        {"clip": clip.name if clip else "drawn figures", "rounds": rounds},
        environment.describe() | environment.as_json(before, after),
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


def _measurement(
    path: Path, name: str, engine: str, threads: int, samples: Samples, fps: float
) -> Measurement:
    file = ModelFile.read(path)
    about = inspect(file)
    return Measurement(
        name,
        engine,
        threads,
        [round(value, 5) for value in samples.tolist()],
        summary(samples),
        start_cost(path, engine, threads),
        len(file.content),
        about.state_bytes,
        sum(about.ops.values()),
        about.partitions,
        dict(about.ops_outside),
        fps,
    )


def start_cost(path: Path, engine: str, threads: int) -> Start:
    """Start a process with a model and return what that took.

    Raises:
        ModelFileError: it cannot.
    """
    command = [sys.executable, "-c", START, str(path), engine, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
        raise ModelFileError(f"{path} does not start on the engine {engine}: {reason}")
    imported, loaded, first, peak = json.loads(done.stdout)
    return Start(imported, loaded, first, int(peak))


def _fidelities(
    names: Mapping[str, Path], against: Path, images: list[Frame], long_frames: int
) -> dict[str, Fidelity]:
    streams = Streams([images], long_frames)
    truth = record(against, streams)
    return {name: compare(path, record(path, streams), truth) for name, path in names.items()}
