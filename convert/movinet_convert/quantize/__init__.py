"""From the float graph to its variants: each a function from graph to graph."""

from collections.abc import Callable

from movinet_convert.graph import Graph
from movinet_convert.quantize.calibration import Moments
from movinet_convert.quantize.dynamic import dynamic, is_dense
from movinet_convert.quantize.half import REDUCED_PRECISION, half
from movinet_convert.quantize.states import int8_states

Transform = Callable[[Graph, Moments | None], Graph]

VARIANTS: dict[str, Transform] = {
    "float32": lambda graph, _: graph,
    "float16": lambda graph, _: half(graph),
    # Where a core computes in half precision, int8 pays only where each weight is used once
    # a frame; anywhere else it would also throw its neighbours back to float32.
    "mixed": lambda graph, moments: half(dynamic(graph, moments, is_dense)),
    "dynamic": dynamic,
    "int8": lambda graph, moments: dynamic(int8_states(graph), moments),
}

# Variants whose constants are half precision, and those with int8 weights.
HALF, CALIBRATED = {"float16", "mixed"}, {"mixed", "dynamic", "int8"}

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
