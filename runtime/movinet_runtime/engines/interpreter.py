"""The LiteRT interpreter; the states stay in its memory between frames.

Feeding a state back is a copy from an output to an input of the same interpreter. Asking
for the tensors each time costs as much as the copy (0.25 ms of a 2 ms step), so their
addresses are looked up once: all shapes are static, and they stay where they are.
"""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import ModelFileError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.quiet import native_messages_hidden
from movinet_runtime.tensors import Array, State, TensorSpec, check_state, dequantized, fill, pair


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
        self.image, self.logits, self.states = pair(
            *signature_specs(self._interpreter, model), str(model.path)
        )
        signature = only_signature(self._interpreter, model)
        self._find_memory(signature)
        self._image[...] = self.image.zeros()
        self.write_state({name: spec.zeros() for name, spec in self.states.items()})
        self._interpreter.invoke()  # the first run is slow, and settles where tensors lie
        self._find_memory(signature)

    def step(self, image: NDArray[Any]) -> Array:
        """See :meth:`Engine.step`."""
        fill(self._image, image, self.image)
        self._interpreter.invoke()
        # Now, not before the next step: the outputs are still in the caches (2 % of a step).
        for source, target in self._pairs.values():
            source[...] = target
        return dequantized(self._logits, self.logits).reshape(-1)

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


def load_interpreter(model: ModelFile, threads: int, allocate: bool = True) -> Any:
    """Return a LiteRT interpreter; import it only now. It verifies the whole file.

    Raises:
        ModelFileError: the interpreter refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with native_messages_hidden():
            interpreter = Interpreter(model_content=model.content, num_threads=threads)
            if allocate:
                interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["refused by the interpreter"])[0]
        raise ModelFileError(f"{model.path} cannot be loaded: {reason}") from error
    return interpreter


def signature_specs(
    interpreter: Any, model: ModelFile
) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Describe the inputs and the outputs of the model's one signature by name."""
    signature = only_signature(interpreter, model)
    return (
        _specs(interpreter.get_input_details(), signature["inputs"]),
        _specs(interpreter.get_output_details(), signature["outputs"]),
    )


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


def _specs(details: list[dict[str, Any]], names: Mapping[str, int]) -> dict[str, TensorSpec]:
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
