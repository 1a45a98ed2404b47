"""What tensors of the float graph hold on streams: the work of calibration, here or on workers.

A task is one stream. Its sums depend on nothing but itself, and are merged in the order of the
streams, so that any workers give the same.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from movinet_convert.flatbuffer import serialize
from movinet_convert.graph import Graph
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.errors import WorkersError
from movinet_runtime.facts import ordered_results
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import SCALE
from movinet_runtime.workers import Lost

Stream = Sequence[NDArray[np.uint8]]
Values = dict[str, NDArray[np.float32]]
R = TypeVar("R")

CODE = ("movinet_runtime", "movinet_models", "movinet_convert")
THREADS = 2  # in this process; workers have one


@dataclass(frozen=True)
class Probes:
    """A graph whose tensors can be looked at, as a file's content: workers need no disk of ours.

    Attributes:
        content: of a TFLite file.
        names: of the tensors.
    """

    content: bytes
    names: tuple[str, ...]

    @classmethod
    def of(cls, graph: Graph, names: Iterable[str]) -> "Probes":
        """Make the named tensors outputs."""
        probes = Graph(graph.tensors, graph.ops, graph.inputs, dict(graph.outputs))
        names = tuple(names)
        for name in names:
            probes.output(f"probe/{name}", name)
        return cls(serialize(probes, "calibration", {}), names)


class Observer:
    """Runs streams through probes."""

    def __init__(self, probes: Probes, threads: int = THREADS) -> None:
        self._names = probes.names
        model = ModelFile(Path("calibration.tflite"), probes.content)
        self._runner = load_interpreter(model, threads=threads).get_signature_runner()
        self._details = self._runner.get_input_details()

    def values(self, stream: Iterable[NDArray[np.uint8]]) -> Iterator[Values]:
        """Yield the tensors after each frame, uint8 [h, w, 3], of a stream of its own."""
        details = self._details
        states = {n: np.zeros(d["shape"], d["dtype"]) for n, d in details.items() if n != "image"}
        for frame in stream:
            outputs = self._runner(image=frame[None, None] * SCALE, **states)
            states = {name: outputs[name] for name in states}
            yield {name: outputs[f"probe/{name}"] for name in self._names}


@dataclass
class Sums:
    """Sums of x x^T over pixels.

    Attributes:
        products: [channels, channels] by tensor.
        pixels: how many, by tensor.
    """

    products: dict[str, NDArray[np.float64]]
    pixels: dict[str, int]

    def add(self, other: "Sums") -> None:
        """Add those of another stream."""
        for name, products in other.products.items():
            if name in self.products:
                self.products[name] += products
            else:
                self.products[name] = products.copy()
            self.pixels[name] = self.pixels.get(name, 0) + other.pixels[name]


def sums(observer: Observer, stream: Stream) -> Sums:
    """Sum over the frames of one stream."""
    found = Sums({}, {})
    for values in observer.values(stream):
        for name, value in values.items():
            pixels = value.reshape(-1, value.shape[-1])
            if name not in found.products:
                found.products[name] = np.zeros((pixels.shape[1],) * 2)
            found.products[name] += pixels.T @ pixels
            found.pixels[name] = found.pixels.get(name, 0) + len(pixels)
    return found


Ranges = dict[str, tuple[float, float]]


def ranges(observer: Observer, stream: Stream) -> Ranges:
    """Return the least and the greatest value of each tensor in one stream."""
    found: Ranges = {}
    for values in observer.values(stream):
        one = {name: (float(value.min()), float(value.max())) for name, value in values.items()}
        found = wider(found, one)
    return found


def wider(one: Ranges, other: Ranges) -> Ranges:
    """Return ranges that hold both; NaN stays."""
    found = dict(one)
    for name, (low, high) in other.items():
        least, most = found.get(name, (np.inf, -np.inf))
        found[name] = float(np.minimum(least, low)), float(np.maximum(most, high))
    return found


def of_streams(
    measure: Callable[[Observer, Stream], R],
    probes: Probes,
    streams: Sequence[Stream],
    where: str | None = None,
) -> Iterator[R]:
    """Yield what is measured on each stream, in their order.

    Args:
        measure: :func:`sums` or :func:`ranges`.
        probes: what is looked at.
        streams: on workers, the last one begins first, since it lasts longest.
        where: see :func:`movinet_runtime.workers.results`; None: this process.

    Raises:
        WorkersError: see there, or a stream is lost: there is no calibration without it.
    """
    if where is None:
        yield from map(partial(measure, Observer(probes)), streams)
        return
    tasks = ((measure, probes, stream) for stream in (streams[-1], *streams[:-1]))
    found = ordered_results(where, work, tasks, code=CODE, last_first=True)
    for one in found:
        if isinstance(one, Lost):
            raise WorkersError(f"calibration lacks a clip: {one.reason}")
        yield one


def work(task: tuple[Callable[[Observer, Stream], R], Probes, Stream]) -> R:
    """Do a task, with a graph that is loaded once for each thread of a worker."""
    measure, probes, stream = task
    if getattr(_held, "probes", None) != probes:
        _held.observer, _held.probes = Observer(probes, threads=1), probes
    return measure(_held.observer, stream)


_held = threading.local()
