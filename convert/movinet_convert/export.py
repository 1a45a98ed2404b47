"""From weights to files that are proven: float32 equal to Keras, variants true to float32."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.fidelity import LONG_FRAMES, Fidelity, Streams, compare, record
from movinet_convert import clip_graph, flatbuffer, metadata, stream_graph
from movinet_convert.parameters import Array
from movinet_convert.quantize import CALIBRATED, HALF, REDUCED_PRECISION, VARIANTS
from movinet_convert.quantize.calibration import (
    Clips,
    drawn_clips,
    moving_noise,
    read_clips,
    second_moments,
)
from movinet_convert.weights import LoadedWeights, load_weights
from movinet_models.family import ModelSpec
from movinet_models.figures import drawn
from movinet_models.labels import kinetics600
from movinet_runtime.classifier import StreamClassifier, checked_labels
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.files import written_whole
from movinet_runtime.inspection import Inspection, inspect
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import SCALE
from movinet_runtime.sources.clips import frames_at

KINETICS_CLASSES = 600
PARITY_FRAMES = 16
# Drawn clips, of places and bodies that calibration does not draw, on which variants are judged.
HELD_OUT_CLIPS = 4
Report = Callable[[str], None]


@dataclass(frozen=True)
class Parity:
    """How far the file's logits are from the Keras network's, relative to their range."""

    error: float
    frames: int
    clip: str


@dataclass(frozen=True)
class Exported:
    """A written file and what is known about it; fidelity is against the float32 graph."""

    path: Path
    variant: str
    inspection: Inspection
    parity: Parity
    fidelity: Fidelity | None
    notes: list[str]


def export(
    spec: ModelSpec,
    source: str,
    outputs: Mapping[str, Path],
    labels: Sequence[str] | None = None,
    resolution: int | None = None,
    frames: int | None = None,
    clip: Path | None = None,
    calibrate: Sequence[str] | None = None,
    half_arithmetic: bool = True,
    report: Report = lambda step: None,
    long_frames: int = LONG_FRAMES,
) -> list[Exported]:
    """Export variants of a model, compare each with the Keras network and with float32.

    Args:
        spec: the model; base models become clip models.
        source: the weights (:func:`movinet_convert.weights.load_weights`).
        outputs: where each variant goes; a file is replaced only by a whole one, and
            none before all are made.
        labels: in the order of the logits; default: the source's, or Kinetics-600 for
            600 classes of weights that were not made at random.
        resolution: side of the input; default: the weights', or the family's.
        frames: clip length of a base model; default: that of its training.
        clip: its first frames are run through the Keras network too (default: moving noise),
            and are one of the streams on which variants are compared with float32; the others
            are drawn figures that calibration does not draw.
        calibrate: clips to calibrate int8 weights on
            (:func:`movinet_convert.quantize.calibration.read_clips`); None: drawn figures;
            empty: none, weights are rounded to the nearest.
        half_arithmetic: let cores with half-precision arithmetic use it (float16, mixed, wide).
        report: called with the name of each step before it starts.
        long_frames: length of the one stream through all those clips without a reset.

    Returns:
        One result for each output, in their order.

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
    pictures, name = parity_clip(spec, clip, PARITY_FRAMES if spec.streams else frames)
    clips, moments = None, None
    if spec.streams and (calibrate is None or calibrate) and set(outputs) & CALIBRATED:
        side, fps = (spec.resolution, spec.resolution), spec.architecture.fps
        if calibrate is None:
            report("drawing clips to calibrate on")
            clips = drawn_clips(side, fps)
            notes += ["calibrated on drawn figures: --calibrate with clips of your own is truer"]
        else:
            clips = read_clips(calibrate, side, fps, lambda name: report(f"reading {name}"))
        notes += [f"calibrated on {len(clips.clips)} clips, {clips.frames} frames"]
        notes += [f"calibration skipped: {reason}" for reason in clips.skipped]
        notes += [f"calibration: {name} is a still picture" for name in clips.stills]
        report(f"calibrating on {clips.frames} frames")
        moments = second_moments(graph, clips)
    elif set(outputs) & CALIBRATED:
        notes += ["not calibrated: int8 weights are rounded to the nearest"]
    report("running the Keras network")
    expected = keras_logits(spec, loaded, pictures)

    def described(variant: str, fidelity: Fidelity | None) -> bytes:
        transformed = VARIANTS[variant](graph, moments)
        about = metadata.describe(spec, variant, loaded, labels, transformed)
        about["calibration"] = None if clips is None else _calibration(clips)
        about["fidelity"] = None if fidelity is None else _summary(fidelity)
        named = metadata.buffers(about, list(transformed.outputs))
        if variant in HALF and half_arithmetic:
            named |= REDUCED_PRECISION
        content = flatbuffer.serialize(transformed, f"MoViNet {spec.id} {variant}", named)
        return metadata.with_labels(content, labels)

    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        reference = Path(folder) / "float32.tflite"
        reference.write_bytes(described("float32", None))
        truth = None
        if spec.streams and set(outputs) - {"float32"}:
            report("running float32 on clips held out from calibration")
            streams = held_out_streams(spec, pictures if clip else None, long_frames)
            truth = record(reference, streams)
        made: dict[str, tuple[bytes, Exported]] = {}
        for variant, path in outputs.items():
            report(f"measuring {variant}")
            draft = Path(folder) / path.name
            draft.write_bytes(described(variant, None))
            fidelity = None
            if truth is not None and variant != "float32":
                fidelity = compare(path, record(draft, streams), truth)
            parity = Parity(relative_error(draft, pictures, expected), len(pictures), name)
            inspection = inspect(ModelFile.read(draft))
            result = Exported(path, variant, inspection, parity, fidelity, notes)
            made[variant] = described(variant, fidelity), result
    report("writing")
    for content, result in made.values():
        with written_whole(result.path) as temporary:
            temporary.write_bytes(content)
    return [result for _, result in made.values()]


