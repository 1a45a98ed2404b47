"""Vector instructions that the emulator's disassembler does not know, and writes as bytes.

They came with ARMv8.2: arithmetic in half precision, and dot products of bytes. The patterns are
those of the Arm Architecture Reference Manual, C4.1.96 (data processing, advanced SIMD).
"""

import re

UNKNOWN = re.compile(r"^\.byte 0x(\w\w), 0x(\w\w), 0x(\w\w), 0x(\w\w)")
BY_ELEMENT, VECTOR = " v{d}.8h, v{n}.8h, v{m}.h[0]", " v{d}.8h, v{n}.8h, v{m}.8h"
ONE_OPERAND = " v{d}.8h, v{n}.8h"
# What the bits under a mask are, and how it is written.
PATTERNS = (
    (0xBFC0F400, 0x0F001000, "fmla" + BY_ELEMENT),
    (0xBFC0F400, 0x0F005000, "fmls" + BY_ELEMENT),
    (0xBFC0F400, 0x0F009000, "fmul" + BY_ELEMENT),
    (0xBFE0FC00, 0x0E400C00, "fmla" + VECTOR),
    (0xBFE0FC00, 0x0EC00C00, "fmls" + VECTOR),
    (0xBFE0FC00, 0x0E401400, "fadd" + VECTOR),
    (0xBFE0FC00, 0x0EC01400, "fsub" + VECTOR),
    (0xBFE0FC00, 0x2E401400, "faddp" + VECTOR),
    (0xBFE0FC00, 0x2E401C00, "fmul" + VECTOR),
    (0xBFE0FC00, 0x2E403C00, "fdiv" + VECTOR),
    (0xBFE0FC00, 0x0E403400, "fmax" + VECTOR),
    (0xBFE0FC00, 0x0EC03400, "fmin" + VECTOR),
    (0xBFE0FC00, 0x0E400400, "fmaxnm" + VECTOR),
    (0xBFE0FC00, 0x0EC00400, "fminnm" + VECTOR),
    (0xBF20FC00, 0x0E009400, "sdot v{d}.4s, v{n}.16b, v{m}.16b"),
    (0xBF20FC00, 0x2E009400, "udot v{d}.4s, v{n}.16b, v{m}.16b"),
    (0xBF00F400, 0x0F00E000, "sdot v{d}.4s, v{n}.16b, v{m}.4b[0]"),
    (0xBF00F400, 0x2F00E000, "udot v{d}.4s, v{n}.16b, v{m}.4b[0]"),
    (0xBFFFFC00, 0x0E79D800, "scvtf" + ONE_OPERAND),
    (0xBFFFFC00, 0x2E79D800, "ucvtf" + ONE_OPERAND),
    (0xBFFFFC00, 0x0E79A800, "fcvtns" + ONE_OPERAND),
    (0xBFFFFC00, 0x0EF9B800, "fcvtzs" + ONE_OPERAND),
)


def decoded(instruction: str) -> str:
    """Return an instruction in assembly language; as it is where nobody knows it.

    Of a product by an element the number of the element is not told.
    """
    found = UNKNOWN.match(instruction)
    if found is None:
        return instruction
    word = int("".join(reversed(found.groups())), 16)
    for mask, value, text in PATTERNS:
        if word & mask == value:
            return text.format(d=word & 31, n=word >> 5 & 31, m=word >> 16 & 31)
    return instruction
