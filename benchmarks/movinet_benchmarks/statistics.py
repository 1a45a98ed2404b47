"""What many measurements of the same thing say, and what two of them say about each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
# Neighbouring measurements are disturbed together, so blocks of them are drawn.
BLOCK = 8


@dataclass(frozen=True)
class Summary:
    """Statistics of a duration, in its own unit; the names are those of benchmark_model.

    ``avg_low`` and ``avg_high`` bound the mean at 95 % (bootstrap over blocks).
    """

    count: int
    first: float
    min: float
    max: float
    avg: float
    avg_low: float
    avg_high: float
    std: float
    median: float
    p5: float
    p95: float
    p99: float


def summary(samples: Samples) -> Summary:
    """Summarize durations in the order in which they were measured."""
    p5, median, p95, p99 = np.percentile(samples, (5, 50, 95, 99)).tolist()
    low, high = interval(np.mean, samples)
    return Summary(
        len(samples),
        float(samples[0]),
        float(samples.min()),
        float(samples.max()),
        float(samples.mean()),
        low,
        high,
        float(samples.std()),
        median,
        p5,
        p95,
        p99,
    )


@dataclass(frozen=True)
class Ratio:
    """How many times as long the new one takes, bounded at 95 %."""

    value: float
    low: float
    high: float

    def slower_than(self, share: float) -> bool:
        """Whether even the lower bound is beyond an allowed share."""
        return self.low > 1 + share

    def faster_than(self, share: float) -> bool:
        """Whether even the upper bound is beyond a share."""
        return self.high < 1 - share


def ratio(base: Samples, new: Samples, paired: bool, seed: int = 0) -> Ratio:
    """Compare medians by a bootstrap over blocks.

    Args:
        base, new: durations in the order of measurement.
        paired: they were measured by turns; the same blocks are drawn from both, so that
            what disturbed both alike falls out.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    if paired:
        count = min(len(base), len(new))
        base, new = base[:count], new[:count]
    first = _draws(len(base), rng)
    second = first if paired else _draws(len(new), rng)
    ratios = np.median(new[second], axis=1) / np.median(base[first], axis=1)
    low, high = np.percentile(ratios, (50 * (1 - LEVEL), 50 * (1 + LEVEL))).tolist()
    return Ratio(float(np.median(new) / np.median(base)), low, high)


def interval(statistic: object, samples: Samples, seed: int = 0) -> tuple[float, float]:
    """Bound a statistic (a NumPy reduction with ``axis``) at 95 %."""
    drawn = samples[_draws(len(samples), np.random.default_rng(seed))]
    values = statistic(drawn, axis=1)  # type: ignore[operator]
    low, high = np.percentile(values, (50 * (1 - LEVEL), 50 * (1 + LEVEL))).tolist()
    return low, high


def _draws(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices [resamples, about count] of blocks drawn with replacement."""
    block = max(1, min(BLOCK, count // 8))
    starts = rng.integers(0, count - block + 1, (RESAMPLES, -(-count // block)))
    return (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)
