"""dynamic: convolution weights in int8, one scale per output channel; all else float.

The delegate quantizes a convolution's input when it runs, by the range it finds, and gives
float out again: states stay float, and no range can be outgrown on long streams.
"""

from collections.abc import Callable

import numpy as np

from movinet_convert.graph import Graph, Op
from movinet_convert.quantize.calibration import Moments
from movinet_convert.quantize.rounding import rounded

# The first, narrow convolutions decide the fidelity and hold 0.4 % of the weights: the stem
# alone costs 3 dB of the logits, block 1's projections as much. In float they are also
# faster, since their inputs are the large ones that would have to be quantized in each
# frame (A0: 33.6 instead of 29.4 dB, 0.70 instead of 0.85 of the reference's time).
MIN_WEIGHTS = 3000
# On cores without a dot product int8 saves little arithmetic, and pays only where a weight is
# used once a frame, or where there are many of them (docs/arm.md).
HEAVY_WEIGHTS = 20_000
# Instructions of a Cortex-A76, from layers counted one by one: saved a product by int8 instead of
# half precision, spent to quantize an input, and to make a float of an output.
SAVED_BY_INT8, QUANTIZED, GIVEN_AS_FLOAT = 0.098, 5.9, 8.0


def dynamic(
    graph: Graph,
    moments: Moments | None = None,
    chosen: Callable[[Graph, Op], bool] | None = None,
) -> Graph:
    """Store the weights of wide convolutions in int8.

    Args:
        graph: the float graph.
        moments: second moments of the convolutions' inputs, where calibration knows them;
            without, each weight is rounded to the nearest.
        chosen: which convolutions; default: :func:`is_wide`.
    """
    result = Graph(dict(graph.tensors), list(graph.ops), dict(graph.inputs), dict(graph.outputs))
    for op in graph.ops:
        if (chosen or is_wide)(graph, op):
            known = (moments or {}).get(op.inputs[0])
            result.tensors[op.inputs[1]] = rounded(graph.tensors[op.inputs[1]], known)
    return result


def is_wide(graph: Graph, op: Op) -> bool:
    """Whether an operator is a CONV_2D whose weights are worth int8."""
    return _weights(graph, op) >= MIN_WEIGHTS


def is_heavy(graph: Graph, op: Op) -> bool:
    """Whether an operator is a wide CONV_2D on one pixel (dense layers, gates), or a heavy one."""
    least = MIN_WEIGHTS if graph.shape(op.inputs[0])[1:3] == (1, 1) else HEAVY_WEIGHTS
    return _weights(graph, op) >= least


def is_dense(graph: Graph, op: Op) -> bool:
    """Whether an operator is one of the two dense layers after the last pooling."""
    return op.role == "dense"


def pays_beside_half(graph: Graph, op: Op) -> bool:
    """Whether a CONV_2D of K to N channels takes fewer instructions in int8 than in half
    precision on a Cortex-A76, conversions on both sides included (docs/arm.md)."""
    if _weights(graph, op) < MIN_WEIGHTS:
        return False
    channels, _, _, depth = graph.shape(op.inputs[1])
    return QUANTIZED / channels + GIVEN_AS_FLOAT / depth < SAVED_BY_INT8


def _weights(graph: Graph, op: Op) -> int:
    return int(np.prod(graph.shape(op.inputs[1]))) if op.kind == "CONV_2D" else 0