def _calibration(clips: Clips) -> dict[str, Any]:
    """What the file says about the clips that it was calibrated on."""
    return {"clips": len(clips.clips), "frames": clips.frames, "sha256": clips.digest}


def _summary(fidelity: Fidelity) -> dict[str, Any]:
    """What the file says about its fidelity."""
    return {
        name: {
            "frames": measures.frames,
            "sqnr_db": round(measures.sqnr_db, 2),
            "agreement": round(measures.agreement, 4),
        }
        for name, measures in (("short", fidelity.short), ("long", fidelity.long))
    }


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


def parity_clip(spec: ModelSpec, clip: Path | None, frames: int) -> tuple[NDArray[np.uint8], str]:
    """Return a clip, uint8 [frames, h, w, 3], and its name; the last frame repeats."""
    side = (spec.resolution, spec.resolution)
    if clip is None:
        return np.stack(list(moving_noise(side, frames))), "moving noise"
    pictures = list(frames_at(clip, side, spec.architecture.fps, frames))
    pictures += pictures[-1:] * (frames - len(pictures))
    return np.stack(pictures), clip.name


def held_out_streams(
    spec: ModelSpec, pictures: NDArray[np.uint8] | None, long_frames: int
) -> Streams:
    """Return the user's clip, if there is one, and drawn clips of the test split."""
    side = (spec.resolution, spec.resolution)
    own = [] if pictures is None else [list(pictures)]
    return Streams(own + drawn("test", HELD_OUT_CLIPS, side, spec.architecture.fps), long_frames)


def keras_logits(spec: ModelSpec, loaded: LoadedWeights, pictures: NDArray[np.uint8]) -> Array:
    """Run a clip through the Keras network at once: logits [frames or 1, classes]."""
    from movinet_convert.network import load_into_network

    network = load_into_network(spec, loaded.weights, loaded.labels)
    logits: Array = np.asarray(network.stream(pictures[None] * SCALE)[0])[0]
    return logits


def relative_error(model: Path, pictures: NDArray[np.uint8], expected: Array) -> float:
    """Run a clip through a file and return the largest difference over the logits' range."""
    if expected.shape[0] == len(pictures) and len(pictures) > 1:
        classifier = StreamClassifier(model, horizon=0)  # as the clip network remembers
        found = np.stack([classifier.step(picture).logits for picture in pictures])
    else:
        interpreter = load_interpreter(ModelFile.read(model), threads=1)
        found = interpreter.get_signature_runner()(image=pictures[None] * SCALE)["logits"]
    return float(np.abs(found - expected).max() / np.ptp(expected))
