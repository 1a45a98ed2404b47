"""Inputs, outputs and states of a model: what they are called, and their number formats."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import ModelFileError, StateError
from movinet_runtime.preprocess import SCALE

State = dict[str, NDArray[Any]]
Array = NDArray[np.float32]

FRAME_COUNT = "state_frame_count"  # the one count of all averages, float32 [1, 1, 1, 1]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and number format of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0  # 0: not quantized
    zero_point: int = 0

    def zeros(self) -> NDArray[Any]:
        """Real zeros: the zero point where the tensor is quantized."""
        return np.full(self.shape, self.zero_point, self.dtype)


def pair(
    inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec], path: str
) -> tuple[TensorSpec, TensorSpec, dict[str, TensorSpec]]:
    """Tell image, logits and states apart by name, shape and number format.

    Raises:
        ModelFileError: an input without its output, or no states at all.
    """
    states = {name: spec for name, spec in inputs.items() if name in outputs}
    for name, spec in states.items():
        if spec != outputs[name]:
            raise ModelFileError(f"{path}: state '{name}' differs between input and output")
    images = [spec for name, spec in inputs.items() if name not in states]
    results = [spec for name, spec in outputs.items() if name not in states]
    if not states:
        raise ModelFileError(f"{path} is no stream model: none of its inputs is also an output")
    if len(images) != 1 or len(results) != 1:
        lonely = [spec.name for spec in images + results if spec.name not in ("image", "logits")]
        raise ModelFileError(f"{path}: no partner for the state {', '.join(lonely) or 'tensors'}")
    shape = images[0].shape
    if len(shape) != 5 or shape[0] < 1 or shape[1] != 1 or shape[4] != 3:
        raise ModelFileError(f"{path}: its image is {shape} instead of (1, 1, height, width, 3)")
    for spec in (*states.values(), results[0]):
        if shape[0] > 1 and spec.shape[:1] != shape[:1]:
            raise ModelFileError(
                f"{path}: its image has {shape[0]} streams, '{spec.name}' is {spec.shape}"
            )
    return images[0], results[0], states


def passed_on(signature: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Find states that the graph only hands on: the next one's value becomes this one's.

    Args:
        signature: tensors' indices by name, of ``inputs`` and of ``outputs``.

    Returns:
        By state, the state whose input is this one's output: a past frame and the one after it.
    """
    owner = {index: name for name, index in signature["inputs"].items()}
    return {
        name: owner[index]
        for name, index in signature["outputs"].items()
        if owner.get(index, name) != name
    }


def chains(states: Iterable[str], passed: Mapping[str, str], path: str) -> list[tuple[str, ...]]:
    """Put states in the order in which they are passed on, the oldest first; each is in one.

    Raises:
        ModelFileError: one goes to two others, or round and round.
    """
    followers = set(passed.values())
    found = []
    for name in (name for name in states if name not in followers):
        chain = [name]
        while chain[-1] in passed and len(followers) == len(passed):
            chain.append(passed[chain[-1]])
        found.append(tuple(chain))
    if len(followers) < len(passed) or not followers <= set().union(*found):
        raise ModelFileError(f"{path}: a state of it is handed on to two others, or in a circle")
    return found


def check_state(state: State, specs: Mapping[str, TensorSpec]) -> None:
    """Raise a StateError that names the first tensor which does not fit, or is no number."""
    if state.keys() != specs.keys():
        strange = sorted(state.keys() ^ specs.keys())
        raise StateError(f"the state is another model's: '{strange[0]}' is in only one of them")
    for name, spec in specs.items():
        array = state[name]
        if array.shape != spec.shape or array.dtype != spec.dtype:
            raise StateError(
                f"the state '{name}' is {array.dtype} {array.shape}, the model's "
                f"{spec.dtype} {spec.shape}"
            )
        if spec.dtype.kind == "f" and not np.isfinite(array).all():
            raise StateError(f"the state '{name}' holds NaN or infinite values")
    if FRAME_COUNT in specs and not (state[FRAME_COUNT] >= 0).all():
        raise StateError(f"the state '{FRAME_COUNT}' counts less than no frames")


def fill(target: NDArray[Any], image: NDArray[Any], spec: TensorSpec) -> None:
    """Write an image, uint8 or float32 in [0, 1], into memory of a tensor's format."""
    image = image.reshape(target.shape)
    if image.dtype == np.uint8 and not spec.scale:
        np.multiply(image, SCALE, out=target, casting="unsafe")
    else:
        target[...] = quantized(image, spec)


def quantized(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Return float [0, 1] or uint8 values in a tensor's number format, rounded and clipped."""
    if values.dtype == np.uint8:
        values = values * SCALE
    if not spec.scale:
        return values
    limits = np.iinfo(spec.dtype)
    codes = np.rint(values / spec.scale) + spec.zero_point
    clipped: NDArray[Any] = np.clip(codes, limits.min, limits.max).astype(spec.dtype)
    return clipped


def dequantized(codes: NDArray[Any], spec: TensorSpec) -> Array:
    """Return real values as a new array."""
    if not spec.scale:
        return np.array(codes, np.float32)
    return (codes.astype(np.float32) - spec.zero_point) * np.float32(spec.scale)
