"""``python -m movinet_benchmarks.process.start MODEL ENGINE THREADS``: the cost of a start.

Prints milliseconds to import, to load and for the first frame, and the peak of the memory.
"""

import json
import sys
import time

from movinet_benchmarks.process.memory import peak_bytes

MORE_STEPS = 8


def main(model: str, engine: str, threads: str) -> None:
    """Start as a program would that needs nothing but this model."""
    begin = time.perf_counter()
    import numpy as np

    from movinet_runtime import StreamClassifier

    imported = time.perf_counter()
    classifier = StreamClassifier(model, int(threads), engine=engine)
    loaded = time.perf_counter()
    frame = np.zeros((*classifier.size, 3), np.uint8)
    classifier.step(frame)
    first = time.perf_counter()
    for _ in range(MORE_STEPS):
        classifier.step(frame)
    times = {
        "import_ms": imported - begin,
        "load_ms": loaded - imported,
        "first_ms": first - loaded,
    }
    found: dict[str, float] = {name: 1e3 * value for name, value in times.items()}
    print(json.dumps(found | {"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
