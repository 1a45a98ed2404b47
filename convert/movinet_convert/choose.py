"""``--quantize auto``: the cheapest variant above an SQNR threshold.

For this machine by time, for the core of a board by instructions under emulation.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from movinet_benchmarks.arm.cores import CORES
from movinet_benchmarks.arm.emulate import emulate
from movinet_benchmarks.arm.root import missing_tools
from movinet_benchmarks.measure import frames_for
from movinet_benchmarks.statistics import summary
from movinet_benchmarks.timing import Schedule, time_models
from movinet_convert.export import Exported
from movinet_convert.quantize.calibration import moving_noise
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import MissingPackageError, UsageError

IMAGES, PROCESSES = 8, 6
CORE_FRAMES = 3  # counts repeat to 0.01 %
HERE = {"x86-64": ("x86_64", "amd64")}  # names of machines whose time is measured, not counted


@dataclass(frozen=True)
class Candidate:
    """A variant's cost and fidelity; the worse of short and long streams counts.

    ``cost`` is milliseconds a step, or million instructions a frame on a core.
    """

    exported: Exported
    cost: float
    sqnr_db: float | None  # None: float32, the reference itself

    def meets(self, min_sqnr: float) -> bool:
        """Whether it is above the SQNR threshold."""
        return self.sqnr_db is None or self.sqnr_db >= min_sqnr  # NaN is not


def check_target(target: str | None) -> None:
    """Refuse targets that cannot be measured from this machine.

    Raises:
        UsageError: an unknown one, or another machine's.
        MissingPackageError: a core without the programs that emulate it.
    """
    if target is None:
        return
    if target in CORES:
        if missing := missing_tools(CORES[target].machine):
            raise MissingPackageError(f"--target {target} needs {', '.join(missing)}")
    elif target not in HERE:
        raise UsageError(f"no target '{target}'; there are {', '.join((*HERE, *CORES))}")
    elif platform.machine().lower() not in HERE[target]:
        raise UsageError(f"{target} cannot be timed on this machine ({platform.machine()})")


def unit(target: str | None) -> str:
    """Name what costs are counted in."""
    return "M instr." if target in CORES else "step ms"


def candidates(done: Sequence[Exported], target: str | None = None) -> list[Candidate]:
    """Measure exported stream models for a target (None: here); the cheapest first."""
    costs = _counted(done, target) if target in CORES else _timed(done)
    found = [
        Candidate(
            one,
            costs[one.variant],
            None if one.fidelity is None else one.fidelity.worst_sqnr_db,
        )
        for one in done
    ]
    return sorted(found, key=lambda candidate: candidate.cost)


def _timed(done: Sequence[Exported]) -> dict[str, float]:
    """Milliseconds a step, one thread; by turns in fresh processes, whose luck differs."""
    images = list(moving_noise(StreamClassifier(done[0].path).size, IMAGES))
    models = {one.variant: one.path for one in done}
    timed, _ = time_models(models, images, Schedule(processes=PROCESSES))
    return {one.name: summary(one.samples_ms).median for one in timed}


def _counted(done: Sequence[Exported], target: str) -> dict[str, float]:
    """Million instructions a frame."""
    first = StreamClassifier(done[0].path, threads=1)
    images = frames_for(first.size, first.fps, None, CORE_FRAMES)
    found = emulate([one.path for one in done], [CORES[target]], images)
    return {one.variant: found[one.path, target].instructions / 1e6 for one in done}
