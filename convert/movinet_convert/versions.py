"""Which version of an operator a file needs, and which runtime has it.

A TFLite file names a version for each of its operators, so that a runtime that is too old says
so instead of computing something else. The facts are those of TensorFlow Lite's op_version.cc and
runtime_version.cc; a test compares them with files that the converter wrote.
"""

from collections.abc import Iterable

import numpy as np

from movinet_convert.graph import Graph, Op

METADATA_NAME, METADATA_BYTES = "min_runtime_version", 16
# By operator and version: the first TensorFlow Lite that has it.
RUNTIMES: dict[tuple[str, int], str] = {
    ("ADD", 1): "1.5.0",
    ("ADD", 2): "1.14.0",
    ("AVERAGE_POOL_2D", 1): "1.5.0",
    ("CONCATENATION", 1): "1.5.0",
    ("CONCATENATION", 2): "1.14.0",
    ("CONV_2D", 1): "1.5.0",
    ("CONV_2D", 3): "1.14.0",
    ("CONV_2D", 5): "2.4.0",
    ("COS", 1): "1.14.0",
    ("DEPTHWISE_CONV_2D", 1): "1.5.0",
    ("DEPTHWISE_CONV_2D", 3): "1.14.0",
    ("DEQUANTIZE", 2): "1.14.0",
    ("DEQUANTIZE", 3): "1.15.0",
    ("DIV", 1): "1.6.0",
    ("HARD_SWISH", 1): "1.15.0",
    ("LOGISTIC", 1): "1.14.0",
    ("MAXIMUM", 1): "1.14.0",
    ("MEAN", 1): "1.6.0",
    ("MUL", 1): "1.5.0",
    ("PAD", 1): "1.5.0",
    ("QUANTIZE", 1): "1.14.0",
    ("REDUCE_MAX", 1): "1.11.0",
    ("RESHAPE", 1): "1.5.0",
    ("SIN", 1): "1.9.0",
    ("SLICE", 1): "1.14.0",
    ("SLICE", 5): "2.5.0",
    ("SUB", 1): "1.6.0",
}


def operator_version(op: Op, graph: Graph) -> int:
    """Return the version of an operator that takes tensors like these."""
    tensors = [graph.tensors[name] for name in op.inputs]
    first = tensors[0].dtype
    int8 = first == np.int8
    match op.kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D" if tensors[1].dtype == np.int8:
            hybrid = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6}[op.kind]  # one scale a channel
            return 3 if int8 else hybrid
        case "DEQUANTIZE":
            return 3 if first == np.float16 else 2
        case "SLICE" if len(tensors[0].shape) > 4:
            return 5
        case "ADD" | "CONCATENATION" | "SLICE" if int8:
            return 2
    return 1


def min_runtime_version(versions: Iterable[tuple[str, int]]) -> bytes:
    """Return the oldest runtime that has all of them, as its metadata entry is written.

    Raises:
        KeyError: an operator in a version that this table does not know.
    """
    needed = max((RUNTIMES[version] for version in versions), key=_parts)
    return needed.encode().ljust(METADATA_BYTES, b"\0")


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
