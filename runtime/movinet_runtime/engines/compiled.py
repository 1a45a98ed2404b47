"""LiteRT's compiled model: states stay in buffers that are inputs and outputs by turns.

in place    one set of buffers is input and output at once: nothing is copied, and
            the delegate's addresses never change. Needs a file whose graph reads
            each state before it writes it, and says so (``in_place``).
swapping    two sets change places after each frame, for all other files.
"""

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.engines.interpreter import load_interpreter, signature_specs
from movinet_runtime.errors import CompiledEngineError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.quiet import native_messages_hidden
from movinet_runtime.tensors import Array, State, check_state, dequantized, fill, pair

# One for the process: made and destroyed with a dozen lines of messages each.
_ENVIRONMENT: list[Any] = []
_MAKING = Lock()  # models may be opened in several threads


class CompiledEngine:
    """The compiled model on the CPU.

    Args:
        model: a stream model.
        threads: threads of the delegate.

    Raises:
        ModelFileError: damaged, or not a stream model.
        CompiledEngineError: not to be had from the installed LiteRT.
    """

    def __init__(self, model: ModelFile, threads: int = 1) -> None:
        # The compiled model does not verify a file before it reads it; the interpreter does.
        interpreter = load_interpreter(model, threads, allocate=False)
        inputs, outputs = signature_specs(interpreter, model)
        self.image, self.logits, self.states = pair(inputs, outputs, str(model.path))
        del interpreter
        with native_messages_hidden():
            self.model = _compile(model, threads)
        self.in_place = model.description is not None and model.description.in_place
        self.lock = Lock()

    def session(self) -> "CompiledSession":
        """See :meth:`Engine.session`."""
        with self.lock, native_messages_hidden():
            return CompiledSession(self)


class CompiledSession:
    """One stream: buffers of its own, through a model that all share."""

    def __init__(self, engine: CompiledEngine) -> None:
        self._engine = engine
        self.image, self.logits, self.states = engine.image, engine.logits, engine.states
        model = engine.model
        ((self._key, signature),) = model.get_signature_list().items()
        self._names, names_out = signature["inputs"], signature["outputs"]

        def inputs() -> dict[str, Any]:
            return dict(zip(self._names, model.create_input_buffers(0), strict=True))

        first = inputs()
        second = first if engine.in_place else inputs()
        second[self.image.name] = self._image = first[self.image.name]
        results = dict(zip(names_out, model.create_output_buffers(0), strict=True))
        self._logits = results[self.logits.name]
        self._staged = np.empty(self.image.shape, self.image.dtype)
        # For each turn: the states' buffers, and handles in the signature's order. The public
        # run_by_index asks every buffer for its handle in every step: 1 % of it.
        self._run = model._model.RunByIndex
        self._buffers = (first, second)
        self._outputs = [
            [
                (self._logits if name == self.logits.name else then[name]).capsule
                for name in names_out
            ]
            for then in (second, first)
        ]
        self._held: dict[str, Any] = {}
        self._turn = 0
        self.write_state({name: spec.zeros() for name, spec in self.states.items()})

    def step(self, image: NDArray[Any]) -> Array:
        """See :meth:`Session.step`."""
        fill(self._staged, image, self.image)
        self._image.write(self._staged)
        with self._engine.lock:
            self._run(0, self._inputs[self._turn], self._outputs[self._turn])
        self._turn ^= 1
        logits = self._logits.read(self.logits.shape[-1], self.logits.dtype)
        return dequantized(logits, self.logits)

    def read_state(self) -> State:
        """See :meth:`Session.read_state`."""
        buffers = self._buffers[self._turn]
        return {
            name: buffers[name].read(int(np.prod(spec.shape)), spec.dtype).reshape(spec.shape)
            for name, spec in self.states.items()
        }

    def write_state(self, state: State) -> None:
        """See :meth:`Session.write_state`.

        Raises:
            StateError: another model's; the present state is kept.
        """
        check_state(state, self.states)
        buffers = self._buffers[self._turn]
        for name, array in state.items():
            buffers[name].write(array)
        self._held = {}
        self._inputs = self._handles()

    def hold(self, name: str, array: NDArray[Any]) -> None:
        """See :meth:`Session.hold`.

        An input of its own that no output overwrites: to write a buffer before every frame
        costs 2 % of a step.
        """
        with self._engine.lock:
            buffer = self._engine.model.create_input_buffer_by_name(self._key, name)
        buffer.write(array)
        self._held[name] = buffer
        self._inputs = self._handles()

    def _handles(self) -> list[list[Any]]:
        """Return the inputs of each turn in the signature's order."""
        return [
            [(self._held.get(name) or buffers[name]).capsule for name in self._names]
            for buffers in self._buffers
        ]


def _compile(model: ModelFile, threads: int) -> Any:
    try:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.environment import Environment
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import CpuOptions, Options

        options = Options(
            hardware_accelerators=HardwareAccelerator.CPU,
            cpu_options=CpuOptions(num_threads=threads),
        )
        with _MAKING:
            if not _ENVIRONMENT:
                _ENVIRONMENT.append(Environment.create())
        (environment,) = _ENVIRONMENT
        # The bytes that were verified, not what lies at the path by now; the model keeps them.
        return CompiledModel.from_buffer(model.content, environment=environment, options=options)
    except (ImportError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CompiledEngineError(f"no compiled engine for {model.path}: {reason}") from error
