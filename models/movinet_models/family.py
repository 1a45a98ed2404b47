"""The MoViNet family as one frozen table (arXiv 2103.11511, tables 1 and 2).

Everything else in the project reads widths, kernels, strides, resolution,
frame rate and clip length from here; a model id such as ``a0-stream`` implies
the kind of convolution, squeeze-excitation, activation and positional encoding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Form = Literal["stream", "base"]
Activation = Literal["hard_swish", "relu6"]
# The hard sigmoid of squeeze-excitation in stream models. It belongs to the weights, not to the
# model: fifth is clip(x / 5 + 1/2, 0, 1), what Keras 2 called hard_sigmoid, which the weights
# published in 2021 were trained with; sixth is relu6(x + 3) * 0.16667, Model Garden's since 2022.
Gate = Literal["fifth", "sixth"]
GATES: tuple[Gate, ...] = ("fifth", "sixth")
Kernel = tuple[int, int, int]

FORMS: tuple[Form, ...] = ("stream", "base")

# Kernels as (time, height, width): S has no extent in time.
S3: Kernel = (1, 3, 3)
S5: Kernel = (1, 5, 5)
T3: Kernel = (3, 3, 3)
T5: Kernel = (5, 3, 3)


class UnknownModelError(LookupError):
    """The id names no member of the family."""


@dataclass(frozen=True)
class Block:
    """A run of bottleneck layers; only the first one strides in space."""

    filters: int
    stride: int
    layers: tuple[tuple[int, Kernel], ...]  # (expanded width, kernel)


@dataclass(frozen=True)
class Layer:
    """One bottleneck layer with every width that follows from the table."""

    name: str
    in_filters: int
    filters: int
    expand: int
    kernel: Kernel
    stride: int
    se_inputs: int
    se_hidden: int

    @property
    def projects_skip(self) -> bool:
        """Whether the skip path needs a 1x1 convolution to fit the output."""
        return self.in_filters != self.filters or self.stride > 1


@dataclass(frozen=True)
class Architecture:
    """One row of the family."""

    resolution: int
    fps: int
    frames: int  # clip length in training
    stem: int
    blocks: tuple[Block, ...]
    project: int
    head: int = 2048
    positional_encoding: bool = False
    squeeze_excitation: bool = True
    activation: Activation = "hard_swish"  # of the stream form; the base form has swish
    forms: tuple[Form, ...] = FORMS


def _block(filters: int, stride: int, *layers: tuple[int, Kernel]) -> Block:
    return Block(filters, stride, layers)


FAMILY: dict[str, Architecture] = {
    "a0": Architecture(
        resolution=172,
        fps=5,
        frames=50,
        stem=8,
        project=480,
        blocks=(
            _block(8, 2, (24, S5)),
            _block(32, 2, (80, T3), (80, T3), (80, T3)),
            _block(56, 2, (184, T5), (112, T3), (184, T3)),
            _block(56, 1, (184, T5), (184, T3), (184, T3), (184, T3)),
            _block(104, 2, (384, T5), (280, S5), (280, S5), (344, S5)),
        ),
    ),
    "a1": Architecture(
        resolution=172,
        fps=5,
        frames=50,
        stem=16,
        project=600,
        blocks=(
            _block(16, 2, (40, S5), (40, T3)),
            _block(40, 2, (96, T3), (120, T3), (96, T3), (96, T3)),
            _block(64, 2, (216, T5), (128, T3), (216, T3), (168, T3), (216, T3)),
            _block(64, 1, (216, T5), *[(216, T3)] * 2, (128, T3), (128, S5), (216, T3)),
            _block(136, 2, (456, T5), *[(360, S5)] * 3, (456, S5), (456, T3), (544, S3)),
        ),
    ),
    "a2": Architecture(
        resolution=224,
        fps=5,
        frames=50,
        stem=16,
        project=640,
        blocks=(
            _block(16, 2, (40, S5), (40, T3), (64, T3)),
            _block(40, 2, (96, T3), (120, T3), (96, T3), (96, T3), (120, T3)),
            _block(72, 2, (240, T5), (160, T3), (240, T3), (192, T3), (240, T3)),
            _block(72, 1, (240, T5), *[(240, T3)] * 3, (144, S5), (240, T3)),
            _block(144, 2, (480, T5), *[(384, S5)] * 2, *[(480, S5)] * 2, (480, T3), (576, S3)),
        ),
    ),
    "a3": Architecture(
        resolution=256,
        fps=12,
        frames=120,
        stem=16,
        project=744,
        positional_encoding=True,
        blocks=(
            _block(16, 2, (40, S5), (40, T3), (64, T3), (40, T3)),
            _block(48, 2, (112, T3), (144, T3), (112, T3), (112, S5), *[(144, T3)] * 2),
            _block(80, 2, (240, T5), (152, T3), (240, T3), (192, T3), (240, T3)),
            _block(88, 1, (264, T5), *[(264, T3)] * 3, (160, S5), *[(264, T3)] * 3),
            _block(
                168,
                2,
                (560, T5),
                *[(448, S5)] * 2,
                *[(560, S5)] * 2,
                (560, T3),
                *[(448, S5)] * 2,
                (560, T3),
                (672, S3),
            ),
        ),
    ),
    "a4": Architecture(
        resolution=290,
        fps=8,
        frames=80,
        stem=24,
        project=856,
        positional_encoding=True,
        blocks=(
            _block(24, 2, (64, S5), (64, T3), (96, T3), (64, T3), (96, T3), (64, T3)),
            _block(
                56,
                2,
                *[(168, T3)] * 2,
                *[(136, T3)] * 2,
                *[(168, T3)] * 3,
                (136, S5),
                (136, T3),
            ),
            _block(
                96,
                2,
                (320, T5),
                (160, T3),
                (320, T3),
                (192, T3),
                (320, T3),
                (160, T3),
                (320, T3),
                (256, T3),
                (320, T3),
            ),
            _block(
                96,
                1,
                (320, T5),
                *[(320, T3)] * 3,
                (192, S5),
                *[(320, T3)] * 2,
                (192, T3),
                *[(320, T3)] * 2,
            ),
            _block(
                192,
                2,
                (640, T5),
                *[(512, S5)] * 2,
                *[(640, S5)] * 2,
                (640, T3),
                *[(512, S5)] * 2,
                (640, S5),
                (768, S5),
                (640, S5),
                (640, T3),
                (768, T3),
            ),
        ),
    ),
    "a5": Architecture(
        resolution=320,
        fps=12,
        frames=120,
        stem=24,
        project=992,
        positional_encoding=True,
        blocks=(
            _block(24, 2, *[(64, S5)] * 2, (96, T3), (64, T3), (96, T3), (64, T3)),
            _block(
                64,
                2,
                (192, T5),
                *[(152, T3)] * 3,
                *[(192, T3)] * 3,
                *[(152, T3)] * 2,
                *[(192, T3)] * 2,
            ),
            _block(
                112,
                2,
                (376, T5),
                (224, T3),
                *[(376, T3)] * 2,
                (296, T3),
                (376, T3),
                (224, T3),
                *[(376, T3)] * 2,
                (296, T3),
                *[(376, T3)] * 3,
            ),
            _block(
                120,
                1,
                (376, T5),
                *[(376, T3)] * 3,
                (224, S5),
                *[(376, T3)] * 2,
                (224, T3),
                *[(376, T3)] * 3,
            ),
            _block(
                224,
                2,
                (744, T5),
                (744, T3),
                *[(600, S5)] * 2,
                *[(744, S5)] * 2,
                (744, T3),
                (896, S5),
                *[(600, S5)] * 2,
                (896, S5),
                (744, S5),
                (744, T3),
                (896, S5),
                *[(600, S5)] * 2,
                (744, S5),
                (744, T3),
            ),
        ),
    ),
    "t0": Architecture(
        resolution=172,
        fps=5,
        frames=50,
        stem=8,
        project=240,
        head=1024,
        blocks=(
            _block(8, 2, (16, S5)),
            _block(32, 2, (72, T3), (72, S5)),
            _block(56, 2, (112, T5), (112, S5), (112, T3)),
            _block(56, 1, (184, T5), (184, S5), *[(184, T3)] * 2),
            _block(104, 2, (344, T5), *[(344, S5)] * 2, (344, T3)),
        ),
    ),
}

# What Google publishes as int8 TFLite files under the names of A0 to A2 is another network: no
# squeeze-excitation, relu6 instead of hard swish, in the head too. (EfficientNet's lite models
# differ from EfficientNet in the same two ways.) Only A0's file was at hand to see it.
FAMILY |= {
    f"{member}lite": replace(
        FAMILY[member], squeeze_excitation=False, activation="relu6", forms=("stream",)
    )
    for member in ("a0", "a1", "a2")
}

MODEL_IDS = tuple(
    f"{member}-{form}" for form in FORMS for member, arch in FAMILY.items() if form in arch.forms
)


def _divisible(width: float, divisor: int = 8) -> int:
    """Round a width to a multiple of 8, never below 90 % of it (MobileNet's rule)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


@dataclass(frozen=True)
class ModelSpec:
    """A member of the family in one form; ``resolution`` may differ from the table's."""

    member: str
    form: Form
    resolution: int

    @property
    def id(self) -> str:
        """The one spelling of the model, ``a0-stream``."""
        return f"{self.member}-{self.form}"

    @property
    def architecture(self) -> Architecture:
        """The model's row of the table."""
        return FAMILY[self.member]

    @property
    def streams(self) -> bool:
        """Whether the model takes one frame at a time."""
        return self.form == "stream"

    @property
    def gated(self) -> bool:
        """Whether it has a hard sigmoid, of which there are two forms (``Gate``)."""
        return self.streams and self.architecture.squeeze_excitation

    @property
    def positional_encoding(self) -> bool:
        """Whether squeeze-excitation sees the frame's index."""
        return self.streams and self.architecture.positional_encoding

    def layers(self) -> Iterator[Layer]:
        """Yield the bottleneck layers from input to output."""
        in_filters = self.architecture.stem
        for b, block in enumerate(self.architecture.blocks):
            for i, (expand, kernel) in enumerate(block.layers):
                # The stream form's squeeze-excitation sees two averages at once:
                # over all frames so far, and over this frame.
                se_inputs = 2 * expand if self.streams else expand
                yield Layer(
                    name=f"block{b}_layer{i}",
                    in_filters=in_filters,
                    filters=block.filters,
                    expand=expand,
                    kernel=kernel,
                    stride=block.stride if i == 0 else 1,
                    se_inputs=se_inputs,
                    se_hidden=_divisible(0.25 * se_inputs),
                )
                in_filters = block.filters

    def at(self, resolution: int | None) -> "ModelSpec":
        """Return the same model for another input resolution (None keeps it)."""
        return self if resolution is None else replace(self, resolution=resolution)


def lookup(model_id: str) -> ModelSpec:
    """Return the specification of an id such as ``a0-stream`` or ``movinet_a0_stream``.

    Raises:
        UnknownModelError: no such model; the message lists the ids.
    """
    member, _, form = model_id.lower().removeprefix("movinet_").replace("_", "-").partition("-")
    for known in FORMS:
        if member in FAMILY and form == known and known in FAMILY[member].forms:
            return ModelSpec(member, known, FAMILY[member].resolution)
    raise UnknownModelError(f"unknown model '{model_id}'; known: {', '.join(MODEL_IDS)}")
