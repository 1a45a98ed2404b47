"""float16: weights in half precision, for files of half the size.

Kernels compute in float32, except on cores with half-precision arithmetic if the file
allows it (``REDUCED_PRECISION``): there it is the fastest variant that is true.
"""

from dataclasses import replace

import numpy as np

from movinet_convert.graph import Graph, Op

# A metadata entry that XNNPACK reads: half-precision inputs and accumulators are welcome.
REDUCED_PRECISION = {"reduced_precision_support": b"fp16accfp16"}
# Fewer values than this are not worth an operator: scales, frequencies, axes.
MIN_VALUES = 64


def half(graph: Graph) -> Graph:
    """Store float constants in half precision, each behind a DEQUANTIZE.

    The delegate takes such a pair as one constant, but not as the bias of a convolution
    with int8 weights.
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
        stored = f"{name}/half"
        result.constant(stored, tensor.data.astype(np.float16))
        result.tensors[name] = replace(tensor, data=None)
        result.ops.append(Op("DEQUANTIZE", (stored,), (name,)))
    result.ops += graph.ops
    return result
