"""The variants of a model: what they are called, and what is in which number format.

A recipe names the formats of weights, activations and states, as ai-edge-quantizer names its
own: ``wi8_afp32_si8`` has int8 weights, float32 activations and int8 states; ``wi8fp16`` some of
each. Every variant has a short name for daily use.
"""

import platform
from dataclasses import dataclass
from pathlib import Path

from movinet_models.family import ModelSpec


@dataclass(frozen=True)
class Variant:
    """A variant.

    Attributes:
        name: short, as in file names.
        recipe: formats of weights, activations and states.
        what: in a line.
    """

    name: str
    recipe: str
    what: str


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("float32", "wfp32_afp32_sfp32", "the reference of all others"),
        Variant("float16", "wfp16_afp32_sfp32", "half the file"),
        Variant("half", "wi8fp16_afp16_sfp16", "for cores with half-precision arithmetic"),
        Variant("heavy", "wi8fp16_afp32_sfp32", "int8 where a weight is used often: Cortex-A72"),
        Variant("dynamic", "wi8_afp32_sfp32", "int8 weights, ranges found as it runs: x86-64"),
        Variant("dynamic-si8", "wi8_afp32_si8", "dynamic, with a quarter of the state"),
        Variant("int8", "wi8_ai8_si8", "int8 through the whole trunk, of relu6 networks"),
    )
}
FORMER = {"mixed": "half", "wide": "heavy", "int8": "dynamic-si8"}
CPU_DESCRIPTION = Path("/proc/cpuinfo")


def variants_of(spec: ModelSpec) -> list[str]:
    """Name the variants that a model has; int8 trunks are for relu6, int8 states for streams."""
    names = ["float32", "float16", "half", "heavy", "dynamic"]
    if not spec.streams:
        return names
    return [*names, "int8" if spec.architecture.activation == "relu6" else "dynamic-si8"]


def named(spec: ModelSpec, name: str) -> str | None:
    """Return the short name of a variant that is given by it, its recipe or a former name.

    None: the model has no such variant.
    """
    names = variants_of(spec)
    by_recipe = {VARIANTS[known].recipe: known for known in names}
    found = name if name in names else by_recipe.get(name) or FORMER.get(name)
    return found if found in names else None


def best_here(spec: ModelSpec) -> str:
    """Name the variant that this machine's core runs best (README, tables by core)."""
    machine = platform.machine().lower()
    if machine == "aarch64":
        try:
            flags = CPU_DESCRIPTION.read_text(errors="replace")
        except OSError:
            flags = ""
        return best_on_arm(flags)
    return "half" if machine == "arm64" else "dynamic"


def best_on_arm(cpu_description: str) -> str:
    """Name the best variant for a 64-bit ARM core: asimdhp is arithmetic in half precision."""
    return "half" if "asimdhp" in cpu_description.split() else "heavy"
