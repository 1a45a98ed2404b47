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

Time: operators that can be joined take the longer of their arithmetic at this machine's highest
rate and their bytes at its highest bandwidth (Williams, Waterman, Patterson: Roofline, CACM
52(4), 2009).
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
        tile: rows and channels that XNNPACK's kernel of float32, or half precision, has in
            registers there (seen in what the emulation executes).
    """

    half: bool
    dot: bool
    tile: tuple[int, int]


VECTORS = {
    "cortex-a72": Vectors(half=False, dot=False, tile=(4, 16)),
    "cortex-a76": Vectors(half=True, dot=True, tile=(6, 16)),
}


@dataclass(frozen=True)
class Least:
    """The least instructions or milliseconds, by what they are for.

    Attributes:
        products: multiply-adds.
        memory: loads and stores; of time, that of operators which wait for their bytes.
        other: all other arithmetic.
    """

    products: float = 0.0
    memory: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.products + self.memory + self.other

    def __add__(self, more: "Least") -> "Least":
        """Add up part by part."""
        return Least(
            self.products + more.products, self.memory + more.memory, self.other + more.other
        )


def by_kind(parts: Iterable[tuple[str, Least]]) -> dict[str, Least]:
    """Add up what belongs to one kind of operator; in the order of ``KINDS``."""
    found = dict.fromkeys(KINDS, Least())
    for kind, part in parts:
        found[kind] += part
    return found


def least_instructions(step: Step, vectors: Vectors) -> dict[str, Least]:
    """Return the least instructions of a step by the kind of operator.

    Args:
        step: of a file.
        vectors: of a core; it computes in half precision if it can and the file has any.
    """
    widths = Widths(half=step.half and vectors.half)
    parts = []
    for op in step.operators:
        lanes = REGISTER / widths.arithmetic(op)
        products = op.multiply_adds / lanes
        if op.int8:
            products = op.multiply_adds / (DOT if vectors.dot else WIDENED)
            parts.append((CONVERSIONS, _quantized(op, widths)))
        parts.append((op.kind, Least(products, _transfers(op, widths), op.work / lanes)))
    if widths.half:  # what comes and goes in float32
        border = {t.index: t for t in (*step.inputs.values(), *step.outputs.values())}
        outside = sum(t.size for t in border.values() if t.dtype == "FLOAT32")
        parts.append((CONVERSIONS, Least(other=4 * outside / REGISTER)))
    return by_kind(parts)


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


def _quantized(op: Operator, widths: Widths) -> Least:
    floats = [t.dtype in FLOATS for t in (*op.inputs, *op.outputs)]
    if not all(floats):
        return Least()
    inputs, outputs = (sum(t.size for t in side) for side in (op.inputs, op.outputs))
    lanes = REGISTER / (2.0 if widths.half else 4.0)
    return Least(other=(QUANTIZED_IN * inputs + QUANTIZED_OUT * outputs) / lanes)


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
        operators: multiply-adds of each operator, and its least time where all that it reads
            is in the caches.
        by_kind: these added up.
        paced: all of it, where weights, states and image come from the memory.
    """

    operators: Sequence[tuple[int, Least]]
    by_kind: Mapping[str, Least]
    paced: float

    @property
    def total(self) -> float:
        """All of it, in the caches."""
        return sum(one.total for one in self.by_kind.values())

    def below(self, limit: int) -> float:
        """Of operators with fewer multiply-adds."""
        return sum(one.total for products, one in self.operators if products < limit)


def least_time(step: Step, peak: Peak) -> Milliseconds:
    """Return the least time of a step on one core of this machine."""
    widths = Widths(half=False)
    parts: list[tuple[Operator, Least]] = []
    paced = 0.0
    # Bytes of a tensor that the step has not just written: its inputs', also through copies.
    far = {t.index: widths.bytes((t,)) for t in step.inputs.values()}
    for op in step.operators:
        if op.kind == COPIES:
            far |= {t.index: sum(far.get(t.index, 0.0) for t in op.inputs) for t in op.outputs}
    for group in step.groups():
        computed, moved, fetched = [], [], 0.0
        for op in group:
            rate = peak.int8 if op.int8 else peak.float32
            products, other = 1e3 * op.multiply_adds / rate, 1e3 * op.work / peak.float32
            computed.append(Least(products, other=other))
            needed = memory_bytes(op, widths)
            moved.append(Least(memory=1e3 * needed / peak.cached))
            outside = sum(far.get(t.index, 0.0) for t in op.inputs) + widths.bytes(op.weights)
            outside = 0.0 if op.fused else min(needed, outside)
            fetched += 1e3 * (outside / peak.memory + (needed - outside) / peak.cached)
        computing, moving = (sum(one.total for one in side) for side in (computed, moved))
        parts += zip(group, moved if moving > computing else computed, strict=True)
        paced += max(computing, fetched)
    operators = [(op.multiply_adds, part) for op, part in parts]
    return Milliseconds(operators, by_kind((op.kind, part) for op, part in parts), paced)
