"""float16: weights in half precision, for files of half the size.

Kernels compute in float32, except on cores with half-precision arithmetic if the file
allows it (``REDUCED_PRECISION``): there it is the fastest variant that is true.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from movinet_convert.graph import Graph, Op, Tensor
from movinet_models.errors import WeightsError

# A metadata entry that XNNPACK reads: half-precision inputs and accumulators are welcome.
REDUCED_PRECISION = {"reduced_precision_support": b"fp16accfp16"}
# Fewer values than this are not worth an operator: scales, frequencies, axes.
MIN_VALUES = 64
LARGEST = float(np.finfo(np.float16).max)


def half(graph: Graph) -> Graph:
    """Store float constants in half precision, each behind a DEQUANTIZE.

    The delegate takes such a pair as one constant, but not as the bias of a convolution
    with int8 weights.

    Raises:
        WeightsError: a value beyond 65,504, which would become infinite.
    """
    result = Graph(dict(graph.tensors), [], dict(graph.inputs), dict(graph.outputs))
    biases = {
        op.inputs[2]
        for op in graph.ops
        if op.kind == "CONV_2D" and graph.tensors[op.inputs[1]].dtype == np.int8
    }
    for name, tensor in graph.tensors.items():
        if tensor.data is None or tensor.dtype != np.float32 or tensor.data.size < MIN_VALUES:
            continue
        if name in biases:
            continue
        stored = result.constant(f"{name}/half", as_half(tensor))
        result.tensors[name] = replace(tensor, data=None)
        result.ops.append(Op("DEQUANTIZE", (stored,), (name,)))
    result.ops += graph.ops
    return result


def as_half(tensor: Tensor) -> NDArray[np.float16]:
    """Return a constant's values in half precision.

    Raises:
        WeightsError: one beyond 65,504, which would become infinite.
    """
    if tensor.data is None:
        raise ValueError(f"{tensor.name} is no constant")
    if not (np.abs(tensor.data).max(initial=0) <= LARGEST):
        raise WeightsError(
            f"{tensor.name} holds {np.abs(tensor.data).max():g}, more than half precision can "
            f"({LARGEST:g}): export float32, dynamic or int8"
        )
    return tensor.data.astype(np.float16)
