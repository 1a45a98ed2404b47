"""From the float graph to its variants: each a function from graph to graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from movinet_convert.graph import Graph
from movinet_convert.quantize.calibration import Moments
from movinet_convert.quantize.dynamic import dynamic, is_heavy, pays_beside_half
from movinet_convert.quantize.fixed import Range, fixed_int8, needs
from movinet_convert.quantize.half import REDUCED_PRECISION, half
from movinet_convert.quantize.native import half_precision
from movinet_convert.quantize.states import int8_states
from movinet_convert.quantize.taps import newest_tap_apart


@dataclass(frozen=True)
class Statistics:
    """What calibration knows of the float graph.

    Attributes:
        moments: second moments of convolutions' inputs, by tensor.
        ranges: least and greatest values of activations, by tensor.
    """

    moments: Moments = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)


# By the names of movinet_models.variants.
TRANSFORMS: dict[str, Callable[[Graph, Statistics], Graph]] = {
    "float32": lambda graph, _: newest_tap_apart(graph),
    "float16": lambda graph, _: half(newest_tap_apart(graph)),
    "half": lambda graph, known: half_precision(
        newest_tap_apart(graph), known.moments, pays_beside_half
    ),
    "heavy": lambda graph, known: half(dynamic(newest_tap_apart(graph), known.moments, is_heavy)),
    "dynamic": lambda graph, known: dynamic(newest_tap_apart(graph), known.moments),
    "dynamic-si8": lambda graph, known: dynamic(int8_states(graph), known.moments),
    "int8": lambda graph, known: fixed_int8(graph, known.ranges),
}

# Variants that a core may compute in half precision by itself, and those with rounded weights.
MAY_BE_HALF, CALIBRATED = {"float16", "heavy"}, {"half", "heavy", "dynamic", "dynamic-si8"}


def needs_ranges(variant: str, graph: Graph) -> list[str]:
    """Name the tensors of which a variant's transform must know the range."""
    return needs(graph) if variant == "int8" else []


__all__ = [
    "CALIBRATED",
    "MAY_BE_HALF",
    "REDUCED_PRECISION",
    "TRANSFORMS",
    "Moments",
    "Statistics",
    "dynamic",
    "fixed_int8",
    "half",
    "half_precision",
    "int8_states",
    "needs_ranges",
]
