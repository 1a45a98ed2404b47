"""What measurements in several processes say, and what two sets of them say about each other.

The statistical unit is the process: where a model's memory comes to lie is decided when it is
loaded, is worth some percent of a step, and cannot be averaged out by more steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import UsageError

# Of each process, its samples in the order in which they were measured.
Processes = Sequence[Sequence[float]]
Array = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
NORMAL = 1.959964  # standard deviations that hold LEVEL of a normal distribution
# Neighbouring measurements are disturbed together, so blocks of them are drawn.
BLOCK = 8
# Fewer say nothing about the scatter from load to load.
MIN_PROCESSES = 3
# Left out at each end of the processes: where another program took the core for most of a
# process, its median is no matter of the load's luck (seen: 0.6 and 1.8 times the others').
TRIMMED = 0.3


@dataclass(frozen=True)
class Summary:
    """Statistics of a duration, in its own unit; the names are those of benchmark_model.

    ``median`` is the geometric mean of the processes' medians, without three tenths of them at
    either end; ``median_low`` and ``median_high`` bound it at 95 %, None where the processes
    are too few to tell. The others are of all samples together, ``first`` of the first process.
    """

    count: int
    first: float
    min: float
    max: float
    avg: float
    std: float
    median: float
    median_low: float | None
    median_high: float | None
    p5: float
    p95: float
    p99: float


def summary(processes: Processes) -> Summary:
    """Summarize durations.

    Raises:
        UsageError: no samples, or one that is no positive number.
    """
    table = _table(processes)
    p5, p95, p99 = np.percentile(table, (5, 95, 99)).tolist()
    level = _level(_log_medians(table))
    bounds: tuple[float | None, float | None] = (None, None)
    if len(table) >= MIN_PROCESSES:
        drawn = _Draw.of(table, np.random.default_rng(0)).log_medians(table)
        bounds = _interval(float(level), _level(drawn), len(table))
    return Summary(
        count=table.size,
        first=float(table[0, 0]),
        min=float(table.min()),
        max=float(table.max()),
        avg=float(table.mean()),
        std=float(table.std()),
        median=math.exp(level),
        median_low=bounds[0],
        median_high=bounds[1],
        p5=p5,
        p95=p95,
        p99=p99,
    )


@dataclass(frozen=True)
class Ratio:
    """How many times as long the new one takes, bounded at 95 %."""

    value: float
    low: float
    high: float

    def slower_than(self, share: float) -> bool:
        """Whether even the lower bound is beyond an allowed share; true of what is no number."""
        return not self.low <= 1 + share

    def faster_than(self, share: float) -> bool:
        """Whether even the upper bound is beyond a share."""
        return self.high < 1 - share


def ratio(base: Processes, new: Processes, paired: bool, seed: int = 0) -> Ratio:
    """Compare medians by a bootstrap over processes, and over blocks of steps in each.

    Args:
        base, new: durations.
        paired: both were measured in the same processes, by turns; the same processes and
            blocks are drawn from both, so that what disturbed both alike falls out.
        seed: of the bootstrap.

    Raises:
        UsageError: fewer than ``MIN_PROCESSES`` of either, or a sample that is no positive
            number.
    """
    before, after = _table(base), _table(new)
    if paired:
        processes, count = np.minimum(before.shape, after.shape)
        before, after = before[:processes, :count], after[:processes, :count]
    fewest = min(len(before), len(after))
    if fewest < MIN_PROCESSES:
        raise UsageError(
            f"times of {fewest} process{'es' * (fewest > 1)} cannot be compared, {MIN_PROCESSES} "
            "or more can: measure with more --processes, or compare with --no-times"
        )
    rng = np.random.default_rng(seed)
    first = _Draw.of(before, rng)
    second = first if paired else _Draw.of(after, rng)
    value = _difference(_log_medians(before), _log_medians(after), paired)
    drawn = _difference(first.log_medians(before), second.log_medians(after), paired)
    low, high = _interval(float(value), drawn, fewest)
    return Ratio(math.exp(value), low, high)


def student(freedom: int) -> float:
    """The quantile of Student's distribution that bounds ``LEVEL`` of it.

    An expansion around the normal's (Abramowitz and Stegun 26.7.5), right to 0.8 % from
    three degrees of freedom on and to 3.2 % for two.
    """
    z, n = NORMAL, freedom
    terms = (
        z,
        (z**3 + z) / 4 / n,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96 / n**2,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / n**3,
    )
    return sum(terms)


def _table(processes: Processes) -> Array:
    """Return the samples as [processes, steps], cut to the shortest process."""
    count = min((len(one) for one in processes), default=0)
    if not count:
        raise UsageError("a measurement without samples says nothing")
    table = np.array([one[:count] for one in processes], np.float64)
    if not (np.isfinite(table) & (table > 0)).all():
        raise UsageError("durations are positive numbers")
    return table


def _log_medians(table: Array) -> Array:
    return np.asarray(np.log(np.median(table, axis=-1)))


def _difference(before: Array, after: Array, paired: bool) -> Array:
    """Of pairs, what differs in each process; else of two levels."""
    return _level(after - before) if paired else _level(after) - _level(before)


def _level(logs: Array) -> Array:
    """The mean over processes (the last axis), trimmed."""
    count = logs.shape[-1]
    left_out = int(TRIMMED * count)
    return np.asarray(np.sort(logs, axis=-1)[..., left_out : count - left_out].mean(axis=-1))


@dataclass(frozen=True)
class _Draw:
    """Processes drawn with replacement, and in each of them blocks of its steps."""

    processes: NDArray[np.int64]  # [resamples, processes]
    steps: NDArray[np.int64]  # [resamples, processes, about as many steps]

    @classmethod
    def of(cls, table: Array, rng: np.random.Generator) -> "_Draw":
        processes, count = table.shape
        block = max(1, min(BLOCK, count // 8))
        shape = (RESAMPLES, processes, -(-count // block))
        starts = rng.integers(0, count - block + 1, shape)
        steps = (starts[..., None] + np.arange(block)).reshape(*shape[:2], -1)
        return cls(rng.integers(0, processes, shape[:2]), steps)

    def log_medians(self, table: Array) -> Array:
        """Return those of each process of each resample."""
        return _log_medians(table[self.processes[..., None], self.steps])


def _interval(value: float, drawn: Array, processes: int) -> tuple[float, float]:
    """Bound exp(value) by percentiles of resamples, stretched for few processes.

    A bootstrap over n draws from a distribution that is narrower by (n - 1) / n, and takes it
    for the true one; Student's quantile makes up for both (Hesterberg 2015, "What teachers
    should know about the bootstrap": the expanded percentile interval).
    """
    stretch = student(processes - 1) / NORMAL * math.sqrt(processes / (processes - 1))
    low, high = np.percentile(drawn, (50 * (1 - LEVEL), 50 * (1 + LEVEL))).tolist()
    return math.exp(value + stretch * (low - value)), math.exp(value + stretch * (high - value))
