"""What one step of a model file computes and moves, operator by operator.

Read from the file alone: no weights are looked at and nothing runs, so that the same file
always gives the same counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from pathlib import Path
from typing import Any

from movinet_runtime.errors import ModelFileError
from movinet_runtime.model_file import ModelFile

DENSE = "dense convolutions"
SPATIAL = "depthwise convolutions, in space"
TEMPORAL = "depthwise convolutions, in time"
GATES = "squeeze-excitation"
HEAD = "head and classifier"
ACTIVATIONS = "activations"
ELEMENTWISE = "sums, products and means, element by element"
CONVERSIONS = "conversions between number formats"
COPIES = "copies"
PRODUCT_KINDS = (DENSE, SPATIAL, TEMPORAL, GATES, HEAD)
KINDS = (*PRODUCT_KINDS, ACTIVATIONS, ELEMENTWISE, CONVERSIONS, COPIES)

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Vector operations for each value that comes out, at least. A hard swish is x + 3, two limits
# and a product: the sixth can be folded into weights.
OF_OUTPUTS = {
    ACTIVATIONS: {"HARD_SWISH": 4, "LOGISTIC": 1, "RELU": 1, "RELU6": 2, "SIN": 1, "COS": 1},
    ELEMENTWISE: dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "ABS"), 1),
    CONVERSIONS: dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST"), 1),
}
# For each value that goes in: they can be made while it is computed, so it is not read again.
REDUCTIONS = {"MEAN": 1, "SUM": 1, "REDUCE_MAX": 1, "REDUCE_MIN": 1}
POOL = "AVERAGE_POOL_2D"
VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
MOVES = ("CONCATENATION", "SLICE", "STRIDED_SLICE", "SPLIT", "PAD", "TRANSPOSE", "PACK", "UNPACK")
LIMITS = {"NONE": 0, "RELU": 1, "RELU6": 2, "RELU_N1_TO_1": 2}
BITS = {"FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "INT64": 64, "INT8": 8, "UINT8": 8, "INT4": 4}
FLOATS = ("FLOAT32", "FLOAT16")


@dataclass(frozen=True)
class Tensor:
    """A tensor; views of one memory are one tensor.

    Attributes:
        index: of the first of its views in the file.
        dtype: the schema's name of it, ``FLOAT32``.
        constant: whether it comes from the file.
        border: ``image``, ``logits`` and the like of the signature; None inside.
        local: whether it need never be in memory: one operator writes it, one other reads
            it, and the two can be joined.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    constant: bool = False
    border: str | None = None
    local: bool = False

    @property
    def size(self) -> int:
        """Number of its values."""
        return prod(self.shape)

    @property
    def bits(self) -> int:
        """Of each value."""
        return BITS[self.dtype]

    @property
    def bytes(self) -> int:
        """In the file's format."""
        return self.size * self.bits // 8


@dataclass(frozen=True)
class Operator:
    """An operator that computes or moves something.

    Attributes:
        op: TFLite's name of it.
        kind: one of ``KINDS``.
        rows: of a matrix product: positions that share the weights; 1 for a vector.
        multiply_adds: of a convolution, its zeros at the borders of pictures included.
        work: other vector operations, as numbers of values.
        inputs: what is computed or comes from outside.
        outputs: what it writes.
        weights: constants that every step reads.
        fused: whether its inputs pass by while they are computed.
    """

    op: str
    kind: str
    rows: int
    multiply_adds: int
    work: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    fused: bool = False

    @property
    def int8(self) -> bool:
        """Whether it multiplies whole numbers."""
        return self.multiply_adds > 0 and self.weights[0].dtype in ("INT8", "INT4")


