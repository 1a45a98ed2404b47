"""Find a model's convolutions in a TFLite graph by how they are wired.

Names of tensors differ between exporters, and so does everything between two convolutions:
activations, reshapes, counters, means. What is the same in all of them is which convolutions
a convolution reads from. So each is told by the nearest ones before it, its origins:

    expansion   all that the layer's input is a sum of      skip   the same, another shape
    feature     the expansion            temporal           the feature
    se_reduce   the last of these        se_expand          se_reduce
    projection  the last of these, and se_expand

Constants that are multiplied with or added to a convolution's output are folded into it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.graph import Graph, Op
from movinet_convert.parameters import (
    DEFAULT_GATE,
    HARD_SIGMOIDS,
    NORM_EPSILON,
    Array,
    Unit,
    units,
)
from movinet_convert.sources.tflite_float import UnreadableError
from movinet_models.family import Gate, Layer, ModelSpec

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D")
RELU6 = 3  # ActivationFunctionType
IMAGE = -1
Origins = frozenset[int]


@dataclass(frozen=True)
class Linear:
    """A convolution with the constants behind it folded in.

    Attributes:
        kernel: (height, width, in, out), depthwise (height, width, channels, 1).
        weights: the tensor that the kernel was.
        after: the tensor behind the last folded constant.
        clipped: whether an activation relu6 is fused into it.
    """

    kernel: Array
    bias: Array
    depthwise: bool
    origins: Origins
    weights: str
    output: str
    after: str
    clipped: bool


@dataclass(frozen=True)
class _Tap:
    """A frame, its weight in each channel, and the sum with a convolution over others.

    See :mod:`movinet_convert.quantize.taps`.
    """

    frame: str
    weights: NDArray[Any]
    output: str

    def joined(self, past: Linear, origins: Origins) -> Linear:
        """Return the convolution over all of the frames."""
        newest = self.weights.reshape(1, 1, -1, 1).astype(np.float32)
        kernel = np.concatenate([past.kernel, newest])
        return replace(past, kernel=kernel, origins=origins, after=self.output)


@dataclass(frozen=True)
class Found:
    """What was read out of a graph.

    Attributes:
        tensors: by canonical name.
        gate: None where no constant tells.
        weights: the graph's tensors that became kernels, by the unit's name.
        outputs: the graph's tensors that are units' and layers' outputs, by their names.
    """

    tensors: dict[str, NDArray[Any]]
    gate: Gate | None
    weights: dict[str, list[str]]
    outputs: dict[str, str]


class Walk:
    """A graph with the origins of its tensors."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers: dict[str, list[Op]] = {}
        self.writers: dict[str, Op] = {}
        for op in graph.ops:
            self.writers |= dict.fromkeys(op.outputs, op)
            for tensor in op.inputs:
                self.readers.setdefault(tensor, []).append(op)
        self.image, self.logits = _ends(graph)
        origins: dict[str, Origins] = {self.image: frozenset({IMAGE})}
        self.linears: list[Linear] = []
        nothing: Origins = frozenset()
        sums: dict[str, Origins] = {}  # of convolutions whose newest tap is a product
        for op in graph.ops:
            sources = nothing.union(*(origins.get(tensor, nothing) for tensor in op.inputs))
            if op.kind in CONVOLUTIONS and self._value(op.inputs[1]) is not None:
                origins |= dict.fromkeys(op.outputs, frozenset({len(self.linears)}))
                linear = self._linear(op, origins.get(op.inputs[0], nothing))
                if not linear.origins and linear.depthwise and (tap := self._newest_tap(linear)):
                    linear = tap.joined(linear, origins.get(tap.frame, nothing))
                    sums[linear.after] = frozenset({len(self.linears)})
                self.linears.append(linear)
            else:
                origins |= {tensor: sums.get(tensor, sources) for tensor in op.outputs}
        self.origins = origins
        self.used: set[int] = set()

    @cached_property
    def classes(self) -> int:
        """Number of logits."""
        shape = self.graph.shape(self.logits)
        if not shape or shape[-1] < 1:
            raise UnreadableError("its logits have no shape")
        return shape[-1]

    def take(self, unit: Unit, origins: Origins, copies: int = 1) -> list[int]:
        """Find a unit's convolutions (several for the taps of a 3-D one) by their origins."""
        shape = unit.kernel[-4:] if copies > 1 else unit.kernel
        found = [
            i
            for i, linear in enumerate(self.linears)
            if i not in self.used
            and linear.origins == origins
            and linear.depthwise == unit.depthwise
            and _core(linear.kernel.shape) == _core(shape)
        ]
        if len(found) != copies:
            raise UnreadableError(
                f"{len(found) or 'no'} convolution{'s' if len(found) > 1 else ''} "
                f"{'x'.join(map(str, shape))} where {unit.name} should be"
            )
        self.used |= set(found)
        return found

    def behind(self, tensor: str) -> Iterator[Op]:
        """Yield the operators that follow, as long as there is but one reader."""
        while len(self.readers.get(tensor, ())) == 1:
            (op,) = self.readers[tensor]
            yield op
            (tensor,) = op.outputs

    def constant_with(self, op: Op, tensor: str) -> NDArray[Any] | None:
        """Return the constant that an operator combines a tensor with, one value a channel.

        Also of constants that were broadcast over space when the file was made.
        """
        others = [x for x in op.inputs if x != tensor]
        value = self._value(others[0]) if len(op.inputs) == 2 and len(others) == 1 else None
        if value is None or not np.issubdtype(value.dtype, np.floating):
            return None
        rows = value.reshape(-1, value.shape[-1]) if value.ndim else value.reshape(1, 1)
        return rows[0] if (rows == rows[0]).all() else None

    def _value(self, tensor: str) -> NDArray[Any] | None:
        return self.graph.tensors[tensor].data

    def _linear(self, op: Op, origins: Origins) -> Linear:
        kernel = np.asarray(self._value(op.inputs[1]), np.float64)
        depthwise = op.kind == "DEPTHWISE_CONV_2D"
        if depthwise or op.kind == "CONV_2D":
            kernel = kernel.transpose(1, 2, 3, 0)
        elif op.kind == "FULLY_CONNECTED":
            kernel = kernel.T[None, None]
        elif kernel.shape[0] == 1:  # CONV_3D of one frame
            kernel = kernel[0]
        else:
            raise UnreadableError("a convolution over time that is not depthwise")
        if op.kind == "CONV_2D":
            kernel = _of_one_pixel(kernel, op.options["strideH"], op.options["strideW"])
        channels = kernel.shape[2 if depthwise else 3]
        bias = np.zeros(channels)
        if len(op.inputs) > 2:
            bias = np.asarray(self._value(op.inputs[2]), np.float64)[:channels]
        factor, offset, after = self._affine(op)
        kernel = kernel * (factor.reshape(-1, 1) if depthwise and factor.size > 1 else factor)
        return Linear(
            kernel.astype(np.float32),
            (bias * factor + offset).astype(np.float32),
            depthwise,
            origins,
            op.inputs[1],
            op.outputs[0],
            after,
            self._clips(self.writers[after]),
        )

    def _newest_tap(self, past: Linear) -> "_Tap | None":
        """Find the product that is added to a convolution over past frames alone."""
        add = next(self.behind(past.after), None)
        if add is None or add.kind != "ADD" or len({*add.inputs}) != 2:
            return None
        (tensor,) = {*add.inputs} - {past.after}
        product = self.writers.get(tensor)
        if product is not None and product.kind == "RESHAPE":
            product = self.writers.get(product.inputs[0])
        if product is None or product.kind != "MUL":
            return None
        for frame in product.inputs:
            weights = self.constant_with(product, frame)
            if weights is not None and len(weights) == past.kernel.shape[2]:
                return _Tap(frame, weights, add.outputs[0])
        return None

    def _affine(self, op: Op) -> tuple[NDArray[Any], NDArray[Any], str]:
        """Multiply up the constants behind an operator, as far as they are its alone."""
        factor, offset = np.ones(1), np.zeros(1)
        (after,) = op.outputs
        if self._activates(op):
            return factor, offset, after
        for follower in self.behind(after):
            if follower.kind != "RESHAPE":
                value = self.constant_with(follower, after)
                if value is None or follower.kind not in ("MUL", "ADD", "SUB", "DIV"):
                    break
                if follower.kind in ("SUB", "DIV") and follower.inputs[0] != after:
                    break
                value = value.astype(np.float64)
                match follower.kind:
                    case "MUL":
                        factor, offset = factor * value, offset * value
                    case "DIV":
                        factor, offset = factor / value, offset / value
                    case "ADD":
                        offset = offset + value
                    case "SUB":
                        offset = offset - value
            (after,) = follower.outputs
            if self._activates(follower):
                break
        return factor, offset, after

    def _activates(self, op: Op) -> bool:
        return bool(op.options.get("fusedActivationFunction"))

    def _clips(self, op: Op) -> bool:
        return op.options.get("fusedActivationFunction") == RELU6


