"""A float32 graph as an ONNX file, channels first.

TFLite keeps channels last, ONNX and its engines keep them first. Every tensor of four
dimensions is written as [n, c, h, w], and so are filters, constants and axes: nothing is
transposed when the file runs. Operator set 17 and IR version 8 are old enough for engines of
2022 and have all that is needed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.graph import Graph, Op, Shape
from movinet_runtime.errors import MissingPackageError
from movinet_runtime.install import install_hint

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise MissingPackageError(
        f"ONNX files need onnx: {install_hint('movinet-convert[onnx]')}"
    ) from error

OPERATOR_SET, IR_VERSION = 17, 8
OUT = "_out"  # ONNX wants a name for each value: a state that comes out is not the one that went in
CHANNELS_FIRST = (0, 3, 1, 2)
SAME_NAME = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "SIN": "Sin", "COS": "Cos"}
KINDS = SAME_NAME | {"LOGISTIC": "Sigmoid", "HARD_SWISH": "HardSwish", "MEAN": "GlobalAveragePool"}


def serialize(graph: Graph, name: str, metadata: Mapping[str, str]) -> bytes:
    """Return the file's bytes; the same graph gives the same.

    The image [1, frames, h, w, 3] is given as [frames, 3, h, w]. States keep their names as
    inputs; as outputs they end in ``_out``.

    Args:
        graph: float32, with no tensor of more than four dimensions but the image.
        name: of the graph.
        metadata: texts that the file carries (``metadata_props``).

    Raises:
        ValueError: an operator that has no such form.
    """
    writer = _Writer(graph)
    for op in graph.ops:
        writer.add(op)
    inputs = [writer.value(name, tensor) for name, tensor in writer.inputs.items()]
    outputs = [writer.value(writer.names[tensor], tensor) for tensor in graph.outputs.values()]
    body = helper.make_graph(writer.nodes, name, inputs, outputs, list(writer.constants.values()))
    model = helper.make_model(
        body,
        producer_name="movinet-convert",
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def output_name(name: str) -> str:
    """Return an output's name in the file."""
    return name if name == "logits" else f"{name}{OUT}"


def channels_first(shape: Shape) -> Shape:
    """Return the shape that a tensor has in the file."""
    return tuple(shape[axis] for axis in CHANNELS_FIRST) if len(shape) == 4 else shape