@dataclass(frozen=True)
class Step:
    """All operators of a step, and the signature's tensors."""

    operators: tuple[Operator, ...]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @property
    def multiply_adds(self) -> int:
        """Of all convolutions."""
        return sum(op.multiply_adds for op in self.operators)

    @cached_property
    def half(self) -> bool:
        """Whether the file has half precision in it, so that a core may compute in it."""
        return any(t.dtype == "FLOAT16" for op in self.operators for t in (*op.weights, *op.inputs))

    @property
    def states(self) -> dict[str, Tensor]:
        """What goes in and comes out by one name, the count of frames included."""
        return {name: one for name, one in self.inputs.items() if name in self.outputs}

    @property
    def weight_bytes(self) -> int:
        """Of all constants that a step reads, in the file's formats."""
        return sum({t.index: t.bytes for op in self.operators for t in op.weights}.values())

    def groups(self) -> list[list[Operator]]:
        """Return the operators, those that can be joined together, in the order of execution."""
        found: list[list[Operator]] = []
        homes: dict[int, list[Operator]] = {}
        for op in self.operators:
            joined = {id(homes[t.index]): homes[t.index] for t in op.inputs if t.local}
            found = [group for group in found if id(group) not in joined]
            group = [*(member for part in joined.values() for member in part), op]
            found.append(group)
            homes |= {t.index: group for member in group for t in member.outputs}
        return found

    def multiply_adds_by_kind(self) -> dict[str, int]:
        """Return multiply-adds by kind, in the order of ``PRODUCT_KINDS``."""
        counted: Counter[str] = Counter()
        for op in self.operators:
            counted[op.kind] += op.multiply_adds
        return {kind: counted[kind] for kind in PRODUCT_KINDS}

    def bytes_moved(self) -> dict[str, int]:
        """Return what the file's operators move, in the file's formats, by what it is.

        Each operator reads what it needs once and writes its result once.
        """
        moved: Counter[str] = Counter()
        states = self.states
        for op in self.operators:
            moved["weights"] += sum(t.bytes for t in op.weights)
            for verb, tensors in (("read", op.inputs), ("written", op.outputs)):
                for tensor in tensors:
                    owner = "states" if tensor.border in states else tensor.border
                    moved[f"{owner or 'activations'} {verb}"] += tensor.bytes
        return dict(sorted(moved.items()))

    def tiled(self, rows: int, channels: int) -> float:
        """Return the dense convolutions' multiply-adds in whole tiles, over those they have.

        A kernel computes a tile of rows and output channels in registers, also where the tensor
        has no more.
        """
        made = whole = 0
        for op in self.operators:
            if op.kind == DENSE:
                outputs = op.weights[0].shape[0]
                tiles = ceil(op.rows / rows) * ceil(outputs / channels)
                made += op.multiply_adds
                whole += tiles * rows * channels * (op.multiply_adds // (op.rows * outputs))
        return whole / made

    def share_below(self, limit: int) -> tuple[float, float]:
        """Return the shares of operators and of multiply-adds in operators that have fewer."""
        small = [op for op in self.operators if op.multiply_adds < limit]
        products = sum(op.multiply_adds for op in small)
        return len(small) / len(self.operators), products / self.multiply_adds


def counted(path: Path) -> Step:
    """Count a model file.

    Raises:
        ModelFileError: no model, or an operator that this does not know.
    """
    from ai_edge_litert import schema_py_generated as tfl

    content = ModelFile.read(path).content
    try:
        model = tfl.ModelT.InitFromPackedBuf(content, 0)
        return _Reader(model, tfl, path).step()
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} cannot be counted: {error}") from error


