"""Fixtures: the reference data where they are, and files exported once a session."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from movinet_convert import flatbuffer, metadata, stream_graph
from movinet_convert.parameters import random_weights
from movinet_convert.sources import LoadedWeights
from movinet_models import SOURCES, Source
from movinet_models.family import ModelSpec, lookup
from movinet_runtime.quiet import hide_native_messages_at_exit
from movinet_runtime.sources.frame import Frame
from tests.weights_server import MODEL, WeightsServer, row, serve

hide_native_messages_at_exit()
# Machines are noisy: how long an example takes is no reason to fail.
settings.register_profile("noisy", deadline=None)
settings.load_profile("noisy")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data; tests that need it are skipped without."""
    folder = os.environ.get("MOVINET_SHARED")
    if not folder:
        pytest.skip("MOVINET_SHARED is not set: no reference checkpoints and clips here")
    return Path(folder)


def write_stream_model(
    path: Path, spec: ModelSpec, classes: int = 12, labels: list[str] | None = None
) -> Path:
    """Export random weights without going through TensorFlow."""
    weights = random_weights(spec, classes)
    loaded = LoadedWeights(weights, "random:0", "0" * 64, licence=None)
    graph = stream_graph.build(spec, weights)
    about = metadata.of_variant(metadata.describe(spec, loaded, labels), "float32", graph)
    content = flatbuffer.serialize(graph, spec.id, metadata.buffers(about, graph))
    path.write_bytes(metadata.with_labels(content, labels))
    return path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where pip cannot bring a package that it has not got."""
    folder = tmp_path_factory.mktemp("registry")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    done = subprocess.run([*pip, "-d", folder, "typer"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package registry answers: {(done.stderr.splitlines() or ['-'])[-1]}")


@pytest.fixture(scope="session")
def stream_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small stream model of 12 labelled classes."""
    labels = [f"action {i}" for i in range(12)]
    folder = tmp_path_factory.mktemp("model")
    return write_stream_model(folder / "small.tflite", lookup("a0-stream").at(64), labels=labels)


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """Encode numbered grey frames: frame i has the value 8 * i, modulo 256."""
    import av

    def write(frames: int = 12, fps: int | Fraction = 10, size: tuple[int, int] = (64, 48)) -> Path:
        path = tmp_path / f"{frames}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for i in range(frames):
                picture = np.full((size[1], size[0], 3), 8 * i % 256, np.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return path

    return write


@pytest.fixture
def noise_frames() -> list[Frame]:
    """Six frames of noise at 5 fps."""
    rng = np.random.default_rng(1)
    return [Frame(rng.integers(0, 256, (48, 64, 3), np.uint8), i / 5) for i in range(6)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of weights, for this process and those that it starts."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MOVINET_CACHE", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    """A server of weights on loopback; it has nothing."""
    with serve() as running:
        yield running


@pytest.fixture
def table(server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> tuple[Source, ...]:
    """The sources of a0-stream: three addresses of the server."""
    rows = (
        row("kaggle", f"{server.url}/kaggle", "a0_kaggle.tar.gz"),
        row("hub", f"{server.url}/hub?tf-hub-format=compressed", "a0_hub.tar.gz"),
        row("pytorch", f"{server.url}/torch", "a0.pth", licence="MIT"),
    )
    monkeypatch.setitem(SOURCES, MODEL, rows)
    return rows
