"""The least that a step can take: instructions of an ARM core, or time of this machine.

Both models take the network operator by operator, as the file has it, with ordinary
products (no Winograd, no sparsity), and leave out whatever is not arithmetic, a load or a
store: addresses, loops, calls, copies, Python.

    in memory      a tensor is written once and read once by each operator that needs it
    in registers   a tensor is neither, where an operator that works element by element can
                   be joined with the only other one that knows it; means are taken of what
                   is just being computed

Instructions: a vector multiply-add has as many products as lanes. A load or store moves two
registers (LDP, STP). A matrix product of r rows, k inputs and c outputs reads at least
2 r k c / sqrt(S) - 2 S values into S places for values in registers, whatever its blocking
(Smith, Lowery, Langou, van de Geijn: A tight I/O lower bound for matrix multiplication,
arXiv:1702.02017), and at least its weights and inputs once.

Time: each operator takes the longer of its arithmetic at this machine's highest rate and its
bytes at its highest bandwidth (Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from movinet_benchmarks.limits.count import (
    CONVERSIONS,
    COPIES,
    DENSE,
    FLOATS,
    KINDS,
    Operator,
    Step,
    Tensor,
)

REGISTER = 16  # bytes of a vector register
REGISTERS = 32
PAIR = 2 * REGISTER  # bytes that LDP and STP move

# Without dot products int8 is multiplied into 16 bits twice and added up: three for 16.
WIDENED = 16 / 3
DOT = 16.0
# An int8 convolution with float activations finds their range (two limits), scales and rounds
# them, and scales its sums: vector operations for each value of float32.
QUANTIZED_IN, QUANTIZED_OUT = 4, 2


@dataclass(frozen=True)
class Vectors:
    """What a core's vector unit has beside float32.

    Attributes:
        half: arithmetic in half precision.
        dot: dot products of int8.
    """

    half: bool
    dot: bool


VECTORS = {"cortex-a72": Vectors(half=False, dot=False), "cortex-a76": Vectors(True, True)}


@dataclass(frozen=True)
class Instructions:
    """The least instructions: vector multiply-adds, loads and stores, all other arithmetic."""

    products: float = 0.0
    memory: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.products + self.memory + self.other

    def __add__(self, more: "Instructions") -> "Instructions":
        """Add up part by part."""
        return Instructions(
            self.products + more.products, self.memory + more.memory, self.other + more.other
        )


def least_instructions(step: Step, vectors: Vectors) -> dict[str, Instructions]:
    """Return the least instructions of a step by the kind of operator.

    Args:
        step: of a file.
        vectors: of a core; it computes in half precision if it can and the file has any.
    """
    found: dict[str, Instructions] = {}
    widths = Widths(half=step.half and vectors.half)

    def add(kind: str, part: Instructions) -> None:
        found[kind] = found.get(kind, Instructions()) + part

    for op in step.operators:
        width = widths.arithmetic(op)
        lanes = REGISTER / width
        if op.int8:
            products = op.multiply_adds / (DOT if vectors.dot else WIDENED)
            add(CONVERSIONS, _quantized(op, widths))
        else:
            products = op.multiply_adds / lanes
        add(op.kind, Instructions(products, _transfers(op, widths), op.work / lanes))
    if widths.half:  # what comes and goes in float32
        border = {t.index: t for t in (*step.inputs.values(), *step.outputs.values())}
        outside = sum(t.size for t in border.values() if t.dtype == "FLOAT32")
        add(CONVERSIONS, Instructions(other=4 * outside / REGISTER))
    return found


@dataclass(frozen=True)
class Widths:
    """How many bytes values have where a step runs: float32 unless that runs in half precision."""

    half: bool

    def of(self, tensor: Tensor) -> float:
        """Bytes of a value."""
        if tensor.border is not None or tensor.dtype not in FLOATS:
            return tensor.bits / 8
        return 2.0 if self.half else 4.0

    def bytes(self, tensors: Iterable[Tensor]) -> float:
        """Of all of them together."""
        return sum(t.size * self.of(t) for t in tensors)

    def arithmetic(self, op: Operator) -> float:
        """Bytes of a value in an operator's arithmetic: of the widest that it knows."""
        floats = [t for t in (*op.inputs, *op.outputs) if t.dtype in FLOATS]
        if floats:
            return 2.0 if self.half else 4.0
        return max(t.bits / 8 for t in op.outputs)