class _Reader:
    """Reads the first subgraph of a model."""

    def __init__(self, model: Any, schema: Any, path: Path) -> None:
        self.path, self.graph, self.model = path, model.subgraphs[0], model
        self.kinds = _names(schema.BuiltinOperator)
        self.dtypes = _names(schema.TensorType)
        self.activations = _names(schema.ActivationFunctionType)
        signature = model.signatureDefs[0]
        self.inputs, self.outputs = (
            {each.name.decode(): int(each.tensorIndex) for each in side}
            for side in (signature.inputs, signature.outputs)
        )
        self.ops = [(self._name(op), op) for op in self.graph.operators]
        self.constants = {
            i for i, t in enumerate(self.graph.tensors) if _filled(model.buffers[t.buffer])
        }
        self.roots: dict[int, int] = {}
        self._find_roots()
        self.taps = self._taps()

    def step(self) -> Step:
        """Return the operators that do something."""
        self.local = self._local()
        last = max(
            (i for i, (op, node) in enumerate(self.ops) if self._positions(op, node) > 1),
            default=-1,
        )
        operators = [
            self._operator(op, node, i > last)
            for i, (op, node) in enumerate(self.ops)
            if not self._is_free(op, node)
        ]
        sides = (self.inputs, self.outputs)
        inputs, outputs = ({n: self._tensor(i) for n, i in side.items()} for side in sides)
        return Step(tuple(operators), inputs, outputs)

    def _name(self, op: Any) -> str:
        code = self.model.operatorCodes[op.opcodeIndex]
        name = self.kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        known = (*CONVOLUTIONS, *REDUCTIONS, POOL, *VIEWS, *MOVES)
        if name not in known and not any(name in ops for ops in OF_OUTPUTS.values()):
            raise ModelFileError(f"{self.path} has an operator {name}, which is not counted here")
        return name

    def _find_roots(self) -> None:
        """A view is the tensor that it shows; a constant is what the file holds of it."""
        for name, op in self.ops:
            source, result = int(op.inputs[0]), int(op.outputs[0])
            if self._root(source) in self.constants and name in (*VIEWS, "DEQUANTIZE"):
                self.roots[result] = self._root(source)  # done once, when the file is loaded
            elif name in VIEWS:
                self.roots[result] = self._root(source)

    def _taps(self) -> set[int]:
        """Products of a frame with its own weights: a temporal convolution's output is added.

        See movinet_convert/quantize/taps.py.
        """
        made = {
            self._root(int(op.outputs[0])): (name, op)
            for name, op in self.ops
            if not self._is_free(name, op)
        }
        found = set()
        for name, op in self.ops:
            if name == "ADD":
                terms = dict(made.get(self._root(int(i)), ("", None)) for i in op.inputs)
                product, convolution = terms.get("MUL"), terms.get("DEPTHWISE_CONV_2D")
                if product is None or convolution is None:
                    continue
                constant = [self._root(int(i)) in self.constants for i in product.inputs]
                if any(constant) and _over_time(self._shape(convolution.inputs[1])):
                    found.add(self._root(int(product.outputs[0])))
        return found

    def _root(self, index: int) -> int:
        return self.roots.get(index, index)

    def _is_free(self, name: str, op: Any) -> bool:
        return name in VIEWS or self._root(int(op.outputs[0])) in self.constants

    def _local(self) -> set[int]:
        """Tensors that pass from one operator to the next in registers.

        What works element by element joins the convolution before it, or else the one behind:
        never two of them.
        """
        readers: Counter[int] = Counter()
        computing = [(name, op) for name, op in self.ops if not self._is_free(name, op)]
        for _, op in computing:
            readers.update({self._root(int(i)) for i in op.inputs if i >= 0})
        outside = {self._root(i) for i in (*self.inputs.values(), *self.outputs.values())}
        joining = {name for ops in OF_OUTPUTS.values() for name in ops} | REDUCTIONS.keys()
        written: dict[int, bool] = {}  # whether by a convolution or what has joined one
        local: set[int] = set()
        for name, op in computing:
            joined = name not in joining
            for tensor in {self._root(int(i)) for i in op.inputs if i >= 0}:
                if readers[tensor] > 1 or tensor in outside or tensor not in written:
                    continue
                if joined and written[tensor]:
                    continue
                if name not in MOVES:
                    local.add(tensor)
                    joined |= written[tensor]
            for i in op.outputs:
                if name not in MOVES:
                    written[self._root(int(i))] = joined
        return local

    def _tensor(self, index: int) -> Tensor:
        root = self._root(index)
        tensor = self.graph.tensors[root]
        shape = tuple(int(n) for n in tensor.shape) if tensor.shape is not None else ()
        borders = {self._root(i): n for n, i in (*self.inputs.items(), *self.outputs.items())}
        dtype = self.dtypes[tensor.type]
        if dtype not in BITS:
            raise ModelFileError(f"{self.path} has a tensor of {dtype}, which is not counted here")
        constant = root in self.constants
        return Tensor(root, shape, dtype, constant, borders.get(root), root in self.local)

    def _shape(self, index: int) -> tuple[int, ...]:
        """The shape of a view itself."""
        shape = self.graph.tensors[int(index)].shape
        return tuple(int(n) for n in shape) if shape is not None else ()

    def _positions(self, name: str, op: Any) -> int:
        """Places in space that a matrix product computes; 0 if it is none."""
        if name not in ("CONV_2D", "FULLY_CONNECTED"):
            return 0
        return prod(self._shape(op.outputs[0])[1:-1])

    def _operator(self, name: str, op: Any, behind: bool) -> Operator:
        tensors = [self._tensor(int(i)) for i in op.inputs if i >= 0]
        inputs = tuple(t for t in tensors if not t.constant)
        outputs = tuple(self._tensor(int(i)) for i in op.outputs)
        weights = tuple(t for t in tensors if t.constant)
        if name in MOVES or name in REDUCTIONS:  # offsets and axes are known beforehand
            weights = ()
        shape = self._shape(op.outputs[0])
        size, limits = prod(shape), self._limits(op)
        if name in CONVOLUTIONS:
            kernel = weights[0].shape
            taps = prod(kernel[:-1]) if name == "DEPTHWISE_CONV_2D" else prod(kernel[1:])
            kind = self._convolution_kind(name, op, kernel, behind)
            rows = size // shape[-1]
            return Operator(name, kind, rows, size * taps, limits, inputs, outputs, weights)
        if outputs[0].index in self.taps:
            rows = size // shape[-1]
            return Operator(name, TEMPORAL, rows, size, limits, inputs, outputs, weights)
        kind, work = ELEMENTWISE, limits
        if name == "ADD" and any(t.index in self.taps for t in inputs):
            pass  # it is counted with the product
        elif name in REDUCTIONS:
            work += REDUCTIONS[name] * inputs[0].size
        elif name == POOL:
            options = op.builtinOptions
            work += size * options.filterWidth * options.filterHeight
        elif name in MOVES:
            kind = COPIES
        else:
            kind = next(kind for kind, ops in OF_OUTPUTS.items() if name in ops)
            work += OF_OUTPUTS[kind][name] * size
        return Operator(name, kind, 0, 0, work, inputs, outputs, weights, name in REDUCTIONS)

    def _convolution_kind(self, name: str, op: Any, kernel: Sequence[int], behind: bool) -> str:
        if name == "DEPTHWISE_CONV_2D":
            return TEMPORAL if _over_time(kernel) else SPATIAL
        if self._positions(name, op) > 1:
            return DENSE
        return HEAD if behind else GATES

    def _limits(self, op: Any) -> int:
        """Operations of an activation that is fused into an operator."""
        code = getattr(op.builtinOptions, "fusedActivationFunction", 0)
        return LIMITS[self.activations[code]] * prod(self._shape(op.outputs[0]))


def _names(enumeration: Any) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


def _over_time(kernel: Sequence[int]) -> bool:
    """Whether a depthwise kernel [1, height, width, channels] has frames for its rows."""
    _, height, width, _ = kernel
    return width == 1 and height > 1


def _filled(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0
