"""The LiteRT interpreter; the states stay in its memory between frames.

Feeding a state back is a copy from an output to an input of the same interpreter. Asking
for the tensors each time costs as much as the copy (0.25 ms of a 2 ms step), so their
addresses are looked up once: all shapes are static, and they stay where they are.
"""

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import MissingPackageError, ModelFileError
from movinet_runtime.install import interpreter_hint
from movinet_runtime.model_file import ModelFile
from movinet_runtime.quiet import native_messages_hidden
from movinet_runtime.tensors import (
    Array,
    State,
    TensorSpec,
    chains,
    check_state,
    dequantized,
    fill,
    pair,
    passed_on,
)

LITERT, TFLITE_RUNTIME = "ai_edge_litert", "tflite_runtime"


class InterpreterEngine:
    """LiteRT's interpreter, or tflite-runtime's, with XNNPACK.

    It has one memory for the states. A session that follows another one's step swaps its own
    state in, which costs a copy of it each way; a session that is alone never does.

    Args:
        model: a stream model.
        threads: threads of the delegate.
        library: ``LITERT`` or ``TFLITE_RUNTIME``; None takes what is installed.

    Raises:
        ModelFileError: damaged, or not a stream model.
        MissingPackageError: no such library.
    """

    def __init__(self, model: ModelFile, threads: int = 1, library: str | None = None) -> None:
        self._interpreter = load_interpreter(model, threads, library=library)
        self.image, self.logits, self.states = pair(
            *signature_specs(self._interpreter, model), str(model.path)
        )
        signature = only_signature(self._interpreter, model)
        # A past frame is overwritten by the next one before that one is.
        ordered = chains(self.states, passed_on(signature), str(model.path))
        self._order = [name for chain in ordered for name in chain]
        self._find_memory(signature)
        self._image[...] = self.image.zeros()
        self.write({name: spec.zeros() for name, spec in self.states.items()})
        self._interpreter.invoke()  # the first run is slow, and settles where tensors lie
        self._find_memory(signature)
        self._lock = Lock()
        self._resident: InterpreterSession | None = None

    def session(self) -> "InterpreterSession":
        """See :meth:`Engine.session`."""
        return InterpreterSession(self)

    @contextmanager
    def lent_to(self, session: "InterpreterSession") -> Iterator[None]:
        """Give the memory to one session at a time."""
        with self._lock:
            if self._resident is not session:
                if self._resident is not None:
                    self._resident.away = self.read()
                self.write(session.away)
                self._resident = session
            yield

    def run(self, image: NDArray[Any]) -> Array:
        """Run one frame after the states in the memory."""
        fill(self._image, image, self.image)
        self._interpreter.invoke()
        # Now, not before the next step: the outputs are still in the caches (2 % of a step).
        for source, target in self._pairs.values():
            source[...] = target
        return dequantized(self._logits, self.logits).reshape(-1)

    def read(self) -> State:
        """Copy the states out of the memory."""
        return {name: source.copy() for name, (source, _) in self._pairs.items()}

    def write(self, state: State) -> None:
        """Copy tensors of the state into the memory."""
        for name, array in state.items():
            source, _ = self._pairs[name]
            source[...] = array

    def _find_memory(self, signature: Mapping[str, Mapping[str, int]]) -> None:
        inputs, outputs = (
            {name: _memory(self._interpreter, index) for name, index in signature[side].items()}
            for side in ("inputs", "outputs")
        )
        self._image, self._logits = inputs[self.image.name], outputs[self.logits.name]
        self._pairs = {name: (inputs[name], outputs[name]) for name in self._order}


class InterpreterSession:
    """One stream; its state is in the interpreter's memory, or away."""

    def __init__(self, engine: InterpreterEngine) -> None:
        self._engine = engine
        self.away = {name: spec.zeros() for name, spec in engine.states.items()}
        self._held: State = {}

    def step(self, image: NDArray[Any]) -> Array:
        """See :meth:`Session.step`."""
        with self._engine.lent_to(self):
            self._engine.write(self._held)
            return self._engine.run(image)

    def read_state(self) -> State:
        """See :meth:`Session.read_state`."""
        with self._engine.lent_to(self):
            return self._engine.read()

    def write_state(self, state: State) -> None:
        """See :meth:`Session.write_state`.

        Raises:
            StateError: another model's; the present state is kept.
        """
        check_state(state, self._engine.states)
        with self._engine.lent_to(self):
            self._engine.write(state)
        self._held = {}

    def hold(self, name: str, array: NDArray[Any]) -> None:
        """See :meth:`Session.hold`."""
        self._held = self._held | {name: array}


def load_interpreter(
    model: ModelFile, threads: int, allocate: bool = True, library: str | None = LITERT
) -> Any:
    """Return an interpreter; import it only now. It verifies the whole file.

    Raises:
        ModelFileError: the interpreter refuses the file.
        MissingPackageError: the library is not installed.
    """
    make = _interpreter_class(library)
    try:
        with native_messages_hidden():
            interpreter = make(model_content=model.content, num_threads=threads)
            if allocate:
                interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if make.__module__.startswith(TFLITE_RUNTIME) and _is_half(model):
            raise ModelFileError(
                f"{model.path} is half, which tflite-runtime cannot run: export it as float16"
            ) from error
        reason = (str(error).splitlines() or ["refused by the interpreter"])[0]
        raise ModelFileError(f"{model.path} cannot be loaded: {reason}") from error
    return interpreter


def _is_half(model: ModelFile) -> bool:
    about = model.description
    return about is not None and about.variant == "half"


def _interpreter_class(library: str | None) -> Any:
    for name in (LITERT, TFLITE_RUNTIME) if library is None else (library,):
        try:
            return import_module(f"{name}.interpreter").Interpreter
        except ModuleNotFoundError:
            continue
    raise MissingPackageError(
        f"{library or 'an interpreter'} is not installed: {interpreter_hint(library)}"
    )


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
