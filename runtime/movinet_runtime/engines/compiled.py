"""LiteRT's compiled model: states stay in buffers that are inputs and outputs by turns.

in place    one buffer is a state's input and output at once. Needs a file whose graph reads
            each state before it writes it, and says so (``in_place``).
in a ring   K past frames that are passed on from one to the next, and the newest one, are in
            K + 1 buffers; after each frame every name moves on by one buffer, and the oldest
            one takes the frame to come. A state of any other file is a ring of two.
"""

from math import lcm
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.engines.interpreter import load_interpreter, only_signature, signature_specs
from movinet_runtime.errors import CompiledEngineError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.quiet import native_messages_hidden
from movinet_runtime.tensors import (
    Array,
    State,
    chains,
    check_state,
    dequantized,
    fill,
    pair,
    passed_on,
)

# One for the process: made and destroyed with a dozen lines of messages each.
_ENVIRONMENT: list[Any] = []
# Rings of different lengths come round together after their least common multiple: 15 for
# kernels of 3 and 5 frames.
MOST_TURNS = 1000
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
        specs = signature_specs(interpreter, model)
        self.image, self.logits, self.states = pair(*specs, str(model.path))
        signature = only_signature(interpreter, model)
        self.chains = chains(self.states, passed_on(signature), str(model.path))
        inputs, outputs = signature["inputs"], signature["outputs"]
        self.untouched = {name for name in self.states if inputs[name] == outputs[name]}
        if lcm(*range(1, 2 + max(map(len, self.chains)))) > MOST_TURNS:
            raise CompiledEngineError(f"no compiled engine for {model.path}: too many past frames")
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
        first = dict(zip(self._names, model.create_input_buffers(0), strict=True))
        results = dict(zip(names_out, model.create_output_buffers(0), strict=True))
        self._image, self._logits = first[self.image.name], results[self.logits.name]
        self._staged = np.empty(self.image.shape, self.image.dtype)
        rings = []
        for chain in engine.chains:
            ring = [first[name] for name in chain]
            if len(chain) > 1 or not engine.in_place | (chain[0] in engine.untouched):
                ring.append(model.create_input_buffer_by_name(self._key, chain[0]))
            rings.append(ring)
        # For each turn: where states are read and written. Handles are in the signature's order;
        # the public run_by_index asks every buffer for its own in every step: 1 % of it.
        self._run = model._model.RunByIndex
        self._buffers, self._outputs = [], []
        for turn in range(lcm(*map(len, rings))):
            now, then = {self.image.name: self._image}, {self.logits.name: self._logits}
            for chain, ring in zip(engine.chains, rings, strict=True):
                for i, name in enumerate(chain):
                    now[name] = ring[(i + turn) % len(ring)]
                    then[name] = ring[(i + 1 + turn) % len(ring)]
            self._buffers.append(now)
            self._outputs.append([then[name].capsule for name in names_out])
        self._held: dict[str, Any] = {}
        self._turn = 0
        self.write_state({name: spec.zeros() for name, spec in self.states.items()})

    def step(self, image: NDArray[Any]) -> Array:
        """See :meth:`Session.step`."""
        fill(self._staged, image, self.image)
        self._image.write(self._staged)
        with self._engine.lock:
            self._run(0, self._inputs[self._turn], self._outputs[self._turn])
        self._turn = (self._turn + 1) % len(self._buffers)
        logits = self._logits.read(int(np.prod(self.logits.shape)), self.logits.dtype)
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
