"""What one core of this machine can do at most, measured by a small C program (peak.c)."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from movinet_benchmarks.limits.least import Peak
from movinet_benchmarks.process.race import other_bytes
from movinet_runtime.errors import MissingPackageError, UsageError


@dataclass(frozen=True)
class Peaks:
    """Rates of arithmetic, and bandwidths by the number of bytes that are read over and over."""

    float32: float
    int8: float
    bandwidths: dict[int, float]

    def peak(self, working_set: int) -> Peak:
        """Return the peak for a model of so many bytes; memory is the largest size measured."""
        memory = max(self.bandwidths)
        return Peak(self.float32, self.int8, self.bandwidths[working_set], self.bandwidths[memory])


def measured_peaks(working_sets: Sequence[int]) -> Peaks:
    """Measure this machine's peaks.

    Args:
        working_sets: bytes; bandwidth is measured for each of them, and for twice the largest
            cache or four times the largest of them, where caches do not help.

    Raises:
        MissingPackageError: no C compiler.
        UsageError: it does not compile or run here.
    """
    sizes = sorted({*working_sets, max(2 * other_bytes(), *(4 * size for size in working_sets))})
    with tempfile.TemporaryDirectory(prefix="movinet-peak-") as folder:
        program = Path(folder) / "peak"
        with as_file(files("movinet_benchmarks.limits") / "peak.c") as source:
            _run(["cc", "-O2", "-march=native", "-o", str(program), str(source)])
        numbers = [float(line) for line in _run([str(program), *map(str, sizes)]).split()]
    float32, int8, *bandwidths = numbers
    return Peaks(float32, int8, dict(zip(sizes, bandwidths, strict=True)))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MissingPackageError("this machine's peak needs a C compiler: cc") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise UsageError(f"this machine's peak cannot be measured: {reason}")
    return done.stdout
