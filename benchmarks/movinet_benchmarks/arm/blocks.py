"""Where the instructions of a frame go, by what the loops do that run them.

    python -m movinet_benchmarks.arm.blocks MODEL --core cortex-a72

The emulator's plugin counts each block of instructions by itself and writes it out in
assembly language. Kernels have no names in the wheels, so a block is known by what is in it: a
matrix product multiplies by single elements, a hard swish has as many limits as products. A
block without arithmetic goes with the function that it belongs to; where functions begin is in
the library's table for unwinding.
"""

import bisect
import json
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.arm.cores import AARCH64, CORES
from movinet_benchmarks.arm.decode import decoded
from movinet_benchmarks.arm.emulate import MIN_FRAMES, Trace, find_core, trace
from movinet_benchmarks.command import run
from movinet_benchmarks.measure import frames_for
from movinet_runtime import StreamModel
from movinet_runtime.errors import UsageError

ROWS = "matrix products with several rows"
VECTOR = "matrix-vector products"
DEPTHWISE = "depthwise convolutions"
ACTIVATIONS = "activations"
CONVERSIONS = "conversions between number formats"
ELEMENTWISE = "sums, products and means, element by element"
COPIES = "copies"
OTHER = "all else: indices, the interpreter, Python"
PRODUCT_KINDS = (ROWS, VECTOR, DEPTHWISE)
KINDS = (ROWS, VECTOR, DEPTHWISE, ACTIVATIONS, CONVERSIONS, ELEMENTWISE, COPIES, OTHER)

# With several rows each weight that is loaded is used more than once.
USES_OF_A_ROW = 1.5
PRODUCTS = re.compile(r"^(fmla|fmls|fmlal2?|[su]dot|usdot|[su]mlal2?|mla)\s")
BY_ELEMENT = re.compile(r"\[\d+\]$")
LIMITS = re.compile(r"^f(min|max)(nm)?\s+v|^[su](min|max)\s+v")
CONVERTS = re.compile(r"^(fcvt\w*|[su]cvtf|sqx?tu?n2?|[su]xtl2?|[su]shll2?)\s+v")
ARITHMETIC = re.compile(r"^(f(add|sub|mul|div|recpe|rsqrte|neg|abs)p?|add|sub|mul|sqadd)\s+v")
VECTORS = re.compile(r"\b[qdv]\d+")
MEMORY = re.compile(r"^(ld|st)")
LOADS = re.compile(r"^ld")

HEADER = 0x6474E550  # PT_GNU_EH_FRAME
RELATIVE, TABLE = 0x1B, 0x3B  # encodings: 32 bits relative to the place, and to the header


@dataclass(frozen=True)
class Block:
    """Instructions that run one after the other, and how often they did in a frame."""

    address: int
    runs: int
    instructions: tuple[str, ...]

    @property
    def executed(self) -> int:
        """Instructions executed in it."""
        return self.runs * len(self.instructions)


@dataclass(frozen=True)
class Function:
    """Blocks of one function that do the same kind of work."""

    library: str
    offset: int
    kind: str
    executed: int
    hottest: Block


def parsed(text: str) -> list[Block]:
    """Read what the plugin wrote."""
    blocks = []
    for line in text.splitlines():
        address, runs, _, *instructions = line.split("\t")
        known = tuple(decoded(one) for one in instructions)
        blocks.append(Block(int(address, 16), int(runs), known))
    return blocks


def kind_of(instructions: Sequence[str]) -> str | None:
    """Say what a block of AArch64 instructions computes; None without arithmetic on vectors."""
    products = [one for one in instructions if PRODUCTS.match(one) and VECTORS.search(one)]
    limits = sum(bool(LIMITS.match(one)) for one in instructions)
    converts = sum(bool(CONVERTS.match(one)) for one in instructions)
    arithmetic = sum(bool(ARITHMETIC.match(one)) for one in instructions)
    single = sum(bool(BY_ELEMENT.search(one)) for one in products)
    if single > len(products) / 2:
        loaded = sum(
            len(VECTORS.findall(one.partition("[")[0])) for one in instructions if LOADS.match(one)
        )
        return ROWS if single >= USES_OF_A_ROW * loaded else VECTOR
    if len(products) > limits:
        return DEPTHWISE
    if converts > max(limits, arithmetic):
        return CONVERSIONS
    if limits and 2 * limits >= arithmetic:
        return ACTIVATIONS
    return ELEMENTWISE if arithmetic else None


def functions_of(trace_of_frame: Trace) -> list[Function]:
    """Put the blocks of a frame together by function and kind, the hottest first."""
    mapped = _mapped(trace_of_frame.maps)
    homes: dict[tuple[str, int], list[Block]] = {}
    for block in parsed(trace_of_frame.blocks):
        homes.setdefault(_home(block.address, mapped), []).append(block)
    found = []
    for (library, offset), blocks in homes.items():
        for kind, members in _by_kind(blocks).items():
            executed = sum(block.executed for block in members)
            hottest = max(members, key=lambda block: block.executed)
            found.append(Function(library, offset, kind, executed, hottest))
    return sorted(found, key=lambda one: -one.executed)


def totals(functions: Iterable[Function]) -> dict[str, int]:
    """Sum up instructions by kind, in the order of ``KINDS``."""
    counted: Counter[str] = Counter()
    for one in functions:
        counted[one.kind] += one.executed
    return {kind: counted[kind] for kind in KINDS}


