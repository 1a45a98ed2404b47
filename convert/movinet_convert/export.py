"""From weights to files that are proven: equal to their source, variants true to float32."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.fidelity import (
    LONG_FRAMES,
    Fidelity,
    Recording,
    Streams,
    compare,
    measures_of,
    record,
)
from movinet_convert import clip_graph, flatbuffer, metadata, stream_graph
from movinet_convert.frames import frames_apart
from movinet_convert.graph import Graph
from movinet_convert.parameters import Array
from movinet_convert.proof import (
    Parity,
    ParityError,
    check_streams,
    compared,
    file_logits,
    model_logits,
)
from movinet_convert.quantize import (
    CALIBRATED,
    MAY_BE_HALF,
    REDUCED_PRECISION,
    TRANSFORMS,
    Statistics,
    needs_ranges,
)
from movinet_convert.quantize.calibration import (
    Clips,
    drawn_clips,
    moving_noise,
    observed_ranges,
    read_clips,
    second_moments,
)
from movinet_convert.sources import LoadedWeights, Origin, load_weights
from movinet_convert.sources.load import reason
from movinet_models.errors import WeightsError
from movinet_models.family import GATES, Gate, ModelSpec
from movinet_models.figures import drawn
from movinet_models.labels import kinetics400, kinetics600
from movinet_runtime.classifier import checked_labels
from movinet_runtime.files import writing, written_whole
from movinet_runtime.inspection import Inspection, inspect
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import SCALE
from movinet_runtime.sources.clips import frames_at

KINETICS = {600: ("Kinetics-600", kinetics600), 400: ("Kinetics-400", kinetics400)}
PARITY_FRAMES = 16
STREAM_FRAMES = 6  # on which streams in one step are compared with each alone
# Drawn clips, of places and bodies that calibration does not draw, on which variants are judged.
HELD_OUT_CLIPS = 4
HELD_OUT_WHOLE_CLIPS = 2  # of base models, which take them whole
Say = Callable[[str], None]
Pictures = NDArray[np.uint8]  # [frames, h, w, 3]


@dataclass(frozen=True)
class Exported:
    """A written file and what is known about it.

    Attributes:
        parity: of the float32 graph that all variants come from; the first is with the source
            itself, if it can be run, the last with the Keras network.
        fidelity: of the variant, against the float32 graph.
        loaded: the weights that it was made from.
    """

    path: Path
    variant: str
    inspection: Inspection
    parity: list[Parity]
    fidelity: Fidelity | None
    notes: list[str]
    loaded: LoadedWeights


@dataclass(frozen=True)
class Judged:
    """What variants are judged on, and what float32 says there."""

    streams: Streams | None  # None: a base model,
    clips: list[Pictures]  # which is shown these
    truth: Recording

    def fidelity(self, path: Path, draft: Path) -> Fidelity:
        """Measure a variant that will lie at ``path``."""
        if self.streams is not None:
            return compare(path, record(draft, self.streams), self.truth)
        return Fidelity(path, measures_of(_answers(draft, self.clips), self.truth.short[0]), None)


def export(
    spec: ModelSpec,
    source: str,
    outputs: Mapping[str, Path],
    *,
    origin: Origin | None = None,
    gate: Gate | None = None,
    labels: Sequence[str] | None = None,
    resolution: int | None = None,
    frames: int | None = None,
    clip: Path | None = None,
    calibrate: Sequence[str] | None = None,
    half_arithmetic: bool = True,
    buffers: bool = False,
    streams: int = 1,
    force: bool = False,
    report: Say = lambda step: None,
    long_frames: int = LONG_FRAMES,
    where: str | None = None,
) -> list[Exported]:
    """Export variants of a model, compare them with its source, with Keras and with float32.

    Args:
        spec: the model; base models become clip models.
        source: the weights (:func:`movinet_convert.sources.load_weights`).
        outputs: where each variant goes; a file is replaced only by a whole one, and
            none before all are made.
        origin: where the source was published, if it is known.
        gate: the form of the hard sigmoid, if the source is not to say.
        labels: in the order of the logits; default: the source's, or Kinetics's for
            600 or 400 classes of weights that were not made at random.
        resolution: side of the input; default: the weights', or the family's.
        frames: clip length of a base model; default: that of its training.
        clip: its first frames are what the source and Keras are compared on (default: moving
            noise), and are one of the streams on which variants are compared with float32; the
            others are drawn figures that calibration does not draw.
        calibrate: clips to calibrate int8 weights on
            (:func:`movinet_convert.quantize.calibration.read_clips`); None: drawn figures;
            empty: none, weights are rounded to the nearest.
        half_arithmetic: let cores with half-precision arithmetic use it (float16, heavy).
        buffers: past frames in one state a layer, as published files have them, instead of one
            state a frame (:mod:`movinet_convert.frames`).
        streams: that run in one step of a stream model (:mod:`movinet_runtime.slices`).
        force: write files that do not compute what their source computes, and mark them.
        report: called with the name of each step before it starts.
        long_frames: length of the one stream through all those clips without a reset.
        where: workers that calibrate (:func:`movinet_runtime.workers.results`); None: this
            process.

    Returns:
        One result for each output, in their order.

    Raises:
        ParityError: the graph does not compute what its source or the Keras network does.
        WeightsError, LabelsError, SourceError, WorkersError: see their functions. Nothing is
            written.
    """
    report("reading weights")
    loaded = load_weights(source, spec, gate=gate, origin=origin)
    spec = spec.at(resolution or loaded.resolution)
    labels, notes = _labels(labels, loaded)
    notes += loaded.notes
    if loaded.gate is not None:
        other = next(gate for gate in GATES if gate != loaded.gate)
        told = loaded.folded or loaded.original is not None  # and would be found out
        change = "" if told else f"; --gate {other} changes it"
        notes.append(f"gate {loaded.gate}: {loaded.gate_reason}{change}")
    if loaded.int8_share:
        notes.append(f"{loaded.int8_share:.1%} of the weights were int8: their rounding stays")
    report("building the graph")
    frames = frames or (None if spec.streams else loaded.clip_frames) or spec.architecture.frames
    graph = _graph(spec, loaded, frames)
    pictures, name = parity_clip(spec, clip, PARITY_FRAMES if spec.streams else frames)
    parity = against_source(spec, loaded, clip, report)
    if not parity and loaded.licence is not None:  # untrained weights have no source
        notes.append("the source cannot be run: compared with the Keras network alone")
    report("running the Keras network")
    parity.append(against_keras(spec, loaded, graph, pictures, name))
    failures = [one.failure() for one in parity if not one.holds]
    if failures and not force:
        advice = f"; its gate was taken for {loaded.gate}, see --gate" if loaded.gate else ""
        raise ParityError(f"{loaded.source}: {failures[0]}{advice}; --force writes it all the same")
    notes += [f"FORCED: {failure}" for failure in failures]
    statistics, clips, more = _statistics(
        graph, spec, loaded, set(outputs), calibrate, report, where
    )
    notes += more
    about = metadata.describe(spec, loaded, labels)
    about["parity"] = _proof(parity, forced=bool(failures) or loaded.forced)
    about["calibration"] = None if clips is None else _calibration(clips)

    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        judged = None
        if set(outputs) - {"float32"}:
            report("running float32 on clips held out from calibration")
            reference = Path(folder) / "float32.tflite"
            reference.write_bytes(_written(graph, spec, about, "float32", False))
            judged = judge(spec, reference, pictures, clip is not None, long_frames)
        made: list[tuple[bytes, Exported]] = []
        for variant, path in outputs.items():
            report(f"measuring {variant}")
            transformed = _transformed(graph, variant, statistics, buffers)
            draft = Path(folder) / path.name
            draft.write_bytes(_written(transformed, spec, about, variant, half_arithmetic))
            fidelity = None
            if judged is not None and variant != "float32":
                fidelity = judged.fidelity(path, draft)
                if math.isnan(fidelity.worst_sqnr_db):
                    notes.append(f"{variant} is left out: its logits are not finite")
                    continue
            if streams > 1:
                together = _graph(spec, loaded, frames, streams)
                transformed = _transformed(together, variant, statistics, buffers)
            content = _written(transformed, spec, about, variant, half_arithmetic, fidelity)
            if streams > 1:
                several = Path(folder) / f"{variant}-{streams}.tflite"
                several.write_bytes(content)
                check_streams(draft, several, _several_clips(spec, streams))
            draft.write_bytes(content)
            inspection = inspect(ModelFile.read(draft))
            done = Exported(path, variant, inspection, parity, fidelity, notes, loaded)
            made.append((content, done))
    if not made:
        raise WeightsError(f"{loaded.source}: {notes[-1]}; try float16 or dynamic")
    report("writing")
    for content, result in made:
        with writing(result.path):
            result.path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(result.path) as temporary:
            temporary.write_bytes(content)
    return [result for _, result in made]


def against_source(
    spec: ModelSpec, loaded: LoadedWeights, clip: Path | None, report: Say = lambda step: None
) -> list[Parity]:
    """Compare a float32 graph of weights with their source, if that can be run; else nothing.

    A source that takes one size or one number of frames is compared at that.
    """
    original = loaded.original
    if original is None:
        return []
    spec = spec.at(original.resolution)
    frames = PARITY_FRAMES if spec.streams else original.frames or PARITY_FRAMES
    report(f"running {original.what}")
    pictures, name = parity_clip(spec, clip, frames)
    content = flatbuffer.serialize(_graph(spec, loaded, frames), "parity", {})
    found = model_logits(content, pictures)
    parity = []
    try:
        if original.unrounded is not None:
            against = f"{original.what}, its rounding taken out"
            parity.append(compared(found, original.unrounded(pictures), against, frames, name))
        expected = original.logits(pictures)
    except ParityError:
        raise
    except Exception as error:  # someone else's graph, in libraries that raise what they like
        why = reason(error)
        raise WeightsError(f"{loaded.source}: {original.what}, cannot be run: {why}") from error
    parity.append(compared(found, expected, original.what, frames, name, original.rounds))
    return parity


def against_keras(
    spec: ModelSpec, loaded: LoadedWeights, graph: Graph, pictures: Pictures, clip: str
) -> Parity:
    """Compare a float32 graph with the Keras network of the same weights."""
    found = model_logits(flatbuffer.serialize(graph, "parity", {}), pictures)
    expected = keras_logits(spec, loaded, pictures)
    return compared(found, expected, "the Keras network", len(pictures), clip)


def judge(
    spec: ModelSpec, reference: Path, pictures: Pictures, own: bool, long_frames: int
) -> Judged:
    """Run float32 on drawn clips of the test split, and on the user's own clip if it is one."""
    side, fps = (spec.resolution, spec.resolution), spec.architecture.fps
    if spec.streams:
        drawn_ones = drawn("test", HELD_OUT_CLIPS, side, fps)
        streams = Streams(([list(pictures)] if own else []) + drawn_ones, long_frames)
        return Judged(streams, [], record(reference, streams))
    clips = [
        np.stack((clip * -(-len(pictures) // len(clip)))[: len(pictures)])
        for clip in drawn("test", HELD_OUT_WHOLE_CLIPS, side, fps)
    ]
    clips.append(pictures)
    answers = _answers(reference, clips)
    return Judged(None, clips, Recording([answers], answers, []))


def _answers(model: Path, clips: Sequence[Pictures]) -> Array:
    """Run whole clips through a base model: logits [clips, classes]."""
    return np.concatenate([file_logits(model, clip) for clip in clips])


def _transformed(graph: Graph, variant: str, statistics: Statistics, buffers: bool) -> Graph:
    transformed = TRANSFORMS[variant](graph, statistics)
    return transformed if buffers else frames_apart(transformed)


def _several_clips(spec: ModelSpec, streams: int) -> list[Pictures]:
    """Return clips that differ, one for each stream."""
    side = (spec.resolution, spec.resolution)
    return [np.stack(list(moving_noise(side, STREAM_FRAMES, seed))) for seed in range(streams)]


def _graph(spec: ModelSpec, loaded: LoadedWeights, frames: int, streams: int = 1) -> Graph:
    if spec.streams:
        return stream_graph.build(spec, loaded.weights, loaded.hard_sigmoid, streams)
    return clip_graph.build(spec, loaded.weights, frames)


def _statistics(
    graph: Graph,
    spec: ModelSpec,
    loaded: LoadedWeights,
    variants: set[str],
    calibrate: Sequence[str] | None,
    report: Say,
    where: str | None,
) -> tuple[Statistics, Clips | None, list[str]]:
    """Measure what the variants' transforms need to know, on clips."""
    notes: list[str] = []
    needed = {name for v in variants for name in needs_ranges(v, graph)}
    # Clips that the user names say more about what the model will see than the source does.
    ranges = {} if calibrate else dict(loaded.ranges)
    unknown = sorted(needed - ranges.keys())
    if needed and not unknown:
        notes.append("ranges of int8 activations are the source's")
    rounds = bool(variants & CALIBRATED)
    wanted = rounds and spec.streams and (calibrate is None or bool(calibrate))
    if not wanted and not unknown:
        if rounds:
            notes.append("not calibrated: int8 weights are rounded to the nearest")
        return Statistics(ranges=ranges), None, notes
    side, fps = (spec.resolution, spec.resolution), spec.architecture.fps
    if not calibrate:
        report("drawing clips to calibrate on")
        clips = drawn_clips(side, fps)
        notes.append("calibrated on drawn figures: --calibrate with clips of your own is truer")
    else:
        clips = read_clips(calibrate, side, fps, lambda name: report(f"reading {name}"))
    notes.append(f"calibrated on {len(clips.clips)} clips, {clips.frames} frames")
    notes += [f"calibration skipped: {reason}" for reason in clips.skipped]
    notes += [f"calibration: {name} is a still picture" for name in clips.stills]
    report(f"calibrating on {clips.frames} frames")
    if unknown:
        ranges |= observed_ranges(graph, unknown, clips, where)
    moments = second_moments(graph, clips, where=where) if wanted else {}
    return Statistics(moments, ranges), clips, notes


def _written(
    graph: Graph,
    spec: ModelSpec,
    about: Mapping[str, Any],
    variant: str,
    half_arithmetic: bool,
    fidelity: Fidelity | None = None,
) -> bytes:
    """Return a file: the graph, and its description with what this variant adds to it."""
    description = metadata.of_variant(about, variant, graph)
    description["fidelity"] = None if fidelity is None else _summary(fidelity)
    named = metadata.buffers(description, graph)
    if variant in MAY_BE_HALF and half_arithmetic:
        named |= REDUCED_PRECISION
    content = flatbuffer.serialize(graph, f"MoViNet {spec.id} {variant}", named)
    return metadata.with_labels(content, description["labels"])


def _proof(parity: Sequence[Parity], forced: bool) -> dict[str, Any]:
    """What the file says about its equality; the errors themselves differ between machines."""
    return {"against": [one.against for one in parity], "forced": forced}


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
        for name, measures in fidelity.parts.items()
    }


def _labels(
    given: Sequence[str] | None, loaded: LoadedWeights
) -> tuple[list[str] | None, list[str]]:
    if given is not None:
        return list(checked_labels(given, loaded.classes, loaded.source)), []
    if loaded.labels is not None:
        return loaded.labels, []
    if loaded.classes in KINETICS and loaded.licence is not None:
        name, labels = KINETICS[loaded.classes]
        return labels(), [f"{loaded.classes} classes and no --labels: taken for {name}"]
    return None, ["no labels in the file: give --labels to name the classes"]


def parity_clip(spec: ModelSpec, clip: Path | None, frames: int) -> tuple[NDArray[np.uint8], str]:
    """Return a clip, uint8 [frames, h, w, 3], and its name; the last frame repeats."""
    side = (spec.resolution, spec.resolution)
    if clip is None:
        return np.stack(list(moving_noise(side, frames))), "moving noise"
    pictures = list(frames_at(clip, side, spec.architecture.fps, frames))
    pictures += pictures[-1:] * (frames - len(pictures))
    return np.stack(pictures), clip.name


def keras_logits(spec: ModelSpec, loaded: LoadedWeights, pictures: NDArray[np.uint8]) -> Array:
    """Run a clip through the Keras network at once: logits [frames or 1, classes]."""
    from movinet_convert.network import load_into_network

    network = load_into_network(spec, loaded.weights, loaded.labels, gate=loaded.hard_sigmoid)
    logits: Array = np.asarray(network.stream(pictures[None] * SCALE)[0])[0]
    return logits
