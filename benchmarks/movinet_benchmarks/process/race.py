"""``python -m movinet_benchmarks.process.race``: models timed by turns in one fresh process.

What to do comes as JSON on standard input, and the times go out as JSON:

    {"contenders": [[path, engine, threads], ...], "frames": path of a .npy, "rounds": 60,
     "pace": frames a second or null, "turn": which is loaded first}
"""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.environment import CPU_FOLDER, Snapshot
from movinet_runtime import StreamModel, step_together
from movinet_runtime.errors import MovinetError

Frame = NDArray[np.uint8]
Samples = NDArray[np.float64]
Step = Callable[[Frame], object]
Progress = Callable[[int], None]

WARM_UP = 5
# Other memory that is touched at a camera's pace: twice the largest cache, within limits.
LEAST_OTHER, MOST_OTHER = 16 << 20, 128 << 20
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Pace:
    """Lets steps wait for their frame, as a camera does: caches are cold, the core has slept.

    Args:
        seconds: from one step to the next.
        other_bytes: of memory that is read and written before each of them.
        clock, sleep: of the time module, or a test's.

    Attributes:
        touched: bytes so far.
    """

    def __init__(
        self,
        seconds: float,
        other_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._clock, self._sleep = seconds, clock, sleep
        self._other = np.zeros(other_bytes // 8, np.int64)
        self._due = clock()
        self.touched = 0

    def wait(self) -> None:
        """Touch other memory and sleep until the next frame; a frame that is over is missed."""
        np.add(self._other, 1, out=self._other)
        self.touched += self._other.nbytes
        now = self._clock()
        self._due += self._seconds
        if self._due > now:
            self._sleep(self._due - now)
        else:
            self._due = now


def other_bytes(folder: Path = CPU_FOLDER) -> int:
    """Return how much memory throws everything else out of this machine's caches."""
    sizes = []
    for path in folder.glob("cpu0/cache/index*/size"):
        found = re.fullmatch(r"(\d+)([KMG])", path.read_text().strip())
        if found:
            sizes.append(int(found[1]) * UNITS[found[2]])
    return min(MOST_OTHER, max([LEAST_OTHER, *(2 * size for size in sizes)]))


def interleaved(
    steps: Mapping[str, Step],
    images: Sequence[Frame],
    rounds: int,
    progress: Progress = lambda n: None,
    pace: float | None = None,
) -> dict[str, Samples]:
    """Time every step once a round, so that a noisy machine hits all alike; seconds.

    The order turns from round to round: who comes first finds other caches. A frame is
    copied just before: one that was decoded a moment ago is in the caches.

    Args:
        steps: from a frame to anything.
        images: frames, used again and again.
        rounds: timed steps of each.
        progress: called with 1 after each round.
        pace: frames a second that each step gets; None: one step right after the other.
    """
    for step in steps.values():
        for image in images[:WARM_UP]:
            step(image)
    wait: Callable[[], None] = lambda: None  # noqa: E731
    if pace is not None:
        wait = Pace(1 / pace / len(steps), other_bytes()).wait
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            wait()
            image = images[i % len(images)].copy()
            start = time.perf_counter()
            steps[name](image)
            times[name].append(time.perf_counter() - start)
        progress(1)
    return {name: np.array(values) for name, values in times.items()}


def race(
    contenders: Sequence[tuple[str, str, int]],
    frames: str,
    rounds: int,
    pace: float | None,
    turn: int,
) -> dict[str, Any]:
    """Load models, time them by turns, and look at the machine before and after.

    Args:
        contenders: model, engine and threads of each.
        frames: uint8 [n, h, w, 3] in a .npy.
        rounds: timed steps of each.
        pace: frames a second, or None.
        turn: number of the process. Who is loaded first has its choice of the memory, so
            that changes from process to process.
    """
    looks = [Snapshot.now()]
    first = turn % len(contenders)
    order = [*range(first, len(contenders)), *range(first)]
    loaded = {}
    for i in order:
        model, engine, threads = contenders[i]
        loaded[str(i)] = StreamModel(model, threads, engine=engine)
    steps = {name: step_of(one) for name, one in loaded.items()}
    times = interleaved(steps, list(np.load(frames)), rounds, pace=pace)
    looks.append(Snapshot.now())
    return {
        "samples_ms": [
            [round(1e3 * value, 5) for value in times[str(i)].tolist()]
            for i in range(len(contenders))
        ],
        "fps": [loaded[str(i)].fps for i in range(len(contenders))],
        "looks": [asdict(look) for look in looks],
    }


def step_of(model: StreamModel) -> Step:
    """Return what runs a frame in each stream that a model has in a step, of one or of several."""
    streams = [model.stream() for _ in range(model.streams)]
    if len(streams) == 1:
        return streams[0].step
    return lambda image: step_together(dict.fromkeys(streams, image))


if __name__ == "__main__":
    try:
        print(json.dumps(race(**json.load(sys.stdin))))
    except MovinetError as error:
        raise SystemExit(str(error)) from None
