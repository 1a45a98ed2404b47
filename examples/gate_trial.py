"""Try the gate on real files: a model against itself, and against one with more work in it.

    python examples/gate_trial.py            # 20 comparisons of each kind, some minutes

The slower model has the same weights and gives the same logits; identity convolutions in its
graph (real operators, run by the delegate) cost it about a tenth more time.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from movinet_benchmarks.measure import frames_for
from movinet_benchmarks.statistics import Ratio, ratio
from movinet_benchmarks.timing import interleaved
from movinet_convert import flatbuffer, stream_graph
from movinet_convert.graph import Graph
from movinet_convert.parameters import random_weights
from movinet_models.family import lookup
from movinet_runtime import StreamClassifier
from movinet_runtime.quiet import hide_native_messages_at_exit

TRIALS, ROUNDS, ALLOWED = 20, 300, 0.05
EXTRA = 3  # identity convolutions


def main() -> None:
    hide_native_messages_at_exit()
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        spec = lookup("a0-stream")
        graph = stream_graph.build(spec, random_weights(spec, 12))
        plain, slow = Path(folder) / "plain.tflite", Path(folder) / "slow.tflite"
        plain.write_bytes(flatbuffer.serialize(graph, "plain", {}))
        slow.write_bytes(flatbuffer.serialize(slowed(graph, EXTRA), "slow", {}))
        same = trials(plain, plain)
        more = trials(plain, slow)
    alarms = sum(one.slower_than(ALLOWED) for one in same)
    caught = sum(one.slower_than(ALLOWED) for one in more)
    cost = np.median([one.value for one in more])
    print(f"itself: {alarms} of {TRIALS} called slower (allowed: {ALLOWED:.0%})")
    print(f"x {cost:.3f}: {caught} of {TRIALS} called slower")
    sys.exit(alarms > 0 or caught < TRIALS - 1)


def trials(base: Path, new: Path) -> list[Ratio]:
    """Compare two files again and again, each time with freshly loaded models."""
    found = []
    for i in range(TRIALS):
        models = {name: StreamClassifier(p, 1) for name, p in (("base", base), ("new", new))}
        images = frames_for(models["base"].size, models["base"].fps, None)
        times = interleaved({name: one.step for name, one in models.items()}, images, ROUNDS)
        one = ratio(times["base"], times["new"], paired=True)
        print(f"{i + 1:3} x {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]", flush=True)
        found.append(one)
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
    main()
