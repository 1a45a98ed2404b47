"""Run models on emulated boards: compare their logits with this machine's, count instructions."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import movinet_runtime
from movinet_benchmarks.arm import guest
from movinet_benchmarks.arm.cores import CORES, Core
from movinet_benchmarks.arm.root import Root, Say, assemble
from movinet_runtime.engines import open_engine
from movinet_runtime.errors import MovinetError, UsageError
from movinet_runtime.model_file import ModelFile

WARM_UP = 1  # frames: the first one sets the network up
MIN_FRAMES = WARM_UP + 2
TINY = 1e-30  # the range of logits that are all equal


class EmulationError(MovinetError):
    """The emulated run failed."""


@dataclass(frozen=True)
class Emulation:
    """A model on a core.

    Attributes:
        instructions: executed for a frame, median over the frames after the first.
        spread: largest less smallest of these, as a share of the median.
        engine: that the runtime chose there.
        error: largest difference of the logits from this machine's, over their range.
        agreement: share of frames with the same best label.
        frames: in all.
    """

    core: str
    instructions: int
    spread: float
    engine: str
    error: float
    agreement: float
    frames: int


@dataclass(frozen=True)
class Trace:
    """A frame's blocks as the plugin wrote them, and the guest's /proc/self/maps."""

    blocks: str
    maps: str


@dataclass(frozen=True)
class _Answer:
    """Counts at the marks, logits [frames, classes], and the engine's name."""

    marks: list[int]
    logits: NDArray[np.float32]
    engine: str


@dataclass(frozen=True)
class _Bench:
    """A folder in which guests find their frames, and each leaves its results in its place."""

    folder: Path
    plugin: Path

    def place(self, name: str) -> "_Place":
        """Make a place for one guest's results."""
        folder = self.folder / name
        folder.mkdir()
        return _Place(self, folder)


