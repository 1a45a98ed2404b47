"""half: activations, weights and stream buffers in half precision, natively.

A core with half-precision arithmetic (Cortex-A76, Raspberry Pi 5) computes in it what the file
says is in it: nothing has to be rewritten when the model is loaded, and an int8 convolution in
between changes nothing behind it, where it makes float32 of all that follows if the delegate is
to find out by itself (docs/arm.md). QUANTIZE converts, since the delegate takes no CAST.

    image -> QUANTIZE -> half ... -> QUANTIZE -> int8 weights, float32 in and out -> QUANTIZE ...

The count of frames and the averages over time stay in single precision: a running mean adds the
h-th part of a difference, which half precision rounds away where it is small.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from movinet_convert.graph import Graph, Op, Tensor
from movinet_convert.quantize.calibration import Moments
from movinet_convert.quantize.dynamic import dynamic
from movinet_convert.quantize.half import as_half

HALF = np.dtype(np.float16)
# Columns of the delegate's matrix product in half precision: fewer channels cost as many.
TILE = 16
# Pixels whose half-precision sum cannot be infinite while their mean is below 500.
MOST_SUMMED = 130


def half_precision(
    graph: Graph, moments: Moments | None, int8: Callable[[Graph, Op], bool]
) -> Graph:
    """Compute in half precision, with int8 weights in the chosen convolutions.

    Args:
        graph: the float graph.
        moments: see :func:`movinet_convert.quantize.dynamic.dynamic`.
        int8: which convolutions; they take and give float32, between conversions.

    Raises:
        WeightsError: a weight beyond 65,504, which would become infinite.
    """
    return _Half(dynamic(_cheaper(graph), moments, int8)).result


class _Half:
    """Walks the operators in order, and converts what one of them wants otherwise."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.result = Graph(inputs=dict(graph.inputs))
        self.halves = {name for name in graph.inputs.values() if name.endswith("_stream_buffer")}
        for name in graph.inputs.values():
            self._keep(name)
        for op in graph.ops:
            wanted = not _is_single(graph, op)
            inputs = tuple(self._converted(name, wanted) for name in op.inputs)
            if wanted:
                self.halves |= set(op.outputs)
            for name in op.outputs:
                self._keep(name)
            self.result.ops.append(replace(op, inputs=inputs))
        for name, tensor in graph.outputs.items():
            single = name not in graph.inputs
            self.result.output(name, self._converted(tensor, False) if single else tensor)

    def _keep(self, name: str) -> None:
        tensor = self.graph.tensors[name]
        self.result.tensors[name] = replace(tensor, dtype=HALF) if name in self.halves else tensor

    def _converted(self, name: str, half: bool) -> str:
        """Return the tensor's name in half or single precision; others than floats as they are."""
        tensor = self.graph.tensors[name]
        is_constant = tensor.data is not None
        if tensor.dtype != np.float32 or half == (name in self.halves and not is_constant):
            if is_constant or tensor.dtype != np.float32:
                self.result.tensors.setdefault(name, tensor)
            return name
        other = f"{name}/{'half' if half else 'single'}"
        if other not in self.result.tensors:
            if is_constant:
                self.result.constant(other, as_half(tensor))
            else:
                dtype = HALF if half else tensor.dtype
                self.result.tensors[other] = Tensor(other, tensor.shape, dtype)
                self.result.ops.append(Op("QUANTIZE", (name,), (other,)))
        return other


def _is_single(graph: Graph, op: Op) -> bool:
    """Whether an operator works on float32: averages over time, and int8 weights."""
    return op.role == "time" or any(graph.tensors[x].dtype == np.int8 for x in op.inputs)


def _cheaper(graph: Graph) -> Graph:
    """Replace two operators by others that do the same, which are cheaper in half precision."""
    result = Graph(dict(graph.tensors), [], dict(graph.inputs), dict(graph.outputs))
    for op in graph.ops:
        if op.kind == "MEAN":
            result.ops.append(_average(graph, op))
        elif op.kind == "CONV_2D" and (pixels := _pixels_at_once(graph, op)) > 1:
            _several_pixels(result, op, pixels)
        else:
            result.ops.append(op)
    return result


def _average(graph: Graph, op: Op) -> Op:
    """A mean over the picture as a pool, which sums in half precision, where that is safe.

    MEAN converts every value to single precision before it is added: 7 instead of 2
    instructions for 8 values.
    """
    _, h, w, _ = graph.shape(op.inputs[0])
    if h * w > MOST_SUMMED:
        return op
    options = {"padding": "VALID", "strideH": 1, "strideW": 1, "activation": ""}
    options |= {"filterHeight": h, "filterWidth": w}
    return Op("AVERAGE_POOL_2D", op.inputs[:1], op.outputs, options, op.role)


def _pixels_at_once(graph: Graph, op: Op) -> int:
    """How many neighbouring pixels of a narrow convolution fill the columns of a product."""
    channels, kernel, _, _ = graph.shape(op.inputs[1])
    width = graph.shape(op.outputs[0])[2]
    several = TILE // channels if kernel > 1 else 1
    return several if several > 1 and width % several == 0 else 1


def _several_pixels(graph: Graph, op: Op, pixels: int) -> None:
    """Compute neighbouring pixels as channels of one, through a kernel that is wider by them.

    The stem of A0 has 8 channels: two pixels take 45 products in each of 16 columns instead of
    2 x 27. SAME pads both alike, and [h, w/2, 16] lies in memory as [h, w, 8] does.
    """
    x, filters, bias = (graph.tensors[name] for name in op.inputs)
    if filters.data is None or bias.data is None:
        raise ValueError(f"{op.outputs[0]} has no constant weights")
    channels, height, width, depth = filters.shape
    stride = op.options["strideW"]
    wide = np.zeros((pixels * channels, height, width + (pixels - 1) * stride, depth), np.float32)
    for i in range(pixels):
        columns = slice(i * stride, i * stride + width)
        wide[i * channels : (i + 1) * channels, :, columns] = filters.data
    (output,) = op.outputs
    shape = graph.shape(output)
    name = f"{output}/pixels"
    n, h, w, _ = shape
    graph.tensors[name] = Tensor(name, (n, h, w // pixels, pixels * channels), x.dtype)
    constants = (
        graph.constant(f"{name}/filter", wide),
        graph.constant(f"{name}/bias", np.tile(bias.data, pixels)),
    )
    options = op.options | {"strideW": stride * pixels}
    graph.ops.append(Op("CONV_2D", (x.name, *constants), (name,), options, op.role))
    target = graph.constant(f"{output}/shape", np.array(shape, np.int32))
    graph.ops.append(Op("RESHAPE", (name, target), (output,), {"newShape": list(shape)}))
