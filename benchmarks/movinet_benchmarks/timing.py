"""Time models by turns, and what it costs to start them; here, or on a board over SSH.

This and ``environment.py`` need nothing but the runtime: a board gets them as they are.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks import environment
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import ModelFileError

Frame = NDArray[np.uint8]
Samples = NDArray[np.float64]
Step = Callable[[Frame], object]
Progress = Callable[[int], None]

WARM_UP = 5

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


@dataclass(frozen=True)
class Start:
    """A fresh process: milliseconds to import, to load, for the first frame; bytes at most."""

    import_ms: float
    load_ms: float
    first_ms: float
    peak_bytes: int


@dataclass(frozen=True)
class Timed:
    """One model on one engine with one number of threads."""

    name: str
    engine: str
    threads: int
    samples_ms: list[float]
    start: Start
    fps: float


def time_models(
    models: Mapping[str, Path],
    images: Sequence[Frame],
    rounds: int,
    engines: Sequence[str],
    threads: Sequence[int],
    progress: Progress = lambda n: None,
) -> tuple[list[Timed], dict[str, Any]]:
    """Time every model on every engine and number of threads, in one interleaved run.

    Returns:
        The times, and the machine before and after (:mod:`environment`).
    """
    before = environment.Snapshot.now()
    loaded = {
        (name, engine, count): StreamClassifier(path, count, engine=engine)
        for name, path in models.items()
        for engine in engines
        for count in threads
    }
    steps = {json.dumps(key): one.step for key, one in loaded.items()}
    times = interleaved(steps, images, rounds, progress)
    found = [
        Timed(
            *key,
            [round(1e3 * value, 5) for value in times[json.dumps(key)].tolist()],
            start_cost(models[key[0]], key[1], key[2]),
            one.fps,
        )
        for key, one in loaded.items()
    ]
    after = environment.Snapshot.now()
    return found, environment.describe() | environment.as_json(before, after)


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


def main(folder: str, rounds: str, engines: str, threads: str) -> None:
    """Time every .tflite of a folder over its frames.npy and print JSON; run on a board."""
    models = {path.stem: path for path in sorted(Path(folder).glob("*.tflite"))}
    images = list(np.load(Path(folder) / "frames.npy"))
    counts = [int(count) for count in threads.split(",")]
    found, machine = time_models(models, images, int(rounds), engines.split(","), counts)
    print(json.dumps({"timed": [asdict(one) for one in found], "environment": machine}))


if __name__ == "__main__":
    main(*sys.argv[1:])
