"""``python -m movinet_benchmarks.process.conditions MODEL ENGINE THREADS ROUNDS FRAMES``

What a camera's pace costs, taken apart: the same steps with caches warm or cold, the core awake
or having slept, by turns in one fresh process. Times and counts go out as JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from movinet_benchmarks.process.race import WARM_UP, Frame, Step, other_bytes, step_of
from movinet_runtime import StreamModel
from movinet_runtime.errors import MovinetError

SLEEP = 0.2  # seconds: five frames a second
# Name -> (whether other memory is touched before a step, whether the core sleeps).
CONDITIONS = {
    "hot": (False, False),
    "cold caches": (True, False),
    "slept": (False, True),
    "camera": (True, True),
}


def measured(step: Step, images: Sequence[Frame], rounds: int) -> dict[str, dict[str, Any]]:
    """Time steps under each condition by turns.

    A hot step follows another one at once; what is not touched before a step that slept is only
    what others on the machine leave in the caches.

    Returns:
        By condition: ``ms`` of each step, and ``faults`` and ``switches``: pages that were mapped
        and times that a thread of the process had to wait, a step, over all of them.
    """
    for image in images[:WARM_UP]:
        step(image)
    found: dict[str, dict[str, Any]] = {
        name: {"ms": [], "faults": 0, "switches": 0} for name in CONDITIONS
    }
    other, names = np.zeros(other_bytes() // 8, np.int64), list(CONDITIONS)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            image = images[i % len(images)].copy()
            touched, slept = CONDITIONS[name]
            if touched:
                np.add(other, 1, out=other)
            elif not slept:
                step(image)
            if slept:
                time.sleep(SLEEP)
            before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            step(image)
            seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
            one = found[name]
            one["ms"].append(round(1e3 * seconds, 5))
            one["faults"] += after.ru_minflt - before.ru_minflt
            one["switches"] += after.ru_nvcsw - before.ru_nvcsw
    for one in found.values():
        one["faults"] /= rounds
        one["switches"] /= rounds
    return found


def main(path: str, engine: str, threads: str, rounds: str, frames: str) -> None:
    """Load a model and print what its steps take."""
    images = list(np.load(frames))
    model = StreamModel(path, int(threads), engine=engine)
    print(json.dumps(measured(step_of(model), images, int(rounds))))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except MovinetError as error:
        raise SystemExit(str(error)) from None