@dataclass(frozen=True)
class _Place:
    """Where one guest leaves its results."""

    bench: _Bench
    folder: Path

    @property
    def blocks(self) -> Path:
        """What the plugin writes on demand."""
        return self.folder / "blocks.txt"

    def run(
        self,
        root: Root,
        core: Core,
        model: Path,
        engine: str,
        blocks: bool = False,
        horizon: int = 0,
    ) -> _Answer:
        counts, results = self.folder / "counts.txt", self.folder / "results.npz"
        inside = {
            "PYTHONPATH": root.python_path(Path(movinet_runtime.__file__).parent.parent),
            "LD_LIBRARY_PATH": root.library_path(),
            # What would vary from run to run.
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        plugin = f"{self.bench.plugin},mark={core.machine.getsid},out={counts}"
        with root.as_board(core) as board:
            command = [core.machine.emulator, "-L", str(board), "-cpu", core.cpu]
            for key, value in inside.items():
                command += ["-E", f"{key}={value}"]
            command += ["-plugin", plugin + (f",blocks={self.blocks}" if blocks else "")]
            command += [str(root.python), str(Path(guest.__file__)), str(model.resolve())]
            command += [str(self.bench.folder / "frames.npy"), engine]
            command += [str(results), str(horizon)]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise EmulationError(f"{model.name} on {core.name}: {lines[-1]}")
        with np.load(results) as file:
            marks = [int(line) for line in counts.read_text().split()]
            return _Answer(marks, file["logits"], str(file["engine"]))

    def maps(self) -> str:
        """Whose code was at which address in the last guest."""
        with np.load(self.folder / "results.npz") as file:
            return str(file["maps"])


def find_core(name: str) -> Core:
    """Look a core up.

    Raises:
        UsageError: unknown.
    """
    if name not in CORES:
        raise UsageError(f"no core '{name}'; there are {', '.join(CORES)}")
    return CORES[name]


def emulate(
    models: Sequence[Path],
    cores: Sequence[Core],
    frames: Sequence[NDArray[np.uint8]],
    engine: str = "auto",
    say: Say = lambda line: None,
) -> dict[tuple[Path, str], Emulation]:
    """Run each model on each core, as many at once as this machine has cores: counts are no times.

    Args:
        models: stream models.
        cores: which; their roots are assembled if they are not there.
        frames: uint8 [h, w, 3] of the models' size, at least three.
        engine: of the runtime, there.
        say: called with a line before each step.

    Returns:
        By (model, name of the core).

    Raises:
        MissingPackageError, UsageError: see :func:`assemble`.
        EmulationError: a run failed.
    """
    if not cores:
        return {}
    if len(frames) < MIN_FRAMES:
        raise UsageError(f"counting needs {MIN_FRAMES} frames or more, not {len(frames)}")
    roots = {core.machine: assemble(core.machine, say) for core in cores}
    with _bench(frames) as bench:
        here = {model: _logits(model, frames) for model in models}

        def answer(task: tuple[int, tuple[Path, Core]]) -> Emulation:
            number, (model, core) = task
            say(f"{model.name} on {core.name}")
            place = bench.place(str(number))
            there = place.run(roots[core.machine], core, model, engine)
            return _judged(core, there, here[model])

        tasks = list(product(models, cores))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            answers = list(pool.map(answer, enumerate(tasks)))
    return {(model, core.name): one for (model, core), one in zip(tasks, answers, strict=True)}


def _logits(model: Path, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Run a model on this machine: logits [frames, classes]."""
    engine = open_engine(ModelFile.read(model), 1)
    session, streams = engine.session(), engine.image.shape[0]
    return np.stack([session.step(guest.of_each_stream(frame, streams)) for frame in frames])


def trace(model: Path, core: Core, frames: Sequence[NDArray[np.uint8]]) -> Trace:
    """Run a model on a core and return every block of instructions of the last frame.

    Raises:
        MissingPackageError, UsageError: see :func:`assemble`.
        EmulationError: the run failed.
    """
    root = assemble(core.machine)
    with _bench(frames) as bench:
        place = bench.place("trace")
        place.run(root, core, model, "auto", blocks=True)
        return Trace(place.blocks.read_text(errors="replace"), place.maps())


def logits_on(
    core: Core, model: Path, frames: Sequence[NDArray[np.uint8]], horizon: int
) -> NDArray[np.float32]:
    """Run a model on a core and return its logits [frames, classes].

    Args:
        core: which.
        model: a stream model.
        frames: uint8 [h, w, 3] of its size, one stream without a reset.
        horizon: frames that averages remember; 0: all.

    Raises:
        MissingPackageError, UsageError: see :func:`assemble`.
        EmulationError: the run failed.
    """
    root = assemble(core.machine)
    with _bench(frames) as bench:
        place = bench.place("long")
        return place.run(root, core, model, "auto", horizon=horizon).logits


def _judged(core: Core, there: _Answer, here: NDArray[np.float32]) -> Emulation:
    if not (np.isfinite(here).all() and np.isfinite(there.logits).all()):
        raise EmulationError(f"the logits on {core.name} or on this machine are not all numbers")
    counts = np.diff(there.marks)[WARM_UP:]
    return Emulation(
        core.name,
        int(np.median(counts)),
        float(np.ptp(counts) / np.median(counts)),
        there.engine,
        float(np.abs(here - there.logits).max() / max(np.ptp(here), TINY)),
        float((here.argmax(axis=1) == there.logits.argmax(axis=1)).mean()),
        len(here),
    )


@contextmanager
def _bench(frames: Sequence[NDArray[np.uint8]]) -> Iterator[_Bench]:
    """A folder with the compiled plugin and the frames."""
    with tempfile.TemporaryDirectory(prefix="movinet-arm-") as name:
        folder = Path(name)
        np.save(folder / "frames.npy", np.stack(list(frames)))
        yield _Bench(folder, _compiled_plugin(folder))


def _compiled_plugin(folder: Path) -> Path:
    plugin = folder / "count.so"
    with as_file(files("movinet_benchmarks.arm") / "count.c") as source:
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(plugin), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise EmulationError(f"the counting plugin does not compile: {reason}")
    return plugin