def network(graph: Graph, spec: ModelSpec, gate: Gate | None = None) -> Found:
    """Read a model's tensors out of a float graph.

    Args:
        graph: without quantization (:func:`movinet_convert.sources.tflite_float.unrounded`).
        spec: the model that it should be.
        gate: the form of its hard sigmoid, where the file says so itself.

    Raises:
        UnreadableError: another model, or wired in a way that is not known.
    """
    walk = Walk(graph)
    by_name = {unit.name: unit for unit in units(spec, walk.classes)}
    found = Found({}, None, {}, {})
    gates: set[Gate] = set()

    def take(name: str, origins: Origins) -> Origins:
        unit = by_name[name]
        copies = unit.kernel[0] if len(unit.kernel) == 5 else 1
        indices = walk.take(unit, origins, copies)
        linears = [walk.linears[i] for i in indices]
        kernel = np.stack([linear.kernel for linear in linears])
        bias = np.sum([linear.bias for linear in linears], axis=0)
        found.tensors.update(_as_unit(unit, kernel.reshape(unit.kernel), bias))
        found.weights[name] = [linear.weights for linear in linears]
        found.outputs[name] = linears[-1].after
        return frozenset(indices)

    x = take("stem", frozenset({IMAGE}))
    for layer in spec.layers():
        name = layer.name
        last = take(f"{name}/feature", take(f"{name}/expansion", x))
        if f"{name}/temporal" in by_name:
            last = take(f"{name}/temporal", last)
        inputs, factor = last, 1.0
        if f"{name}/se_reduce" in by_name:
            reduce = take(f"{name}/se_reduce", last)
            if spec.positional_encoding:
                (index,) = reduce
                scale = _positional_scale(walk, walk.linears[index])
                found.tensors[f"{name}/positional_scale"] = scale
            expand = take(f"{name}/se_expand", reduce)
            inputs = last | expand
            if spec.gated:
                (index,) = expand
                form, factor = _gate(walk, walk.linears[index], layer, found.tensors, gate)
                gates |= {form} if form else set()
        projection = take(f"{name}/projection", inputs)
        found.tensors[f"{name}/projection/kernel"] *= np.float32(factor)
        found.tensors[f"{name}/scale"] = np.ones((), np.float32)
        skip = take(f"{name}/skip", x) if layer.projects_skip else x
        x = projection | skip
        added = walk.readers.get(found.outputs[f"{name}/projection"], [])
        if added and added[0].kind == "ADD":
            (found.outputs[name],) = added[0].outputs
    project = take("project", x)
    head = take("head", project)
    found.tensors["head/kernel"] *= np.float32(_mean_factor(walk, found.outputs["project"]))
    take("classifier", head)
    left = len(walk.linears) - len(walk.used)
    if left:
        raise UnreadableError(f"{left} convolutions are left over")
    return Found(
        found.tensors, gates.pop() if len(gates) == 1 else None, found.weights, found.outputs
    )