def memory_bytes(op: Operator, widths: Widths) -> float:
    """Bytes that an operator must read and write: nothing that stays in registers, no copies."""
    if op.kind == COPIES:
        return 0.0
    read = [] if op.fused else [t for t in op.inputs if not t.local]
    return widths.bytes((*read, *op.weights, *(t for t in op.outputs if not t.local)))


def _transfers(op: Operator, widths: Widths) -> float:
    """The least loads and stores of an operator."""
    least = memory_bytes(op, widths)
    if op.rows > 1 and op.kind == DENSE:
        value = widths.of(op.weights[0])
        places = REGISTERS * REGISTER / value
        blocked = (2 * op.multiply_adds / sqrt(places) - 2 * places) * value
        stores = widths.bytes(t for t in op.outputs if not t.local)
        least = max(least, blocked + stores)
    return least / PAIR


def _quantized(op: Operator, widths: Widths) -> Instructions:
    floats = [t.dtype in FLOATS for t in (*op.inputs, *op.outputs)]
    if not all(floats):
        return Instructions()
    inputs, outputs = (sum(t.size for t in side) for side in (op.inputs, op.outputs))
    lanes = REGISTER / (2.0 if widths.half else 4.0)
    return Instructions(other=(QUANTIZED_IN * inputs + QUANTIZED_OUT * outputs) / lanes)


@dataclass(frozen=True)
class Peak:
    """What one core of this machine can do at most.

    Attributes:
        float32: multiply-adds a second.
        int8: the same, of int8 into int32.
        cached: bytes a second that are read from the cache that a model fits in.
        memory: bytes a second that are read from the memory.
    """

    float32: float
    int8: float
    cached: float
    memory: float


@dataclass(frozen=True)
class Milliseconds:
    """The least time of a step.

    Attributes:
        by_operator: multiply-adds, and milliseconds where all that is read is in the caches.
        by_kind: these added up.
        arithmetic: of which operators that their arithmetic holds up.
        cold: weights, states and image come from the memory.
    """

    by_operator: Sequence[tuple[int, float]]
    by_kind: Mapping[str, float]
    arithmetic: float
    cold: float

    @property
    def total(self) -> float:
        """All of it, hot."""
        return sum(self.by_kind.values())

    def below(self, limit: int) -> float:
        """Of operators with fewer multiply-adds."""
        return sum(time for products, time in self.by_operator if products < limit)


def least_time(step: Step, peak: Peak) -> Milliseconds:
    """Return the least time of a step on one core of this machine."""
    widths = Widths(half=False)
    by_kind: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    by_operator: list[tuple[int, float]] = []
    arithmetic = cold = 0.0
    # Bytes of a tensor that the step has not just written: its inputs', also through copies.
    cached_not = {t.index: widths.bytes((t,)) for t in step.inputs.values()}
    for op in step.operators:
        rate = peak.int8 if op.int8 else peak.float32
        computing = 1e3 * (op.multiply_adds / rate + op.work / peak.float32)
        needed = memory_bytes(op, widths)
        moving = 1e3 * needed / peak.cached
        outside = sum(cached_not.get(t.index, 0.0) for t in op.inputs) + widths.bytes(op.weights)
        if op.kind == COPIES:
            cached_not |= {t.index: outside for t in op.outputs}
        fetched = 0.0 if op.fused else min(needed, outside)
        fetching = 1e3 * (fetched / peak.memory + (needed - fetched) / peak.cached)
        by_kind[op.kind] += max(computing, moving)
        by_operator.append((op.multiply_adds, max(computing, moving)))
        arithmetic += computing if computing >= moving else 0.0
        cold += max(computing, fetching)
    return Milliseconds(by_operator, by_kind, arithmetic, cold)
