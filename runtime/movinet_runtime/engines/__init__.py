"""What runs the network: engines behind one small interface, chosen by the machine."""

import os
import platform
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from movinet_runtime.errors import (
    CompiledEngineError,
    MissingPackageError,
    ModelFileError,
    UsageError,
)
from movinet_runtime.files import kernel_text
from movinet_runtime.huge_pages import in_huge_pages
from movinet_runtime.model_file import ModelFile
from movinet_runtime.tensors import Array, State, TensorSpec

EngineName = Literal["auto", "compiled", "interpreter", "tflite-runtime"]
ENGINES: tuple[EngineName, ...] = ("auto", "compiled", "interpreter", "tflite-runtime")
CPU_DESCRIPTION = Path("/proc/cpuinfo")

# What a file with sound structure and senseless contents makes of the code that reads it.
DAMAGE = (LookupError, ValueError, TypeError, RuntimeError, UnicodeError, OverflowError)


class Engine(Protocol):
    """A loaded model: its weights once, for any number of streams."""

    image: TensorSpec
    logits: TensorSpec
    states: dict[str, TensorSpec]

    def session(self) -> "Session":
        """Begin a stream with a state of its own; sessions may run in different threads."""


class Session(Protocol):
    """One stream through a model, from all zeros on."""

    def step(self, image: NDArray[Any]) -> Array:
        """Run one frame after the current state.

        Args:
            image: [height, width, 3], uint8 or float32 in [0, 1]; of a model of several
                streams [streams, height, width, 3].

        Returns:
            Logits, float32 [classes], those of several streams one after the other.
        """

    def read_state(self) -> State:
        """Copy the state out."""

    def write_state(self, state: State) -> None:
        """Copy a state in; the next step follows it, and nothing is held."""

    def hold(self, name: str, array: NDArray[Any]) -> None:
        """Let every step see this value in a tensor of the state, until a state is written."""


def open_engine(model: ModelFile, threads: int | None = None, name: str = "auto") -> Engine:
    """Load a model into an engine.

    Args:
        model: a stream model.
        threads: default: the physical cores, at most four.
        name: ``auto`` takes the compiled model where it can run, else LiteRT's
            interpreter, else tflite-runtime's (32-bit ARM, old systems).

    Raises:
        ModelFileError: damaged, or not a stream model.
        UsageError: no such engine, or it cannot run on this machine.
        MissingPackageError: its package is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"no engine '{name}'; there are {', '.join(ENGINES)}")
    try:
        with in_huge_pages():
            return _opened(model, threads or default_threads(), name)
    except DAMAGE as error:  # the verifier knows the structure, not what indices mean
        reason = f"{type(error).__name__} {error}".strip()
        raise ModelFileError(f"{model.path} cannot be used: {reason}") from error


def _opened(model: ModelFile, threads: int, name: str) -> Engine:
    from movinet_runtime.engines.interpreter import LITERT, TFLITE_RUNTIME, InterpreterEngine

    able = compiled_runs_here(platform.machine(), kernel_text(CPU_DESCRIPTION))
    if name == "compiled" and not able:
        raise UsageError("the compiled engine needs a CPU with LSE atomics; use the interpreter")
    if name in ("auto", "compiled") and able:
        from movinet_runtime.engines.compiled import CompiledEngine

        try:
            return CompiledEngine(model, threads)
        except (CompiledEngineError, MissingPackageError):
            if name == "compiled":
                raise
    library = {"tflite-runtime": TFLITE_RUNTIME, "interpreter": LITERT}.get(name)
    return InterpreterEngine(model, threads, library)


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
    """The physical cores, at most four: more does not help a network of this size."""
    return min(4, physical_cores())


def physical_cores() -> int:
    """Count the physical cores that this process may use, at least one."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(usable or 1, _physical_cores(kernel_text(CPU_DESCRIPTION)) or usable or 1))


def _physical_cores(cpu_description: str) -> int:
    """Count distinct (socket, core) pairs; 0 where the system does not tell (ARM)."""
    cores, socket = set(), ""
    for line in cpu_description.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "physical id":
            socket = value
        elif key.strip() == "core id":
            cores.add((socket, value))
    return len(cores)
