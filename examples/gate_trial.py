"""Try the gate on real files: a model against itself, and against one with more work in it.

    python examples/gate_trial.py            # 20 comparisons of each kind, half an hour
    python examples/gate_trial.py 3          # 3 of each

Each comparison is what `movinet bench compare` does. The slower model has the same weights and
gives the same logits; identity convolutions in its graph (real operators, run by the delegate)
cost it about a tenth more time.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from movinet_benchmarks.bench_cli import GATE_PROCESSES, GATE_ROUNDS
from movinet_benchmarks.measure import frames_for
from movinet_benchmarks.statistics import Ratio, ratio
from movinet_benchmarks.timing import Schedule, time_models
from movinet_convert import flatbuffer, stream_graph
from movinet_convert.graph import Graph
from movinet_convert.parameters import random_weights
from movinet_models.family import lookup
from movinet_runtime.quiet import hide_native_messages_at_exit

TRIALS, ALLOWED = 20, 0.05
SCHEDULE = Schedule(GATE_ROUNDS, GATE_PROCESSES)
EXTRA = 3  # identity convolutions


def main(trials: int = TRIALS, schedule: Schedule = SCHEDULE) -> None:
    hide_native_messages_at_exit()
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        spec = lookup("a0-stream")
        graph = stream_graph.build(spec, random_weights(spec, 12))
        plain, slow = Path(folder) / "plain.tflite", Path(folder) / "slow.tflite"
        plain.write_bytes(flatbuffer.serialize(graph, "plain", {}))
        slow.write_bytes(flatbuffer.serialize(slowed(graph, EXTRA), "slow", {}))
        same = [compared(plain, plain, schedule) for _ in range(trials)]
        more = [compared(plain, slow, schedule) for _ in range(trials)]
    alarms = sum(one.slower_than(ALLOWED) for one in same)
    caught = sum(one.slower_than(ALLOWED) for one in more)
    held = sum(one.low <= 1 <= one.high for one in same)
    cost = np.median([one.value for one in more])
    print(f"itself: {alarms} of {trials} called slower (allowed: {ALLOWED:.0%})")
    print(f"itself: {held} of {trials} intervals hold 1")
    print(f"x {cost:.3f}: {caught} of {trials} called slower")
    sys.exit(alarms > 0 or caught < trials - 1)


def compared(base: Path, new: Path, schedule: Schedule) -> Ratio:
    """Compare two files, in fresh processes that load them anew."""
    begin = time.monotonic()
    images = frames_for((172, 172), 5.0, None)
    (one, other), _ = time_models({"base": base, "new": new}, images, schedule)
    found = ratio(one.samples_ms, other.samples_ms, paired=True)
    took = time.monotonic() - begin
    print(f"x {found.value:.3f} [{found.low:.3f}, {found.high:.3f}], {took:.0f} s", flush=True)
    return found


def slowed(graph: Graph, count: int) -> Graph:
    """Put 3x3 depthwise convolutions that change nothing before the first one of the graph."""
    result = Graph(dict(graph.tensors), [], dict(graph.inputs), dict(graph.outputs))
    done = False
    for op in graph.ops:
        if op.kind == "DEPTHWISE_CONV_2D" and not done:
            x, *constants = op.inputs
            channels = graph.shape(x)[3]
            kernel = np.zeros((3, 3, channels, 1), np.float32)
            kernel[1, 1] = 1
            for i in range(count):
                x = result.depthwise(f"identity{i}", x, kernel, np.zeros(channels, np.float32))
            op, done = replace(op, inputs=(x, *constants)), True
        result.ops.append(op)
    return result


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else TRIALS)
