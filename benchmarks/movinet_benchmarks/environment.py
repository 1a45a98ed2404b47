"""The machine that a measurement was made on, and whether it was left in peace."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("movinet-runtime", "ai-edge-litert", "tflite-runtime", "numpy")
CPU_FOLDER = Path("/sys/devices/system/cpu")
THERMAL_FOLDER = Path("/sys/class/thermal")
# Above these a run is marked: another program's share of the machine, and stolen time.
BUSY, STOLEN = 0.5, 0.05
SLOWER_CLOCK = 0.9
# Bits of the firmware's answer: undervoltage, capped, throttled or hot, now and since boot.
NOW, SINCE_BOOT = 0xF, 0xF0000
TOOL_SECONDS = 5


@dataclass(frozen=True)
class Snapshot:
    """What changes while a measurement runs; None where the system does not tell.

    Attributes:
        time: seconds since 1970.
        load: programs that want a core, mean of a minute.
        celsius: of the hottest sensor.
        throttled: by a Raspberry Pi's firmware, now.
        was_throttled: by it, at some time since boot.
        throttle_events: times that the processor's cores throttled themselves since boot.
        stolen: seconds that a hypervisor gave to others, since boot.
        megahertz: of the first core.
    """

    time: float
    load: float | None
    celsius: float | None
    throttled: bool | None
    was_throttled: bool | None
    throttle_events: int | None
    stolen: float | None
    megahertz: float | None

    @classmethod
    def now(cls) -> "Snapshot":
        """Look at the machine."""
        flags = _firmware_flags()
        return cls(
            time=time.time(),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            celsius=_temperature(),
            throttled=None if flags is None else bool(flags & NOW),
            was_throttled=None if flags is None else bool(flags & SINCE_BOOT),
            throttle_events=_throttle_events(),
            stolen=_stolen(),
            megahertz=_frequency(),
        )


@dataclass(frozen=True)
class Environment:
    """The machine, how it looked from before the measurement to after it, and what that says."""

    machine: str
    cpu: str
    cores: int | None
    governor: str | None
    system: str
    python: str
    packages: dict[str, str]
    looks: list[Snapshot]
    disturbances: list[str]

    @classmethod
    def of(cls, looks: Sequence[Snapshot] = (), steady: bool = True) -> "Environment":
        """Describe this machine, with looks at it in the order of time; see disturbances."""
        return cls(
            machine=platform.machine(),
            cpu=_cpu_model(),
            cores=os.cpu_count(),
            governor=_read(CPU_FOLDER / "cpu0/cpufreq/scaling_governor"),
            system=platform.platform(),
            python=platform.python_version(),
            packages={name: found for name in PACKAGES if (found := _version(name))},
            looks=list(looks),
            disturbances=disturbances(looks, steady),
        )


def disturbances(looks: Sequence[Snapshot], steady: bool = True) -> list[str]:
    """Name what makes a measurement doubtful, from looks before, during and after it.

    Args:
        looks: in the order of time.
        steady: the processor was kept busy, so that its clock had no reason to fall.
    """
    if not looks:
        return []
    before, after = looks[0], looks[-1]
    found = []
    cores = os.cpu_count() or 1
    if before.load is not None and before.load > BUSY * cores:
        found.append(f"the machine was busy before it began (load {before.load:.1f})")
    if before.stolen is not None and after.stolen is not None:
        share = (after.stolen - before.stolen) / max(1e-9, after.time - before.time) / cores
        if share > STOLEN:
            found.append(f"the hypervisor gave {share:.0%} of the time to others")
    if _was_throttled(looks):
        found.append("the firmware throttled the processor")
    if before.throttle_events is not None and after.throttle_events is not None:
        events = after.throttle_events - before.throttle_events
        if events > 0:
            found.append(f"the processor throttled itself {events} times")
    slowest = min((look.megahertz for look in looks if look.megahertz), default=None)
    if steady and before.megahertz and slowest and slowest < SLOWER_CLOCK * before.megahertz:
        found.append(f"the clock fell from {before.megahertz:.0f} to {slowest:.0f} MHz")
    return found


def _was_throttled(looks: Sequence[Snapshot]) -> bool:
    """At a look, or between two: the firmware remembers, so what it did not know before is new."""
    new = looks[-1].was_throttled and looks[0].was_throttled is False
    return bool(new) or any(look.throttled for look in looks)


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


def _firmware_flags() -> int | None:
    tool = shutil.which("vcgencmd")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, "get_throttled"], capture_output=True, text=True, timeout=TOOL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    _, _, flags = done.stdout.strip().partition("=")
    try:
        return int(flags, 16)
    except ValueError:
        return None


def _throttle_events() -> int | None:
    texts = [_read(path) for path in CPU_FOLDER.glob("cpu*/thermal_throttle/core_throttle_count")]
    values = [int(text) for text in texts if text and text.isdigit()]
    return sum(values) if values else None


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
