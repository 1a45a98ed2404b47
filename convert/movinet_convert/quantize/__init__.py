"""From the float graph to its variants: each a function from graph to graph."""

from collections.abc import Callable

from movinet_convert.graph import Graph
from movinet_convert.quantize.calibration import Moments
from movinet_convert.quantize.dynamic import dynamic
from movinet_convert.quantize.half import REDUCED_PRECISION, half
from movinet_convert.quantize.states import int8_states

Transform = Callable[[Graph, Moments | None], Graph]

VARIANTS: dict[str, Transform] = {
    "float32": lambda graph, _: graph,
    "float16": lambda graph, _: half(graph),
    "dynamic": dynamic,
    "int8": lambda graph, moments: dynamic(int8_states(graph), moments),
}

__all__ = ["REDUCED_PRECISION", "VARIANTS", "Moments", "dynamic", "half", "int8_states"]
