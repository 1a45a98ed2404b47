"""Full int8: fixed ranges of activations through the whole trunk, for relu6 networks.

Networks with hard swish lose too much by this (docs/quantization.md). Those with relu6 have
the same bounded range in almost every tensor, and the published ones were trained with it.

    image -> QUANTIZE -> trunk in int8, stream buffers too -> DEQUANTIZE -> means, head

What averages over time stays float, and the two dense layers behind it take float and give
float (their weights are int8), so that nothing saturates on long streams.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from movinet_convert.graph import Graph, Op, Quantization
from movinet_convert.quantize.dynamic import is_dense
from movinet_convert.quantize.rounding import rounded

Range = tuple[float, float]
RELU6: Range = (0.0, 6.0)
CONVOLUTIONS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}  # and the axis of their channels
UNCHANGED = ("RESHAPE", "CONCATENATION", "SLICE")  # operators that move codes
IMAGE = Quantization(np.array([1 / 255], np.float32), np.array([-128], np.int64))
# All zeros must mean "no frames yet" also to clients that know nothing of zero points. So what
# goes into a stream buffer has its zero in the middle, and 7 bits for what relu6 leaves.
LARGEST_BIAS = 2.0**30  # codes; their sum with the products must be an int32 too
BUFFERED = Quantization(np.array([6 / 127], np.float32), np.zeros(1, np.int64))


def needs(graph: Graph) -> list[str]:
    """Name the tensors whose ranges :func:`fixed_int8` must be told: those without relu6."""
    plain = [
        op.outputs[0]
        for op in graph.ops
        if op.kind in CONVOLUTIONS and not op.options["activation"] and not is_dense(graph, op)
    ]
    return plain + sorted(_residuals(graph))


def fixed_int8(graph: Graph, ranges: Mapping[str, Range]) -> Graph:
    """Compute the trunk in int8.

    Args:
        graph: a float step graph whose activations are relu6.
        ranges: least and greatest value of each tensor that :func:`needs` names; of others
            it replaces 0 to 6.
    """
    return _Fixed(graph, ranges).result


def affine(span: Range) -> Quantization:
    """Return the parameters that spread 256 codes over a range which holds 0 exactly."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = max((high - low) / 255, float(np.finfo(np.float32).tiny))
    zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))


class _Fixed:
    def __init__(self, graph: Graph, ranges: Mapping[str, Range]) -> None:
        self.graph, self.ranges = graph, ranges
        self.result = Graph(dict(graph.tensors), [], dict(graph.inputs), dict(graph.outputs))
        self.residuals = _residuals(graph)
        self.buffered = {op.inputs[0] for op in graph.ops if op.role == "buffered"}
        for name, tensor in graph.inputs.items():
            if name.endswith("_stream_buffer"):
                self._as_codes(tensor, BUFFERED)
        image = graph.inputs["image"]
        self.result.unary("QUANTIZE", "image/codes", image)
        self._as_codes("image/codes", IMAGE)
        self.renamed = {image: "image/codes"}
        for op in graph.ops:
            self._add(op)

    def _add(self, op: Op) -> None:
        op = replace(op, inputs=tuple(self.renamed.get(x, x) for x in op.inputs))
        codes = self._codes(op.inputs[0])
        if codes is None:
            if is_dense(self.graph, op):
                self.result.tensors[op.inputs[1]] = rounded(self.graph.tensors[op.inputs[1]])
        elif op.kind in CONVOLUTIONS:
            self._convolution(op, codes)
        elif op.kind in UNCHANGED:
            self._as_codes(op.outputs[0], codes)
        elif op.outputs[0] in self.residuals:
            self._as_codes(op.outputs[0], affine(self.ranges[op.outputs[0]]))
        else:
            self._in_float(op, codes)
            return
        self.result.ops.append(op)

    def _convolution(self, op: Op, codes: Quantization) -> None:
        _, filters, bias = op.inputs
        (output,) = op.outputs
        values = np.asarray(self.graph.tensors[bias].data, np.float64)
        # A channel of tiny weights would have a scale in which its bias is no int32.
        least = np.abs(values) / (float(codes.scale[0]) * LARGEST_BIAS)
        weights = rounded(self.graph.tensors[filters], axis=CONVOLUTIONS[op.kind], least=least)
        assert weights.quantization is not None  # noqa: S101 (what rounded is for)
        scale = codes.scale * weights.quantization.scale
        self.result.tensors[filters] = weights
        self.result.tensors[bias] = replace(
            self.graph.tensors[bias],
            dtype=np.dtype(np.int32),
            data=np.rint(values / scale).astype(np.int32),
            quantization=Quantization(scale, np.zeros(len(scale), np.int64)),
        )
        if output in self.buffered:
            self._as_codes(output, BUFFERED)
        elif op.options["activation"] == "relu6":
            self._as_codes(output, affine(self.ranges.get(output, RELU6)))
        else:
            self._as_codes(output, affine(self.ranges[output]))

    def _in_float(self, op: Op, codes: Quantization) -> None:
        """Leave int8 for an operator that no delegate takes in it, and come back after a pool."""
        source = self.result.unary("DEQUANTIZE", f"{op.inputs[0]}/float", op.inputs[0])
        if op.kind != "AVERAGE_POOL_2D":
            self.result.ops.append(replace(op, inputs=(source, *op.inputs[1:])))
            return
        (output,) = op.outputs
        pooled = f"{output}/float"
        self.result.tensors[pooled] = replace(self.graph.tensors[output], name=pooled)
        self.result.ops.append(replace(op, inputs=(source,), outputs=(pooled,)))
        self.result.ops.append(Op("QUANTIZE", (pooled,), (output,)))
        self._as_codes(output, codes)

    def _codes(self, tensor: str) -> Quantization | None:
        found = self.result.tensors[tensor]
        return found.quantization if found.data is None else None

    def _as_codes(self, tensor: str, quantization: Quantization) -> None:
        found = self.result.tensors[tensor]
        self.result.tensors[tensor] = replace(
            found, dtype=np.dtype(np.int8), quantization=quantization
        )


def _residuals(graph: Graph) -> set[str]:
    """Name the sums of a layer's two paths: additions of what a convolution gives."""
    convolved = {op.outputs[0] for op in graph.ops if op.kind == "CONV_2D"}
    sums = (op for op in graph.ops if op.kind == "ADD")
    return {op.outputs[0] for op in sums if not convolved.isdisjoint(op.inputs)}
