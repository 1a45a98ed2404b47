"""Run one frame on an interpreter; the states stay in its memory between frames.

Feeding a state back is a copy from an output to an input of the same interpreter. Asking
for the tensors each time costs as much as the copy (0.25 ms of a 2 ms step), so their
addresses are looked up once: all shapes are static, and they stay where they are.
"""

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import ModelFileError, StateError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import SCALE
from movinet_runtime.quiet import native_messages_hidden

State = dict[str, NDArray[Any]]
Array = NDArray[np.float32]


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


class Engine(Protocol):
    """What the rest of the runtime asks of an interpreter."""

    image: TensorSpec
    logits: TensorSpec
    states: dict[str, TensorSpec]

    def step(self, image: NDArray[Any]) -> Array:
        """Run one frame after the current state.

        Args:
            image: [height, width, 3], uint8 or float32 in [0, 1].

        Returns:
            Logits, float32 [classes].
        """

    def read_state(self) -> State:
        """Copy the state out."""

    def write_state(self, state: State) -> None:
        """Copy a state in; the next step follows it."""


class InterpreterEngine:
    """The LiteRT interpreter with XNNPACK.

    Args:
        model: a stream model.
        threads: threads of the delegate.

    Raises:
        ModelFileError: damaged, or not a stream model.
    """

    def __init__(self, model: ModelFile, threads: int = 1) -> None:
        self._interpreter = load_interpreter(model, threads)
        signature = only_signature(self._interpreter, model)
        inputs = tensor_specs(self._interpreter.get_input_details(), signature["inputs"])
        outputs = tensor_specs(self._interpreter.get_output_details(), signature["outputs"])
        self.image, self.logits, self.states = pair(inputs, outputs, str(model.path))

        self._find_memory(signature)
        self._image[...] = self.image.zeros()
        self.write_state({name: spec.zeros() for name, spec in self.states.items()})
        self._interpreter.invoke()  # the first run is slow, and settles where tensors lie
        self._find_memory(signature)

    def step(self, image: NDArray[Any]) -> Array:
        """See :meth:`Engine.step`."""
        image = image.reshape(self.image.shape)
        if image.dtype == np.uint8 and not self.image.scale:
            np.multiply(image, SCALE, out=self._image, casting="unsafe")
        else:
            self._image[...] = _quantized(image, self.image)
        self._interpreter.invoke()
        # Now, not before the next step: the outputs are still in the caches (2 % of a step).
        for source, target in self._pairs.values():
            source[...] = target
        return _dequantized(self._logits, self.logits).reshape(-1)

    def read_state(self) -> State:
        """See :meth:`Engine.read_state`."""
        return {name: source.copy() for name, (source, _) in self._pairs.items()}

    def write_state(self, state: State) -> None:
        """See :meth:`Engine.write_state`.

        Raises:
            StateError: another model's; the present state is kept.
        """
        check_state(state, self.states)
        for name, (source, _) in self._pairs.items():
            source[...] = state[name]

    def _find_memory(self, signature: Mapping[str, Mapping[str, int]]) -> None:
        inputs, outputs = (
            {name: _memory(self._interpreter, index) for name, index in signature[side].items()}
            for side in ("inputs", "outputs")
        )
        self._image, self._logits = inputs[self.image.name], outputs[self.logits.name]
        self._pairs = {name: (inputs[name], outputs[name]) for name in self.states}


def default_threads() -> int:
    """All cores up to four: more does not help a network of this size."""
    return min(4, os.cpu_count() or 1)


def load_interpreter(model: ModelFile, threads: int) -> Any:
    """Return an allocated LiteRT interpreter; import it only now.

    Raises:
        ModelFileError: the interpreter refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with native_messages_hidden():
            interpreter = Interpreter(model_content=model.content, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["refused by the interpreter"])[0]
        raise ModelFileError(f"{model.path} cannot be loaded: {reason}") from error
    return interpreter


def only_signature(interpreter: Any, model: ModelFile) -> dict[str, dict[str, int]]:
    """Return the one signature as {"inputs": {name: tensor index}, "outputs": ...}."""
    signatures = interpreter._get_full_signature_list()
    if len(signatures) != 1:
        raise ModelFileError(
            f"{model.path} has {len(signatures)} signatures; a stream model has one, "
            "which names its states: export it with 'movinet export'"
        )
    (signature,) = signatures.values()
    return {side: dict(signature[side]) for side in ("inputs", "outputs")}


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
    if len(shape) != 5 or shape[:2] != (1, 1) or shape[4] != 3:
        raise ModelFileError(f"{path}: its image is {shape} instead of (1, 1, height, width, 3)")
    return images[0], results[0], states


def check_state(state: State, specs: Mapping[str, TensorSpec]) -> None:
    """Raise a StateError that names the first tensor which does not fit."""
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


def tensor_specs(details: list[dict[str, Any]], names: Mapping[str, int]) -> dict[str, TensorSpec]:
    """Describe a signature\'s tensors from the interpreter\'s details."""
    by_index = {detail["index"]: detail for detail in details}
    specs = {}
    for name, index in names.items():
        detail = by_index[index]
        scale, zero_point = detail["quantization"]
        shape = tuple(int(size) for size in detail["shape"])
        dtype = np.dtype(detail["dtype"])
        specs[name] = TensorSpec(name, shape, dtype, float(scale), int(zero_point))
    return specs


def _memory(interpreter: Any, index: int) -> NDArray[Any]:
    """Return a tensor's memory as an array that does not count as a reference to it."""
    view = interpreter.tensor(index)()
    raw = (ctypes.c_uint8 * view.nbytes).from_address(view.__array_interface__["data"][0])
    return np.frombuffer(raw, view.dtype).reshape(view.shape)


def _quantized(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    if values.dtype == np.uint8:
        values = values * SCALE
    if not spec.scale:
        return values
    limits = np.iinfo(spec.dtype)
    codes = np.rint(values / spec.scale) + spec.zero_point
    quantized: NDArray[Any] = np.clip(codes, limits.min, limits.max).astype(spec.dtype)
    return quantized


def _dequantized(codes: NDArray[Any], spec: TensorSpec) -> Array:
    if not spec.scale:
        return np.array(codes, np.float32)
    return (codes.astype(np.float32) - spec.zero_point) * np.float32(spec.scale)
