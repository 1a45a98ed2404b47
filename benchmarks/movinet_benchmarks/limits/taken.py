"""What a step takes: time here, instructions on emulated cores."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from movinet_benchmarks.arm import blocks
from movinet_benchmarks.environment import Snapshot
from movinet_benchmarks.limits import count
from movinet_benchmarks.measure import frames_for
from movinet_benchmarks.process.race import Progress
from movinet_benchmarks.statistics import summary
from movinet_benchmarks.timing import Schedule, time_models
from movinet_runtime import StreamModel

# Which kinds of operators the kinds of loops compute that the emulation tells apart.
LOOPS = {
    blocks.ROWS: (count.DENSE,),
    blocks.VECTOR: (count.GATES, count.HEAD),
    blocks.DEPTHWISE: (count.SPATIAL, count.TEMPORAL),
    blocks.ACTIVATIONS: (count.ACTIVATIONS,),
    blocks.ELEMENTWISE: (count.ELEMENTWISE,),
    blocks.CONVERSIONS: (count.CONVERSIONS,),
    blocks.COPIES: (count.COPIES,),
    blocks.OTHER: (),
}


@dataclass(frozen=True)
class Effort:
    """How often a step is timed; see :class:`movinet_benchmarks.timing.Schedule`."""

    processes: int = 10
    rounds: int = 60
    paced_rounds: int = 8
    pace: float = 5.0


@dataclass(frozen=True)
class Times:
    """A step: milliseconds on one thread, and at a camera's pace; two threads over one.

    ``disturbances`` says why they are doubtful, if they are.
    """

    hot: float
    paced: float
    two_threads: float
    disturbances: tuple[str, ...]


def times(
    path: Path, effort: Effort, before: Snapshot, progress: Progress = lambda n: None
) -> Times:
    """Time a model in fresh processes.

    Alone, so that it has the caches for itself; one and two threads by turns in other processes.

    Args:
        path: a stream model.
        effort: how often.
        before: the machine before the first model, whose timing is a load for the next one.
        progress: called with 1 after each process; there are three times ``effort.processes``.
    """
    model = StreamModel(path)
    frames = frames_for(model.size, model.fps, None)

    disturbances: dict[str, None] = {}

    def medians(schedule: Schedule) -> list[float]:
        timed, machine = time_models({path.stem: path}, frames, schedule, progress, before)
        disturbances.update(dict.fromkeys(machine.disturbances))
        return [summary(one.samples_ms).median for one in timed]

    (hot,) = medians(Schedule(effort.rounds, effort.processes))
    (paced,) = medians(Schedule(effort.paced_rounds, effort.processes, effort.pace))
    one, two = medians(Schedule(effort.rounds, effort.processes, threads=(1, 2)))
    return Times(hot, paced, two / one, tuple(disturbances))


def instructions(
    tasks: Sequence[tuple[Path, str]], progress: Progress = lambda n: None
) -> dict[tuple[Path, str], Mapping[str, int]]:
    """Count the instructions of one frame by the kind of loop, as many at once as cores are here.

    Args:
        tasks: models and names of emulated cores.
        progress: called with 1 after each.
    """

    def one(task: tuple[Path, str]) -> Mapping[str, int]:
        found = blocks.totals(blocks.attributed(*task))
        progress(1)
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(tasks, pool.map(one, tasks), strict=True))
