"""The tensors of a model: canonical names, shapes, and random values.

A set of weights is a plain ``dict[str, numpy.ndarray]`` in these names,
whatever it was read from; the Keras network and the stream graph both take it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet_models.family import Gate, ModelSpec

Array = NDArray[np.float32]
Weights = dict[str, Array]
Shape = tuple[int, ...]

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class HardSigmoid:
    """relu6(factor * x + 3) * slope: both forms of the gate with the same operators."""

    factor: float
    slope: float


HARD_SIGMOIDS: dict[Gate, HardSigmoid] = {
    "fifth": HardSigmoid(factor=1.2, slope=1 / 6),  # clip(x/5 + 1/2) = relu6(1.2 x + 3) / 6
    # The reference rounds the sixth of its hard sigmoid (not that of its hard swish). Trained
    # weights have seen this value; a true sixth costs 5e-5 of the logits' range on A3.
    "sixth": HardSigmoid(factor=1.0, slope=0.16667),
}
DEFAULT_GATE: Gate = "sixth"  # of trainings that start from nothing


@dataclass(frozen=True)
class Unit:
    """One convolution with what follows it: batch norm, or a bias."""

    name: str
    kernel: Shape
    depthwise: bool = False
    norm: bool = True

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.kernel[-2] if self.depthwise else self.kernel[-1]

    def parameters(self) -> dict[str, Shape]:
        """Return the unit's tensors by canonical name."""
        leaves = NORM if self.norm else ("bias",)
        return {f"{self.name}/kernel": self.kernel} | {
            f"{self.name}/{leaf}": (self.channels,) for leaf in leaves
        }


def units(spec: ModelSpec, classes: int) -> Iterator[Unit]:
    """Yield the convolutions in the order in which data meets them.

    Kernels are (height, width, in, out), depthwise ones (height, width, channels, 1),
    the base form's (time, height, width, channels, 1), temporal ones (time, 1, channels, 1).
    """
    arch = spec.architecture
    yield Unit("stem", (3, 3, 3, arch.stem))
    for layer in spec.layers():
        kt, kh, kw = layer.kernel
        c = layer.expand
        yield Unit(f"{layer.name}/expansion", (1, 1, layer.in_filters, c))
        if spec.streams:
            yield Unit(f"{layer.name}/feature", (kh, kw, c, 1), depthwise=True)
            if kt > 1:
                yield Unit(f"{layer.name}/temporal", (kt, 1, c, 1), depthwise=True)
        else:
            yield Unit(f"{layer.name}/feature", (kt, kh, kw, c, 1), depthwise=True)
        if arch.squeeze_excitation:
            hidden = layer.se_hidden
            yield Unit(f"{layer.name}/se_reduce", (1, 1, layer.se_inputs, hidden), norm=False)
            yield Unit(f"{layer.name}/se_expand", (1, 1, hidden, c), norm=False)
        yield Unit(f"{layer.name}/projection", (1, 1, c, layer.filters))
        if layer.projects_skip:
            yield Unit(f"{layer.name}/skip", (1, 1, layer.in_filters, layer.filters))
        filters = layer.filters
    yield Unit("project", (1, 1, filters, arch.project))
    yield Unit("head", (1, 1, arch.project, arch.head), norm=False)
    yield Unit("classifier", (1, 1, arch.head, classes), norm=False)


def parameters(spec: ModelSpec, classes: int) -> dict[str, Shape]:
    """Return every tensor's name and shape, scalars of the layers included."""
    shapes: dict[str, Shape] = {}
    for unit in units(spec, classes):
        shapes |= unit.parameters()
    for layer in spec.layers():
        shapes[f"{layer.name}/scale"] = ()
        if spec.positional_encoding:
            shapes[f"{layer.name}/positional_scale"] = ()
    return shapes


def random_weights(spec: ModelSpec, classes: int, seed: int = 0) -> Weights:
    """Return untrained weights that keep activations at a useful size.

    Scales are far from zero, so that every layer takes part in the output;
    meant for tests, benchmarks and the demo, not as a start for training.
    """
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in parameters(spec, classes).items():
        match name.rpartition("/")[2]:
            case "kernel":
                depthwise = shape[-1] == 1 and "classifier" not in name
                fan_in = np.prod(shape[:-2] if depthwise else shape[:-1])
                value = rng.normal(0, np.sqrt(2 / fan_in), shape)
            case "gamma":
                value = rng.uniform(0.7, 1.3, shape)
            case "moving_variance":
                value = rng.uniform(0.5, 1.5, shape)
            case "scale" | "positional_scale":
                value = rng.uniform(0.3, 0.7, shape)
            case _:
                value = rng.normal(0, 0.2, shape)
        weights[name] = np.asarray(value, np.float32)
    return weights
