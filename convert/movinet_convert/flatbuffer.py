"""Write a :class:`~movinet_convert.graph.Graph` as a TFLite flatbuffer."""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from movinet_convert.graph import Graph, Op, Quantization, Tensor
from movinet_convert.versions import METADATA_NAME, min_runtime_version, operator_version

SIGNATURE = "serving_default"
FILE_IDENTIFIER = b"TFL3"
# XNNPACK and the ARM kernels read weights in vectors: the schema asks for 16 bytes.
ALIGNMENT = 16

OPTIONS: dict[str, str] = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DIV": "DivOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "REDUCE_MAX": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "SUB": "SubOptions",
}
ACTIVATIONS = {"": "NONE", "relu": "RELU", "relu6": "RELU6", "relu_n1_to_1": "RELU_N1_TO_1"}
DTYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32", "int8": "INT8"}


def pack(model: tfl.ModelT) -> bytes:
    """Return a model as the bytes of a ``.tflite`` file, its constants aligned."""
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuffer(tfl.BufferT):  # type: ignore[misc]
    """A buffer whose bytes start at a multiple of 16; the generated class aligns to one byte."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 (the schema's name)
        data = None
        if self.data is not None:
            builder.StartVector(1, len(self.data), ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = bytes(self.data)
            data = builder.EndVector()
        tfl.BufferStart(builder)
        if data is not None:
            tfl.BufferAddData(builder, data)
        return int(tfl.BufferEnd(builder))


def serialize(graph: Graph, description: str, metadata: dict[str, bytes]) -> bytes:
    """Return the graph as the bytes of a ``.tflite`` file with one signature.

    Args:
        graph: the subgraph; every input and output name enters the signature.
        description: the model's free-text description.
        metadata: named buffers that the file carries beside the graph.
    """
    model = tfl.ModelT()
    model.version = 3
    model.description = description
    model.buffers = [_buffer(None)]  # buffer 0 means "no data" by convention
    index = {name: i for i, name in enumerate(graph.tensors)}

    subgraph = tfl.SubGraphT()
    subgraph.name = "main"
    subgraph.tensors = [_tensor(t, model.buffers) for t in graph.tensors.values()]
    subgraph.inputs = [index[t] for t in graph.inputs.values()]
    subgraph.outputs = [index[t] for t in graph.outputs.values()]
    versions = [(op.kind, operator_version(op, graph)) for op in graph.ops]
    codes = list(dict.fromkeys(versions))
    model.operatorCodes = [_operator_code(*code) for code in codes]
    subgraph.operators = [
        _operator(op, index, codes.index(version))
        for op, version in zip(graph.ops, versions, strict=True)
    ]
    model.subgraphs = [subgraph]

    signature = tfl.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.inputs = [_tensor_map(n, index[t]) for n, t in graph.inputs.items()]
    signature.outputs = [_tensor_map(n, index[t]) for n, t in graph.outputs.items()]
    model.signatureDefs = [signature]

    model.metadata = []
    needed = {METADATA_NAME: min_runtime_version(codes)}
    for name, content in (needed | metadata).items():
        entry = tfl.MetadataT()
        entry.name = name
        entry.buffer = len(model.buffers)
        model.buffers.append(_buffer(content))
        model.metadata.append(entry)

    return pack(model)


def _buffer(data: bytes | None) -> tfl.BufferT:
    buffer = tfl.BufferT()
    buffer.data = data
    return buffer


def _tensor(tensor: Tensor, buffers: list[tfl.BufferT]) -> tfl.TensorT:
    packed = tfl.TensorT()
    packed.name = tensor.name
    packed.shape = list(tensor.shape)
    packed.type = getattr(tfl.TensorType, DTYPES[tensor.dtype.name])
    packed.buffer = 0
    if tensor.data is not None:
        packed.buffer = len(buffers)
        buffers.append(_buffer(tensor.data.tobytes()))
    if tensor.quantization is not None:
        packed.quantization = _quantization(tensor.quantization)
    return packed


def _quantization(quantization: Quantization) -> tfl.QuantizationParametersT:
    packed = tfl.QuantizationParametersT()
    packed.scale = _flat(quantization.scale, np.float32)
    packed.zeroPoint = _flat(quantization.zero_point, np.int64)
    packed.quantizedDimension = quantization.axis
    return packed


def _flat(value: NDArray[Any], dtype: type) -> NDArray[Any]:
    return np.atleast_1d(np.asarray(value, dtype))


def _operator_code(kind: str, version: int) -> tfl.OperatorCodeT:
    code = tfl.OperatorCodeT()
    code.builtinCode = getattr(tfl.BuiltinOperator, kind)
    # Readers of older schemas look at the 8-bit field first.
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code


def _operator(op: Op, index: dict[str, int], code: int) -> tfl.OperatorT:
    packed = tfl.OperatorT()
    packed.opcodeIndex = code
    packed.inputs = [index[t] for t in op.inputs]
    packed.outputs = [index[t] for t in op.outputs]
    if op.kind in OPTIONS:
        packed.builtinOptionsType = getattr(tfl.BuiltinOptions, OPTIONS[op.kind])
        packed.builtinOptions = getattr(tfl, f"{OPTIONS[op.kind]}T")()
        for option, value in op.options.items():
            _set_option(packed.builtinOptions, option, value)
    return packed


def _set_option(options: Any, name: str, value: Any) -> None:
    if name == "activation":
        name = "fusedActivationFunction"
        value = getattr(tfl.ActivationFunctionType, ACTIVATIONS[value])
    elif name == "padding":
        value = getattr(tfl.Padding, value)
    elif name in ("strideH", "strideW"):
        for dilation in ("dilationHFactor", "dilationWFactor"):
            if hasattr(options, dilation):
                setattr(options, dilation, 1)
    setattr(options, name, value)


def _tensor_map(name: str, index: int) -> tfl.TensorMapT:
    entry = tfl.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry
