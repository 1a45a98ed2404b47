"""What a source gives, and what becomes of it: weights, their gate, and where they came from."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.parameters import DEFAULT_GATE, Array, Weights
from movinet_models.family import Gate, ModelSpec
from movinet_runtime.errors import UsageError

NOT_STATED = "not stated"
# Checkpoints under the names that Google published them by, in 2021.
PUBLISHED_NAME = re.compile(r"movinet_a\d_stream")
Pictures = NDArray[np.uint8]  # [frames, h, w, 3]
Range = tuple[float, float]


@dataclass(frozen=True)
class Original:
    """The source as something that runs.

    Attributes:
        what: the source and what runs it, for people.
        logits: runs a clip, uint8 [frames, h, w, 3], frame by frame or, for a base
            model, at once; returns logits [frames or 1, classes].
        resolution: the only side of a picture that it takes; None: any.
        frames: the only length of a clip that it takes; None: any.
        rounds: whether its activations are int8, so that its logits are not those of its weights.
        unrounded: the same graph with its rounding of activations taken out; None where there
            is none.
        from_folder: whether it runs from files that must still be there.
    """

    what: str
    logits: Callable[[Pictures], Array]
    resolution: int | None = None
    frames: int | None = None
    rounds: bool = False
    unrounded: Callable[[Pictures], Array] | None = None
    from_folder: bool = False


@dataclass(frozen=True)
class Read:
    """What a source gives.

    Attributes:
        tensors: by canonical name; a layer may be named by its number, ``#3/...``.
        files: of which the checksum is made.
        gate: what the source itself says, and
        gate_reason: how.
        original: the source as something that runs.
        labels, resolution, clip_frames, horizon: where the source says them.
        trained_on: its training clips' files (:func:`movinet_models.splits.packed`), where
            the split was the training's own.
        thresholds: probabilities from which on classes that do not exclude each other are
            answers; None: they do.
        prior: classes whose logits were raised, for being seen so many times as often as others.
        licence: of the weights, where the source says it.
        int8_share: share of the values that were int8 in the source, whose rounding stays.
        ranges: what int8 activations of the source stood for, by the name of our tensor.
        folded: batch norm is folded into kernels: its statistics are gone.
        forced: it failed against its own source and was written all the same.
        notes: what a user should know.
    """

    tensors: Mapping[str, NDArray[Any]]
    files: Sequence[Path] = ()
    gate: Gate | None = None
    gate_reason: str = ""
    original: Original | None = None
    labels: list[str] | None = None
    resolution: int | None = None
    clip_frames: int | None = None
    horizon: int | None = None
    trained_on: str | None = None
    thresholds: list[float] | None = None
    prior: dict[str, float] | None = None
    licence: str | None = None
    int8_share: float = 0.0
    ranges: Mapping[str, Range] = field(default_factory=dict)
    folded: bool = False
    forced: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Origin:
    """Where a file was published: its address, the licence there, and the gate of its weights."""

    url: str
    licence: str
    gate: Gate | None = None


@dataclass(frozen=True)
class LoadedWeights:
    """Weights in canonical names, and where they came from; see :class:`Read`."""

    weights: Weights
    source: str
    sha256: str
    gate: Gate | None = None  # None: the model has no hard sigmoid
    gate_reason: str = ""
    licence: str | None = NOT_STATED  # None: untrained
    labels: list[str] | None = None
    resolution: int | None = None
    clip_frames: int | None = None
    horizon: int | None = None
    trained_on: str | None = None
    thresholds: list[float] | None = None
    prior: dict[str, float] | None = None
    new_classifier: bool = False
    original: Original | None = None
    int8_share: float = 0.0
    ranges: Mapping[str, Range] = field(default_factory=dict)
    folded: bool = False
    forced: bool = False
    notes: Sequence[str] = ()

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.weights["classifier/bias"].shape[0])

    @property
    def hard_sigmoid(self) -> Gate:
        """The gate to build a graph with, also for models that have none."""
        return self.gate or DEFAULT_GATE


def choose_gate(
    spec: ModelSpec, given: Gate | None, read: Read, origin: Origin | None, source: str
) -> tuple[Gate | None, str]:
    """Find the form of the hard sigmoid that weights were trained with, and say how.

    In this order: what the user says; what the source says or computes; where it was
    published; a published name; else Model Garden's of today.

    Raises:
        UsageError: the user says it of a source whose graph was read.
    """
    if not spec.gated:
        return None, "no hard sigmoid in this model"
    if given is not None and read.folded:
        raise UsageError(f"--gate does not apply to {source}: its own graph has its gate")
    if given is not None:
        return given, "--gate"
    if read.gate is not None:
        return read.gate, read.gate_reason
    if origin is not None and origin.gate is not None:
        return origin.gate, "published weights"
    if any(PUBLISHED_NAME.match(part) for part in Path(source).absolute().parts[-2:]):
        return "fifth", "the name is that of the weights published in 2021"
    return DEFAULT_GATE, "the source does not tell; Model Garden's since 2022"
