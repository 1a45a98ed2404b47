"""From the float graph to its variants: each a function from graph to graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from movinet_convert.graph import Graph
from movinet_convert.quantize.calibration import Moments
from movinet_convert.quantize.dynamic import dynamic, is_dense, is_heavy
from movinet_convert.quantize.fixed import Range, fixed_int8, needs
from movinet_convert.quantize.half import REDUCED_PRECISION, half
from movinet_convert.quantize.states import int8_states
from movinet_models.family import ModelSpec


@dataclass(frozen=True)
class Statistics:
    """What calibration knows of the float graph.

    Attributes:
        moments: second moments of convolutions' inputs, by tensor.
        ranges: least and greatest values of activations, by tensor.
    """

    moments: Moments = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)


Transform = Callable[[Graph, Statistics], Graph]

VARIANTS: dict[str, Transform] = {
    "float32": lambda graph, _: graph,
    "float16": lambda graph, _: half(graph),
    # Where a core computes in half precision, everything after the first int8 convolution falls
    # back to float32: int8 comes last.
    "mixed": lambda graph, known: half(dynamic(graph, known.moments, is_dense)),
    # Where it does not, and has no dot product either.
    "wide": lambda graph, known: half(dynamic(graph, known.moments, is_heavy)),
    "dynamic": lambda graph, known: dynamic(graph, known.moments),
    "int8": lambda graph, known: dynamic(int8_states(graph), known.moments),
}

# Variants whose constants are half precision, and those with int8 weights.
HALF, CALIBRATED = {"float16", "mixed", "wide"}, {"mixed", "wide", "dynamic", "int8"}


def transform(spec: ModelSpec, variant: str) -> Transform:
    """Return what makes a variant; int8 of a relu6 network is int8 through the whole trunk."""
    if variant == "int8" and spec.architecture.activation == "relu6":
        return lambda graph, known: fixed_int8(graph, known.ranges)
    return VARIANTS[variant]


def needs_moments(spec: ModelSpec, variant: str) -> bool:
    """Whether a variant rounds weights by what calibration knows of their inputs."""
    fixed = variant == "int8" and spec.architecture.activation == "relu6"
    return variant in CALIBRATED and not fixed


def needs_ranges(spec: ModelSpec, variant: str, graph: Graph) -> list[str]:
    """Name the tensors of which a variant's transform must know the range."""
    fixed = variant == "int8" and spec.architecture.activation == "relu6"
    return needs(graph) if fixed else []


__all__ = [
    "CALIBRATED",
    "HALF",
    "REDUCED_PRECISION",
    "VARIANTS",
    "Moments",
    "Statistics",
    "dynamic",
    "fixed_int8",
    "half",
    "int8_states",
    "needs_moments",
    "needs_ranges",
    "transform",
]
