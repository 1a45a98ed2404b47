"""``python -m movinet_benchmarks.process.endure MODEL WARM_UP STEPS``: growth of the memory.

Prints the bytes that resident memory, and its peak, grow by in ``STEPS`` after a warm-up.
"""

import json
import sys

import numpy as np

from movinet_benchmarks.process.memory import peak_bytes, resident_bytes
from movinet_runtime import StreamClassifier


def main(model: str, warm_up: str, steps: str) -> None:
    """Step, look, step on, look again."""
    classifier = StreamClassifier(model, 1)
    frame = np.zeros((*classifier.size, 3), np.uint8)
    for _ in range(int(warm_up)):
        classifier.step(frame)
    resident, peak = resident_bytes(), peak_bytes()
    for _ in range(int(steps)):
        classifier.step(frame)
    print(json.dumps({"resident": resident_bytes() - resident, "peak": peak_bytes() - peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
