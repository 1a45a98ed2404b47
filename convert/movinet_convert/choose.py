"""``--quantize auto``: the fastest variant that is true enough, by measurement here."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from movinet_benchmarks.measure import interleaved
from movinet_convert.export import Exported
from movinet_convert.quantize.calibration import moving_noise
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import UsageError

ROUNDS = 60
# What --target may name, by the machine on which it can be measured.
TARGETS = {"x86-64": ("x86_64", "amd64"), "cortex-a72": (), "cortex-a76": ()}


@dataclass(frozen=True)
class Candidate:
    """A variant's cost and fidelity; the worse of short and long streams counts."""

    exported: Exported
    step_ms: float
    sqnr_db: float | None  # None: float32, the reference itself

    def meets(self, min_sqnr: float) -> bool:
        """Whether it is as true as asked for."""
        return self.sqnr_db is None or self.sqnr_db >= min_sqnr


def check_target(target: str | None) -> None:
    """Refuse targets that cannot be measured on this machine.

    Raises:
        UsageError: an unknown core, or not this machine's.
    """
    if target is None:
        return
    if target not in TARGETS:
        raise UsageError(f"no target '{target}'; there are {', '.join(TARGETS)}")
    if platform.machine().lower() not in TARGETS[target]:
        raise UsageError(
            f"{target} cannot be measured on this machine ({platform.machine()}): "
            "run the export on it, or choose a variant by docs/quantization.md"
        )


def candidates(done: Sequence[Exported]) -> list[Candidate]:
    """Time the steps of exported stream models, interleaved, one thread; fastest first."""
    models = {one.variant: StreamClassifier(one.path, threads=1) for one in done}
    images = list(moving_noise(next(iter(models.values())).size, 8))
    times = interleaved({name: model.step for name, model in models.items()}, images, ROUNDS)
    found = [
        Candidate(
            one,
            float(np.median(times[one.variant])) * 1e3,
            None
            if one.fidelity is None
            else min(one.fidelity.short.sqnr_db, one.fidelity.long.sqnr_db),
        )
        for one in done
    ]
    return sorted(found, key=lambda candidate: candidate.step_ms)
