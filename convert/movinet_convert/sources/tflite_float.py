"""A TFLite file without its rounding: the same graph with float32 weights and activations.

What remains is what the weights themselves compute. It is read like any float file, and it
runs, so that our network can be compared with the source to float's precision even where the
file itself is far from its own weights.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from movinet_convert.graph import Graph, Op, Tensor
from movinet_convert.sources.loaded import Range

KINDS = {code: name for name, code in vars(tfl.BuiltinOperator).items() if isinstance(code, int)}
DTYPES: dict[int, Any] = {
    tfl.TensorType.FLOAT32: np.float32,
    tfl.TensorType.FLOAT16: np.float16,
    tfl.TensorType.INT32: np.int32,
    tfl.TensorType.INT64: np.int64,
    tfl.TensorType.INT16: np.int16,
    tfl.TensorType.INT8: np.int8,
    tfl.TensorType.UINT8: np.uint8,
    tfl.TensorType.BOOL: np.bool_,
}
FLOATS = (tfl.TensorType.FLOAT32, tfl.TensorType.FLOAT16)
BORDERS = ("QUANTIZE", "DEQUANTIZE")


class UnreadableError(Exception):
    """A file, or something in it, that this reader does not know."""


@dataclass(frozen=True)
class Unrounded:
    """The float model, and what was rounded.

    Attributes:
        model: everything in float32; indices of tensors are those of the file.
        int8_constants: indices of constants that were int8.
        ranges: what activations that were int8 could hold, by index.
    """

    model: tfl.ModelT
    int8_constants: frozenset[int]
    ranges: dict[int, Range]

    @property
    def rounds(self) -> bool:
        """Whether the file's own logits differ from those of its weights."""
        return bool(self.int8_constants or self.ranges)


def unrounded(content: bytes) -> Unrounded:
    """Take all quantization out of a model.

    Raises:
        UnreadableError: no TFLite model, or with number formats that are not known.
    """
    model = _unpacked(content)
    graph = model.subgraphs[0]
    constants, ranges = set(), {}
    for index, tensor in enumerate(graph.tensors):
        data = _constant(model, content, tensor)
        scale, zero_point, axis = _quantization(tensor)
        if tensor.type in FLOATS:
            scale = None  # left over from a quantizer; a float is what it is
        if data is not None:
            if scale is None and tensor.type != tfl.TensorType.FLOAT16:
                _store(model, tensor, data)
                continue
            if tensor.type == tfl.TensorType.INT8:
                constants.add(index)
            _store(model, tensor, _real(data, scale, zero_point, axis))
        elif scale is not None:
            limits = np.iinfo(DTYPES[tensor.type])
            low, high = ((end - zero_point[0]) * scale[0] for end in (limits.min, limits.max))
            ranges[index] = (float(low), float(high))
        elif tensor.type != tfl.TensorType.FLOAT16:
            continue
        tensor.type, tensor.quantization = tfl.TensorType.FLOAT32, None
    _without_borders(model)
    return Unrounded(model, frozenset(constants), ranges)


def as_graph(model: tfl.ModelT) -> Graph:
    """Return the first subgraph as data; tensors are named by their index."""
    subgraph = model.subgraphs[0]
    graph = Graph()
    for index, tensor in enumerate(subgraph.tensors):
        shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
        dtype = np.dtype(DTYPES[tensor.type])
        data = model.buffers[tensor.buffer].data
        values = None if data is None else np.frombuffer(bytes(data), dtype)
        if values is not None and values.size == np.prod(shape):
            values = values.reshape(shape)
        graph.tensors[str(index)] = Tensor(str(index), shape, dtype, values)
    for op in subgraph.operators:
        options = {} if op.builtinOptions is None else dict(vars(op.builtinOptions))
        inputs = tuple(str(i) for i in op.inputs if i >= 0)
        outputs = tuple(str(i) for i in op.outputs)
        graph.ops.append(Op(kind(model, op), inputs, outputs, options))
    if len(model.signatureDefs or ()) != 1:
        raise UnreadableError(f"it has {len(model.signatureDefs or ())} signatures instead of one")
    (signature,) = model.signatureDefs
    graph.inputs = {_text(entry.name): str(entry.tensorIndex) for entry in signature.inputs}
    graph.outputs = {_text(entry.name): str(entry.tensorIndex) for entry in signature.outputs}
    return graph


def kind(model: tfl.ModelT, op: Any) -> str:
    """Name an operator."""
    code = model.operatorCodes[op.opcodeIndex]
    return str(KINDS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM"))


def _unpacked(content: bytes) -> tfl.ModelT:
    try:
        model = tfl.ModelT.InitFromPackedBuf(content, 0)
        tensors = model.subgraphs[0].tensors
    except Exception as error:  # whatever a damaged flatbuffer makes the generated reader raise
        raise UnreadableError("it cannot be read as a TFLite model") from error
    for tensor in tensors:
        if tensor.type not in DTYPES:
            raise UnreadableError(f"the tensor {_text(tensor.name)} has an unknown number format")
    return model


def _constant(model: tfl.ModelT, content: bytes, tensor: Any) -> NDArray[Any] | None:
    buffer = model.buffers[tensor.buffer]
    raw: bytes | None = None
    if buffer.data is not None and len(buffer.data):
        raw = bytes(buffer.data)
    elif buffer.offset > 1:  # large files keep buffers behind the flatbuffer
        raw = content[buffer.offset : buffer.offset + buffer.size]
    if raw is None:
        return None
    shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
    values = np.frombuffer(raw, DTYPES[tensor.type])
    if values.size != np.prod(shape):
        raise UnreadableError(f"the constant {_text(tensor.name)} is not as large as its shape")
    return values.reshape(shape)


def _quantization(tensor: Any) -> tuple[NDArray[Any] | None, NDArray[Any], int]:
    found = tensor.quantization
    if found is None or found.scale is None or not len(found.scale):
        return None, np.zeros(1, np.int64), 0
    scale = np.asarray(found.scale, np.float64)
    zero_point = np.zeros(1) if found.zeroPoint is None else np.asarray(found.zeroPoint)
    return scale, np.broadcast_to(zero_point, scale.shape), int(found.quantizedDimension)


def _real(
    data: NDArray[Any], scale: NDArray[Any] | None, zero_point: NDArray[Any], axis: int
) -> NDArray[np.float32]:
    if scale is None:
        return data.astype(np.float32)
    if len(scale) > 1:
        shape = [1] * data.ndim
        shape[axis] = len(scale)
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return np.asarray((data.astype(np.float64) - zero_point) * scale, np.float32).reshape(
        data.shape
    )


def _store(model: tfl.ModelT, tensor: Any, values: NDArray[Any]) -> None:
    """Give a constant a buffer of its own: buffers may be shared."""
    buffer = tfl.BufferT()
    buffer.data = values.tobytes()
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)


def _without_borders(model: tfl.ModelT) -> None:
    """Remove the operators between float and int8: both sides are one tensor now."""
    graph = model.subgraphs[0]
    same: dict[int, int] = {}
    kept = []
    for op in graph.operators:
        op.inputs = [same.get(int(i), int(i)) for i in op.inputs]
        if kind(model, op) in BORDERS:
            same[int(op.outputs[0])] = op.inputs[0]
        else:
            kept.append(op)
    graph.operators = kept
    graph.outputs = [same.get(int(i), int(i)) for i in graph.outputs]
    for signature in model.signatureDefs or ():
        for entry in signature.outputs:
            entry.tensorIndex = same.get(entry.tensorIndex, entry.tensorIndex)


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""
