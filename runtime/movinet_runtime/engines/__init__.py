"""What runs the network: engines behind one small interface, chosen by the machine."""

import os
import platform
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from movinet_runtime.errors import UsageError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.tensors import Array, State, TensorSpec

EngineName = Literal["auto", "compiled", "interpreter"]
ENGINES: tuple[EngineName, ...] = ("auto", "compiled", "interpreter")


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


def open_engine(model: ModelFile, threads: int | None = None, name: str = "auto") -> Engine:
    """Load a model into an engine.

    Args:
        model: a stream model.
        threads: default: all cores up to four.
        name: ``auto`` takes the compiled engine where it can run.

    Raises:
        ModelFileError: damaged, or not a stream model.
        UsageError: no such engine, or it cannot run on this machine.
    """
    if name not in ENGINES:
        raise UsageError(f"no engine '{name}'; there are {', '.join(ENGINES)}")
    from movinet_runtime.engines.interpreter import InterpreterEngine

    threads = threads or default_threads()
    able = compiled_runs_here(platform.machine(), _cpu_description())
    if name == "compiled" and not able:
        raise UsageError("the compiled engine needs a CPU with LSE atomics; use the interpreter")
    if name != "interpreter" and able:
        from movinet_runtime.engines.compiled import CompiledEngine, CompiledEngineError

        try:
            return CompiledEngine(model, threads)
        except CompiledEngineError:
            if name == "compiled":
                raise
    return InterpreterEngine(model, threads)


def compiled_runs_here(machine: str, cpu_description: str) -> bool:
    """Whether the compiled engine's library survives on this CPU.

    On aarch64 it is built with LSE atomics and kills the process on cores without them
    (Cortex-A72: Raspberry Pi 4 and older), so this is asked before it is imported.

    Args:
        machine: as ``platform.machine()`` names it.
        cpu_description: the text of /proc/cpuinfo, empty where there is none.
    """
    if machine.lower() in ("x86_64", "amd64", "arm64"):
        return True
    features = [line for line in cpu_description.splitlines() if line.startswith("Features")]
    return machine == "aarch64" and bool(features) and all("atomics" in f.split() for f in features)


def default_threads() -> int:
    """All cores up to four: more does not help a network of this size."""
    return min(4, os.cpu_count() or 1)


def _cpu_description() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
