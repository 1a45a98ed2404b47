"""The machine that a measurement was made on, and whether it was left in peace."""

import os
import platform
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("movinet-runtime", "ai-edge-litert", "tflite-runtime", "numpy")
CPU_FOLDER = Path("/sys/devices/system/cpu")
THERMAL_FOLDER = Path("/sys/class/thermal")
# Above these a run is marked: another program's share of the machine, and stolen time.
BUSY, STOLEN = 0.5, 0.05


@dataclass(frozen=True)
class Snapshot:
    """What changes while a measurement runs; None where the system does not tell."""

    time: float
    load: float | None  # programs that want a core, mean of a minute
    celsius: float | None
    throttled: bool | None  # by a Raspberry Pi's firmware, now
    stolen: float | None  # seconds that a hypervisor gave to others, since boot
    megahertz: float | None

    @classmethod
    def now(cls) -> "Snapshot":
        """Look at the machine."""
        return cls(
            time.time(),
            os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            _temperature(),
            _throttled(),
            _stolen(),
            _frequency(),
        )


def describe() -> dict[str, Any]:
    """Return what stays the same: processor, system, versions."""
    return {
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "governor": _read(CPU_FOLDER / "cpu0/cpufreq/scaling_governor"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def disturbances(before: Snapshot, after: Snapshot) -> list[str]:
    """Name what makes the measurement between two looks doubtful."""
    found = []
    cores = os.cpu_count() or 1
    if before.load is not None and before.load > BUSY * cores:
        found.append(f"the machine was busy before it began (load {before.load:.1f})")
    if before.stolen is not None and after.stolen is not None:
        share = (after.stolen - before.stolen) / max(1e-9, after.time - before.time) / cores
        if share > STOLEN:
            found.append(f"the hypervisor gave {share:.0%} of the time to others")
    if before.throttled or after.throttled:
        found.append("the firmware throttled the processor")
    slower = before.megahertz and after.megahertz and after.megahertz < 0.9 * before.megahertz
    if slower:
        found.append(f"the clock fell from {before.megahertz:.0f} to {after.megahertz:.0f} MHz")
    return found


def as_json(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Return both looks and what they say."""
    return {
        "before": asdict(before),
        "after": asdict(after),
        "disturbances": disturbances(before, after),
    }


def _cpu_model() -> str:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _temperature() -> float | None:
    found = [_read(path) for path in THERMAL_FOLDER.glob("thermal_zone*/temp")]
    values = [int(text) / 1000 for text in found if text and text.lstrip("-").isdigit()]
    return max(values) if values else None


def _frequency() -> float | None:
    text = _read(CPU_FOLDER / "cpu0/cpufreq/scaling_cur_freq")
    return int(text) / 1000 if text and text.isdigit() else None


def _throttled() -> bool | None:
    tool = shutil.which("vcgencmd")
    if tool is None:
        return None
    done = subprocess.run([tool, "get_throttled"], capture_output=True, text=True)
    _, _, flags = done.stdout.strip().partition("=")
    return bool(int(flags, 16) & 0xF) if flags.startswith("0x") else None


def _stolen() -> float | None:
    first = (_read(Path("/proc/stat")) or "").partition("\n")[0].split()
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    return int(first[8]) / ticks if len(first) > 8 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
