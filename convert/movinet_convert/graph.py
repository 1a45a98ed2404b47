"""A TFLite subgraph as plain data: tensors, operators, and a way to add them.

Only what a delegate executes well is offered: static shapes, 4-D operators,
activations fused where TFLite can. ``flatbuffer.py`` writes it to a file.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Activation = Literal["", "relu", "relu6", "relu_n1_to_1"]
Shape = tuple[int, ...]
# What an operator is to the network, where a transform must know: a dense layer behind the last
# pooling; the count of frames and what averages over them; of a temporal convolution the reshape
# that makes a frame of what it reads, the frame as it is buffered, the window over buffered frames
# and this one, and the convolution itself.
Role = Literal["", "dense", "time", "frame", "buffered", "window", "temporal"]


@dataclass(frozen=True)
class Quantization:
    """Affine quantization, real = scale * (code - zero_point); axis for per-channel scales."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0


@dataclass(frozen=True)
class Tensor:
    """A tensor of the subgraph; constants carry their data."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    data: NDArray[Any] | None = None
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Op:
    """An operator by its TFLite name, with tensors by name and the schema's option fields."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    role: Role = ""


@dataclass
class Graph:
    """Operators in execution order; ``inputs``/``outputs`` map signature names to tensors."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        """Return a tensor's shape."""
        return self.tensors[name].shape

    def input(self, name: str, shape: Shape) -> str:
        """Add a float32 input; its tensor differs in name from the output of the same name."""
        tensor = f"input/{name}"
        self._add(tensor, shape)
        self.inputs[name] = tensor
        return tensor

    def output(self, name: str, tensor: str) -> None:
        """Make a tensor an output of the signature."""
        self.outputs[name] = tensor

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant; the same name always means the same value.

        Raises:
            ValueError: it means another one already.
        """
        value = np.ascontiguousarray(value)
        known = self.tensors.setdefault(name, Tensor(name, value.shape, value.dtype, value))
        if known.data is not value and not _same(known, value):
            raise ValueError(f"the constant '{name}' has another value already")
        return name

    def conv(
        self,
        name: str,
        x: str,
        kernel: NDArray[np.float32],
        bias: NDArray[np.float32],
        stride: int = 1,
        activation: Activation = "",
    ) -> str:
        """CONV_2D, SAME padding; kernel (height, width, in, out)."""
        n, h, w, _ = self.shape(x)
        filters = self.constant(f"{name}/filter", kernel.transpose(3, 0, 1, 2))
        out = (n, -(-h // stride), -(-w // stride), kernel.shape[3])
        return self._op(
            "CONV_2D",
            name,
            (x, filters, self.constant(f"{name}/bias", bias)),
            out,
            padding="SAME",
            strideH=stride,
            strideW=stride,
            activation=activation,
        )

    def depthwise(
        self,
        name: str,
        x: str,
        kernel: NDArray[np.float32],
        bias: NDArray[np.float32],
        stride: int = 1,
        padding: Literal["SAME", "VALID"] = "SAME",
        activation: Activation = "",
    ) -> str:
        """DEPTHWISE_CONV_2D; kernel (height, width, channels, 1)."""
        n, h, w, c = self.shape(x)
        kh, kw = kernel.shape[:2]
        filters = self.constant(f"{name}/filter", kernel.reshape(1, kh, kw, c))
        if padding == "VALID":
            h, w = h - kh + 1, w - kw + 1
        return self._op(
            "DEPTHWISE_CONV_2D",
            name,
            (x, filters, self.constant(f"{name}/bias", bias)),
            (n, -(-h // stride), -(-w // stride), c),
            padding=padding,
            strideH=stride,
            strideW=stride,
            depthMultiplier=1,
            activation=activation,
        )

    def average_pool(self, name: str, x: str, size: int, stride: int) -> str:
        """AVERAGE_POOL_2D, SAME padding: borders are divided by the true count."""
        n, h, w, c = self.shape(x)
        return self._op(
            "AVERAGE_POOL_2D",
            name,
            (x,),
            (n, -(-h // stride), -(-w // stride), c),
            padding="SAME",
            strideH=stride,
            strideW=stride,
            filterHeight=size,
            filterWidth=size,
            activation="",
        )

    def unary(self, kind: str, name: str, x: str) -> str:
        """An elementwise operator without options: HARD_SWISH, LOGISTIC, SIN, QUANTIZE ..."""
        return self._op(kind, name, (x,), self.shape(x))

    def binary(self, kind: str, name: str, x: str, y: str, activation: Activation = "") -> str:
        """ADD, SUB, MUL, DIV or MAXIMUM (which fuses no activation) with broadcasting."""
        shape = np.broadcast_shapes(self.shape(x), self.shape(y))
        options = {} if kind == "MAXIMUM" else {"activation": activation}
        return self._op(kind, name, (x, y), shape, **options)

    def mean(self, name: str, x: str) -> str:
        """MEAN over axes 1 and 2 with kept dimensions, the form a delegate takes."""
        return self._over_space("MEAN", name, x)

    def reduce_max(self, name: str, x: str) -> str:
        """REDUCE_MAX over axes 1 and 2 with kept dimensions."""
        return self._over_space("REDUCE_MAX", name, x)

    def _over_space(self, kind: str, name: str, x: str) -> str:
        n, _, _, c = self.shape(x)
        axes = self.constant("space/axes", np.array([1, 2], np.int32))
        return self._op(kind, name, (x, axes), (n, 1, 1, c), keepDims=True)

    def concat(self, name: str, xs: list[str], axis: int) -> str:
        """CONCATENATION along one axis."""
        shape = list(self.shape(xs[0]))
        shape[axis] = sum(self.shape(x)[axis] for x in xs)
        return self._op("CONCATENATION", name, tuple(xs), tuple(shape), axis=axis, activation="")

    def reshape(self, name: str, x: str, shape: Shape) -> str:
        """RESHAPE to a static shape."""
        target = self.constant(f"{name}/shape", np.array(shape, np.int32))
        return self._op("RESHAPE", name, (x, target), shape, newShape=list(shape))

    def pad(self, name: str, x: str, axis: int, before: int, after: int) -> str:
        """PAD with zeros along one axis."""
        shape = list(self.shape(x))
        paddings = np.zeros((len(shape), 2), np.int32)
        paddings[axis] = before, after
        shape[axis] += before + after
        return self._op("PAD", name, (x, self.constant(f"{name}/paddings", paddings)), tuple(shape))

    def slice(self, name: str, x: str, axis: int, start: int, size: int) -> str:
        """SLICE along one axis."""
        shape = list(self.shape(x))
        begin = [0] * len(shape)
        begin[axis], shape[axis] = start, size
        return self._op(
            "SLICE",
            name,
            (
                x,
                self.constant(f"{name}/begin", np.array(begin, np.int32)),
                self.constant(f"{name}/size", np.array(shape, np.int32)),
            ),
            tuple(shape),
        )

    def give_role(self, tensor: str, role: Role) -> str:
        """Say what the operator that was added last, and gives this tensor, is to the network."""
        op = self.ops[-1]
        if op.outputs != (tensor,):
            raise ValueError(f"'{tensor}' is not what the last operator gives")
        self.ops[-1] = replace(op, role=role)
        return tensor

    def pruned(self) -> "Graph":
        """Return the graph without constants that no operator reads."""
        used = {name for op in self.ops for name in op.inputs}
        tensors = {n: t for n, t in self.tensors.items() if t.data is None or n in used}
        return replace(self, tensors=tensors)

    def updates_in_place(self) -> bool:
        """Whether each output of an input's name may share that input's memory.

        No operator may read the input after the one that writes the output, and that
        one only if it works element by element on tensors of one shape. Inputs that are
        outputs of another name, and their chains' ends, do not count: they change places.
        """
        handed_on = set(self.inputs.values()) & set(self.outputs.values())
        return all(
            self._may_share(tensor, self.outputs[name])
            for name, tensor in self.inputs.items()
            if name in self.outputs and not {tensor, self.outputs[name]} & handed_on
        )

    def _may_share(self, source: str, target: str) -> bool:
        readers = [i for i, op in enumerate(self.ops) if source in op.inputs]
        (writer,) = (i for i, op in enumerate(self.ops) if target in op.outputs)
        elementwise = self.ops[writer].kind in ("ADD", "SUB", "MUL")
        same_shape = self.shape(source) == self.shape(target)
        return same_shape and max(readers) < writer + elementwise

    def _op(
        self, kind: str, name: str, inputs: tuple[str, ...], shape: Shape, **options: Any
    ) -> str:
        self._add(name, shape)
        self.ops.append(Op(kind, inputs, (name,), options))
        return name

    def _add(self, name: str, shape: Shape) -> None:
        if name in self.tensors:
            raise ValueError(f"tensor '{name}' is defined twice")
        self.tensors[name] = Tensor(name, tuple(shape), np.dtype(np.float32))


def _same(known: Tensor, value: NDArray[Any]) -> bool:
    if known.data is None or known.dtype != value.dtype:
        return False
    return np.array_equal(known.data, value)
