"""From weights to a file that is proven equal to the Keras network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from movinet_convert import clip_graph, flatbuffer, metadata, stream_graph
from movinet_convert.parameters import Array
from movinet_convert.weights import LoadedWeights, load_weights
from movinet_models.family import ModelSpec
from movinet_models.labels import kinetics600
from movinet_runtime.classifier import StreamClassifier, checked_labels
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.files import written_whole
from movinet_runtime.frames import open_frames
from movinet_runtime.inspection import Inspection, inspect
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import prepare

KINETICS_CLASSES = 600
PARITY_FRAMES = 16
Report = Callable[[str], None]


@dataclass(frozen=True)
class Parity:
    """How far the file's logits are from the Keras network's, relative to their range."""

    error: float
    frames: int
    clip: str


@dataclass(frozen=True)
class Exported:
    """A written file and what is known about it."""

    path: Path
    inspection: Inspection
    parity: Parity
    notes: list[str]


def export(
    spec: ModelSpec,
    source: str,
    path: Path,
    labels: Sequence[str] | None = None,
    resolution: int | None = None,
    frames: int | None = None,
    clip: Path | None = None,
    report: Report = lambda step: None,
) -> Exported:
    """Export a model to float32 TFLite and check it on a clip.

    Args:
        spec: the model; base models become clip models.
        source: the weights (:func:`movinet_convert.weights.load_weights`).
        path: where the file goes, replaced only by a whole one.
        labels: in the order of the logits; default: the source's, or Kinetics-600 for
            600 classes of weights that were not made at random.
        resolution: side of the input; default: the weights', or the family's.
        frames: clip length of a base model; default: that of its training.
        clip: a source of frames for the check; default: moving noise.
        report: called with the name of each step before it starts.

    Raises:
        WeightsError, LabelsError, SourceError: see their functions. Nothing is written.
    """
    report("reading weights")
    loaded = load_weights(source, spec)
    spec = spec.at(resolution or loaded.resolution)
    labels, notes = _labels(labels, loaded)
    report("building the graph")
    frames = frames or spec.architecture.frames
    if spec.streams:
        graph = stream_graph.build(spec, loaded.weights)
    else:
        graph = clip_graph.build(spec, loaded.weights, frames)
    about = metadata.describe(spec, "float32", loaded, labels, graph)
    named = metadata.buffers(about, list(graph.outputs))
    content = flatbuffer.serialize(graph, f"MoViNet {spec.id}", named)
    content = metadata.with_labels(content, labels)
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
        report("counting delegate partitions")
        inspection = inspect(ModelFile.read(temporary))
        report("comparing with the Keras network")
        pictures, name = parity_clip(spec, clip, PARITY_FRAMES if spec.streams else frames)
        parity = check_parity(spec, loaded, temporary, pictures, name)
        report("writing")
    return Exported(path, inspection, parity, notes)


def _labels(
    given: Sequence[str] | None, loaded: LoadedWeights
) -> tuple[list[str] | None, list[str]]:
    if given is not None:
        return list(checked_labels(given, loaded.classes, loaded.source)), []
    if loaded.labels is not None:
        return loaded.labels, []
    if loaded.classes == KINETICS_CLASSES and not loaded.source.startswith("random"):
        return kinetics600(), ["600 classes and no --labels: taken for Kinetics-600"]
    return None, ["no labels in the file: give --labels to name the classes"]


def parity_clip(spec: ModelSpec, clip: Path | None, frames: int) -> tuple[Array, str]:
    """Return a clip [frames, h, w, 3] in [0, 1] and its name; the last frame repeats."""
    side = (spec.resolution, spec.resolution)
    if clip is None:
        return np.stack(list(moving_noise(side, frames))), "moving noise"
    source = open_frames(clip, spec.architecture.fps)
    sampled = source.sampled(spec.architecture.fps)
    pictures = [prepare(frame.image, side) for frame in islice(sampled, frames)]
    pictures += pictures[-1:] * (frames - len(pictures))
    return np.stack(pictures), clip.name


def moving_noise(size: tuple[int, int], frames: int, seed: int = 0) -> Iterator[Array]:
    """Yield blocks of noise that drift: every frame differs from every other."""
    height, width = size
    shape = (height // 8 + 2, width // 8 + 2, 3)
    noise = np.random.default_rng(seed).random(shape, np.float32)
    texture = np.kron(noise, np.ones((8, 8, 1), np.float32))
    for t in range(frames):
        shifted = np.roll(texture, (3 * t, 5 * t), axis=(0, 1))
        yield shifted[:height, :width] * np.float32(0.5 + 0.5 * np.cos(t / 3) ** 2)


def check_parity(
    spec: ModelSpec, loaded: LoadedWeights, model: Path, pictures: Array, clip: str
) -> Parity:
    """Run a clip through the file frame by frame and through the Keras network at once."""
    from movinet_convert.network import load_into_network

    network = load_into_network(spec, loaded.weights, loaded.labels)
    expected = np.asarray(network.stream(pictures[None])[0])[0]
    if spec.streams:
        classifier = StreamClassifier(model)
        found = np.stack([classifier.step(picture).logits for picture in pictures])
    else:
        interpreter = load_interpreter(ModelFile.read(model), threads=1)
        found = interpreter.get_signature_runner()(image=pictures[None])["logits"]
    error = float(np.abs(found - expected).max() / np.ptp(expected))
    return Parity(error, len(pictures), clip)