class _Writer:
    """A graph's operators as nodes, with the names that its tensors have in the file."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        image = graph.inputs["image"]
        # What the image is to the operators: frames, which are all that it is in the file.
        (self.frames,) = (op for op in graph.ops if image in op.inputs)
        self.inputs = {
            name: self.frames.outputs[0] if tensor == image else tensor
            for name, tensor in graph.inputs.items()
        }
        self.names = {tensor: name for name, tensor in self.inputs.items()}
        self.names |= {tensor: output_name(name) for name, tensor in graph.outputs.items()}

    def value(self, name: str, tensor: str) -> Any:
        """Describe an input or output."""
        shape = channels_first(self.graph.shape(tensor))
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def add(self, op: Op) -> None:
        """Write one operator."""
        match op.kind:
            case _ if op is self.frames:
                pass
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                self._convolution(op)
            case "AVERAGE_POOL_2D":
                size = (op.options["filterHeight"], op.options["filterWidth"])
                self._node(
                    "AveragePool", op, op.inputs, kernel_shape=size, **self._window(op, size)
                )
            case "MAXIMUM" | "ADD" | "SUB" | "MUL" | "DIV":
                self._node(SAME_NAME.get(op.kind, "Max"), op, op.inputs)
            case "CONCATENATION":
                self._node("Concat", op, op.inputs, axis=CHANNELS_FIRST.index(op.options["axis"]))
            case "PAD":
                self._pad(op)
            case "SLICE":
                self._slice(op)
            case "RESHAPE":
                self._reshape(op)
            case _ if op.kind in KINDS:
                self._node(KINDS[op.kind], op, op.inputs[:1])
            case _:
                raise ValueError(f"{op.kind} has no form in ONNX")

    def _convolution(self, op: Op) -> None:
        """Filters are [out, h, w, in], or [1, h, w, channels] where each has its own."""
        depthwise = op.kind == "DEPTHWISE_CONV_2D"
        x, filters, bias = op.inputs
        kernel = self._data(filters)
        kernel = kernel.transpose((3, 0, 1, 2) if depthwise else CHANNELS_FIRST)
        size = kernel.shape[2:]
        self._constant(filters, kernel)
        groups = kernel.shape[0] if depthwise else 1
        window = self._window(op, size)
        self._node("Conv", op, (x, filters, bias), kernel_shape=size, group=groups, **window)

    def _window(self, op: Op, size: tuple[int, ...]) -> dict[str, Any]:
        """Return strides and padding; SAME puts the odd one at the end."""
        strides = (op.options["strideH"], op.options["strideW"])
        pads = [0, 0, 0, 0]
        if op.options["padding"] == "SAME":
            given, made = (self.graph.shape(name)[1:3] for name in (op.inputs[0], op.outputs[0]))
            for i in range(2):
                total = max(0, (made[i] - 1) * strides[i] + size[i] - given[i])
                pads[i], pads[i + 2] = total // 2, total - total // 2
        return {"strides": strides, "pads": pads}

    def _pad(self, op: Op) -> None:
        x, paddings = op.inputs
        pads = self._data(paddings)[list(CHANNELS_FIRST)].T.reshape(-1).astype(np.int64)
        self._node("Pad", op, (x, self._constant(paddings, pads)))

    def _slice(self, op: Op) -> None:
        x, begin, size = op.inputs
        starts = self._data(begin)[list(CHANNELS_FIRST)].astype(np.int64)
        ends = starts + self._data(size)[list(CHANNELS_FIRST)]
        bounds = (self._constant(begin, starts), self._constant(size, ends))
        self._node("Slice", op, (x, *bounds))

    def _reshape(self, op: Op) -> None:
        """Write what is one in channels first too: height and width are 1 on one side."""
        x, target = op.inputs
        given, made = self.graph.shape(x), self.graph.shape(op.outputs[0])
        if len(made) == 2 and given == (made[0], 1, 1, made[1]):
            self._node("Reshape", op, (x, self._constant(target, np.array(made, np.int64))))
        elif given == (made[1], 1, 1, made[3]) and made == (1, given[0], 1, given[3]):
            self._node("Transpose", op, (x,), perm=(2, 1, 0, 3))  # of a clip's means
        else:
            raise ValueError(f"RESHAPE from {given} to {made} has no form in ONNX")

    def _node(self, kind: str, op: Op, inputs: tuple[str, ...], **attributes: Any) -> None:
        """Add a node, and its fused activation as one more."""
        (output,) = op.outputs
        name = self.names.get(output, output)
        activation = op.options.get("activation", "")
        made = f"{name}/linear" if activation else name
        values = [self._operand(tensor) for tensor in inputs]
        self.nodes.append(helper.make_node(kind, values, [made], output, **attributes))
        if activation == "relu6":
            bounds = [self._constant(f"relu6/{b}", np.array(b, np.float32)) for b in (0, 6)]
            self.nodes.append(helper.make_node("Clip", [made, *bounds], [name], f"{output}/relu6"))
        elif activation:
            raise ValueError(f"the activation {activation} has no form in ONNX")

    def _operand(self, tensor: str) -> str:
        known = self.graph.tensors.get(tensor)
        if known is None or known.data is None or tensor in self.constants:
            return self.names.get(tensor, tensor)
        data = known.data
        return self._constant(tensor, data.transpose(CHANNELS_FIRST) if data.ndim == 4 else data)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        value = np.ascontiguousarray(value) if value.ndim else value
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def _data(self, tensor: str) -> NDArray[Any]:
        data = self.graph.tensors[tensor].data
        if data is None:
            raise ValueError(f"'{tensor}' is no constant")
        return data