def _ends(graph: Graph) -> tuple[str, str]:
    """Return the image and the logits: the only input and output that are no states."""
    images = [tensor for name, tensor in graph.inputs.items() if name not in graph.outputs]
    logits = [tensor for name, tensor in graph.outputs.items() if name not in graph.inputs]
    if len(images) != 1 or len(logits) != 1:
        raise UnreadableError("its states are not named alike on both sides")
    return images[0], logits[0]


def _as_unit(unit: Unit, kernel: Array, bias: Array) -> Mapping[str, NDArray[Any]]:
    """Name a convolution; where batch norm was, put one that does nothing but add the bias."""
    if not unit.norm:
        return {f"{unit.name}/kernel": kernel, f"{unit.name}/bias": bias}
    ones = np.ones(unit.channels, np.float32)
    return {
        f"{unit.name}/kernel": kernel,
        f"{unit.name}/gamma": ones * np.float32(np.sqrt(1 + NORM_EPSILON)),
        f"{unit.name}/beta": bias,
        f"{unit.name}/moving_mean": ones * 0,
        f"{unit.name}/moving_variance": ones,
    }


def _gate(
    walk: Walk, expand: Linear, layer: Layer, tensors: dict[str, NDArray[Any]], known: Gate | None
) -> tuple[Gate | None, float]:
    """Undo what was folded into a gate: clip(p, 0, top) * m = relu6(factor * z + 3) * slope.

    Writes the kernel and the bias of z, and returns the form that the constants tell (None:
    m is in the projection), and what is left for the projection.
    """
    top, multiplied = _clip(walk, expand)
    m = 1.0 if multiplied is None else multiplied
    told = None if multiplied is None else _form(m * top / 6)
    form = known or told or DEFAULT_GATE
    shape = HARD_SIGMOIDS[form]
    name = f"{layer.name}/se_expand"
    kernel, bias = expand.kernel.astype(np.float64), expand.bias.astype(np.float64)
    tensors[f"{name}/kernel"] = (kernel * 6 / top / shape.factor).astype(np.float32)
    tensors[f"{name}/bias"] = ((bias * 6 / top - 3) / shape.factor).astype(np.float32)
    return told, float(m * top / 6 / shape.slope)


