"""The memory of this process, as Linux counts it.

Not ``ru_maxrss``: a child's begins with its parent's peak, so that it cannot show what a
smaller child does.
"""

import re
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Return what is in memory now; 0 where the system does not tell."""
    return _field("VmRSS")


def peak_bytes() -> int:
    """Return the most that was ever in memory; 0 where the system does not tell."""
    return _field("VmHWM")


def _field(name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
