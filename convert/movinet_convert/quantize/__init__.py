"""From the float graph to its variants: each a function from graph to graph."""

from collections.abc import Callable

from movinet_convert.graph import Graph
from movinet_convert.quantize.calibration import Moments
from movinet_convert.quantize.dynamic import dynamic, is_dense, is_heavy
from movinet_convert.quantize.half import REDUCED_PRECISION, half
from movinet_convert.quantize.states import int8_states

Transform = Callable[[Graph, Moments | None], Graph]

VARIANTS: dict[str, Transform] = {
    "float32": lambda graph, _: graph,
    "float16": lambda graph, _: half(graph),
    # Where a core computes in half precision, everything after the first int8 convolution falls
    # back to float32: int8 comes last.
    "mixed": lambda graph, moments: half(dynamic(graph, moments, is_dense)),
    # Where it does not, and has no dot product either.
    "wide": lambda graph, moments: half(dynamic(graph, moments, is_heavy)),
    "dynamic": dynamic,
    "int8": lambda graph, moments: dynamic(int8_states(graph), moments),
}

# Variants whose constants are half precision, and those with int8 weights.
HALF, CALIBRATED = {"float16", "mixed", "wide"}, {"mixed", "wide", "dynamic", "int8"}

__all__ = [
    "CALIBRATED",
    "HALF",
    "REDUCED_PRECISION",
    "VARIANTS",
    "Moments",
    "dynamic",
    "half",
    "int8_states",
]