def _form(slope: float) -> Gate | None:
    """Tell the form by its slope, where it was not rounded to half precision."""
    for gate, shape in HARD_SIGMOIDS.items():
        if np.isclose(slope, shape.slope, rtol=1e-6, atol=0):
            return gate
    return None


def _clip(walk: Walk, expand: Linear) -> tuple[float, float | None]:
    """Return where a gate is clipped, and the constant that it is multiplied with, if any."""
    top = 6.0 if expand.clipped else None
    tensor = expand.after
    for op in walk.behind(expand.after):
        value = walk.constant_with(op, tensor)
        if op.kind == "RELU6":
            top = 6.0
        elif op.kind == "RELU_0_TO_1":
            top = 1.0
        elif op.kind == "MINIMUM" and value is not None:
            top = float(value[0])
        elif op.kind == "MUL" and value is not None and top is not None:
            return top, float(value[0])
        elif op.kind not in ("RESHAPE", "RELU", "MAXIMUM"):
            break
        (tensor,) = op.outputs
    if top is None:
        raise UnreadableError("a gate that is no hard sigmoid")
    return top, None


def _mean_factor(walk: Walk, frame: str) -> float:
    """Return a mean's share of the true one: as sum times a constant, it may be rounded."""
    for op in walk.behind(frame):
        if op.kind == "SUM":
            summed = walk.graph.shape(op.inputs[0])
            pixels = np.prod(summed) / np.prod(walk.graph.shape(op.outputs[0]))
            (after,) = walk.readers.get(op.outputs[0], [op])[:1]
            value = walk.constant_with(after, op.outputs[0])
            return 1.0 if value is None or after.kind != "MUL" else float(value[0] * pixels)
    return 1.0


def _positional_scale(walk: Walk, reduce: Linear) -> NDArray[Any]:
    """Find the constant that the sinusoids are multiplied with, above squeeze-excitation."""
    pending = [walk.writers[reduce.output].inputs[0]]
    while pending:
        tensor = pending.pop()
        op = walk.writers.get(tensor)
        if op is None:
            continue
        if op.kind == "MUL" and not walk.origins.get(tensor):
            for x in op.inputs:
                value = walk.constant_with(op, x)
                if value is not None and (value == value[0]).all():
                    return np.asarray(value[0], np.float32)
        if op.kind in ("RESHAPE", "MUL", "ADD"):
            pending += op.inputs
    raise UnreadableError("no scale of the positional encoding")


def _of_one_pixel(kernel: NDArray[Any], stride: int, width_stride: int) -> NDArray[Any]:
    """Undo what gives neighbouring pixels as channels (movinet_convert.quantize.native)."""
    pixels = width_stride // stride
    if pixels < 2:
        return kernel
    channels, width = kernel.shape[3] // pixels, kernel.shape[1] - (pixels - 1) * stride
    parts = [
        kernel[:, i * stride : i * stride + width, :, i * channels : (i + 1) * channels]
        for i in range(pixels)
    ]
    if not all(np.array_equal(part, parts[0]) for part in parts):
        raise UnreadableError("a convolution that strides unlike in height and width")
    return parts[0]


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