def _by_kind(blocks: Sequence[Block]) -> dict[str, list[Block]]:
    """Blocks of one function; what is no work of its own goes with the most executed kind."""
    kinds = [kind_of(block.instructions) for block in blocks]
    counted: Counter[str] = Counter()
    for block, kind in zip(blocks, kinds, strict=True):
        if kind is not None:
            counted[kind] += block.executed
    whole = sum(block.executed for block in blocks)
    # A loop counter on a vector does not make a kernel of a function.
    main = counted.most_common(1)[0][0] if counted.total() > whole / 10 else _plain(blocks)
    found: dict[str, list[Block]] = {}
    for block, kind in zip(blocks, kinds, strict=True):
        # What a product does with its sums at last (limits, rounding) is a part of it.
        ends_product = main in PRODUCT_KINDS and kind not in PRODUCT_KINDS
        found.setdefault(main if kind is None or ends_product else kind, []).append(block)
    return found


def _plain(blocks: Sequence[Block]) -> str:
    """Whether a function without arithmetic moves vectors, or does something else."""
    moved = sum(
        block.runs * sum(bool(MEMORY.match(i) and VECTORS.search(i)) for i in block.instructions)
        for block in blocks
    )
    return COPIES if moved > sum(block.executed for block in blocks) / 3 else OTHER


def _mapped(maps: str) -> list[tuple[int, int, int, str]]:
    """Start, end, offset in the file and path of what may be executed, sorted."""
    found = []
    for line in maps.splitlines():
        addresses, mode, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in addresses.split("-"))
        if "x" in mode:
            found.append((start, end, int(offset, 16), path[0].strip() if path else ""))
    return sorted(found)


def _home(address: int, mapped: Sequence[tuple[int, int, int, str]]) -> tuple[str, int]:
    """Return the library's name, and where in it the block's function begins."""
    i = bisect.bisect(mapped, address, key=lambda entry: entry[0]) - 1
    if i < 0 or address >= mapped[i][1]:
        return "?", address
    start, _, offset, path = mapped[i]
    place = address - start + offset
    starts = function_starts(Path(path))
    j = bisect.bisect(starts, place) - 1
    return Path(path).name, starts[j] if j >= 0 else place


@cache
def function_starts(library: Path) -> Sequence[int]:
    """Return where functions of a 64-bit ELF file begin, as offsets in it; empty if unknown.

    That is the sorted table of ``.eh_frame_hdr``. Kernels written in assembly are not in it, and
    count as parts of the function before them.
    """
    try:
        content = library.read_bytes()
        if content[:6] != b"\x7fELF\x02\x01":
            return ()
        segments = list(_segments(content))
        header = next((offset, address) for kind, offset, address, _ in segments if kind == HEADER)
        place, base = header
        _, pointer, count, table = content[place : place + 4]
        if (pointer, count, table) != (RELATIVE, 0x03, TABLE):
            return ()
        (number,) = struct.unpack_from("<I", content, place + 8)
        pairs = struct.unpack_from(f"<{2 * number}i", content, place + 12)
    except (OSError, StopIteration, struct.error, ValueError):
        return ()
    loaded = [(address, size, offset) for kind, offset, address, size in segments if kind == 1]
    return sorted(_offset(base + relative, loaded) for relative in pairs[::2])


def _segments(content: bytes) -> Iterable[tuple[int, int, int, int]]:
    """Kind, offset, address and size in the file of each program header."""
    (first,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    for i in range(number):
        kind, _, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", content, first + i * size
        )
        yield kind, offset, address, length


def _offset(address: int, loaded: Sequence[tuple[int, int, int]]) -> int:
    for start, size, offset in loaded:
        if start <= address < start + size:
            return address - start + offset
    return address


def attributed(model: Path, core_name: str) -> list[Function]:
    """Run a model on an emulated core and attribute the last frame's instructions.

    Raises:
        UsageError: no such core, or one that is not 64-bit.
        EmulationError, MissingPackageError: it cannot be emulated here.
    """
    core = find_core(core_name)
    if core.machine is not AARCH64:
        raise UsageError(f"blocks are read for {AARCH64.name} only, {core.name} is another")
    stream = StreamModel(model)
    return functions_of(trace(model, core, frames_for(stream.size, stream.fps, None, MIN_FRAMES)))


def table_of(found: Mapping[str, Sequence[Function]]) -> Table:
    """A row a kind, a column a model or core; millions."""
    table = Table(box=None, pad_edge=False)
    table.add_column("million instructions")
    for name in found:
        table.add_column(name, justify="right")
    sums = [totals(functions) for functions in found.values()]
    for kind in KINDS:
        table.add_row(kind, *(f"{one[kind] / 1e6:.2f}" for one in sums))
    table.add_row("together", *(f"{sum(one.values()) / 1e6:.2f}" for one in sums), style="bold")
    return table


def main(
    model: Annotated[Path, typer.Argument(help="A stream model.")],
    core: Annotated[
        list[str], typer.Option(help=f"An emulated core, of {', '.join(CORES)}; repeat it.")
    ],
    functions: Annotated[
        int, typer.Option(min=0, help="Also show this many of the hottest functions.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="All functions as JSON.")] = False,
) -> None:
    """Say where the instructions of a frame go."""
    found = {name: attributed(model, name) for name in core}
    if as_json:
        rows = {name: [asdict(one) for one in each] for name, each in found.items()}
        print(json.dumps(rows, indent=1))
        return
    console = Console()
    console.print(table_of(found))
    for name, each in found.items():
        for one in each[:functions]:
            where = f"{one.library}+{one.offset:x}"
            line = f"{name} {one.executed / 1e6:7.3f} M  {one.kind}  {where}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
            for instruction in one.hottest.instructions[:functions]:
                console.print(f"    {instruction}", style="dim", highlight=False, markup=False)


if __name__ == "__main__":
    run(main)
