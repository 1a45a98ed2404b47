"""Any MoViNet .tflite, float32, float16, dynamic or int8: published, fine-tuned, or ours."""

import contextlib
import io
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.flatbuffer import pack
from movinet_convert.parameters import DEFAULT_GATE
from movinet_convert.proof import model_logits
from movinet_convert.sources.loaded import Original, Range, Read
from movinet_convert.sources.tflite_float import UnreadableError, Unrounded, as_graph, unrounded
from movinet_convert.sources.tflite_walk import Found, network
from movinet_models.errors import WeightsError
from movinet_models.family import GATES, MODEL_IDS, Gate, ModelSpec, lookup
from movinet_runtime.classifier import read_labels
from movinet_runtime.description import Description
from movinet_runtime.errors import LabelsError, ModelFileError
from movinet_runtime.model_file import ModelFile

ENDING = ".tflite"
FORCED = (
    "FORCED: this source was written by --force, although it is not what its own source computes"
)
BESIDE = ("labels.txt", "labelmap.txt", "label_map.txt")


def reads(path: Path) -> bool:
    """Whether it is, or holds, one such file."""
    return _file(path) is not None


def read(path: Path, spec: ModelSpec) -> Read:
    """Read weights by walking the graph; batch norm is folded, int8 weights keep their rounding.

    Raises:
        WeightsError: damaged, another model, or wired in a way that is not known.
    """
    file = _file(path)
    if file is None:
        raise WeightsError(f"{path} holds no {ENDING} file")
    try:
        model = ModelFile.read(file)
        about, described = model.metadata, model.description
    except ModelFileError as error:
        raise WeightsError(str(error)) from error
    said = _said(file, described)
    try:
        plain = unrounded(model.content)
        graph = as_graph(plain.model)
    except UnreadableError as error:
        raise WeightsError(f"{file}: {error}") from error
    try:
        found = network(graph, spec, said)
    except UnreadableError as error:
        fits = [other for other in MODEL_IDS if _is(graph, lookup(other))]
        hint = f"these are weights of {' or '.join(fits)}" if fits else str(error)
        raise WeightsError(f"{file} does not fit {spec.id}: {hint}") from error
    image = graph.shape(next(t for name, t in graph.inputs.items() if name not in graph.outputs))
    frames = None if spec.streams else image[1]
    classes = len(found.tensors["classifier/bias"])
    labels = None if described is None else described.labels
    trained = about.get("clip_frames") if spec.streams else image[1]  # a base model's are its own
    notes = [FORCED] if described is not None and described.forced else []
    gate = (said or found.gate or DEFAULT_GATE) if spec.gated else None
    reason = "the file says so" if said else "its own graph computes it"
    return Read(
        found.tensors,
        [file],
        gate,
        reason,
        Original(
            f"the {ENDING} file, in LiteRT",
            partial(model_logits, model.content),
            image[2],
            frames,
            plain.rounds,
            partial(model_logits, pack(plain.model)) if plain.rounds else None,
        ),
        _labels(file, model.content, classes) if labels is None else list(labels),
        image[2],
        trained if isinstance(trained, int) and trained > 0 else None,
        None if described is None else described.horizon or None,
        None if described is None else described.trained_on,
        None if described is None or not described.thresholds else list(described.thresholds),
        None if described is None or not described.prior else dict(described.prior),
        None if described is None else described.licence,
        _int8_share(plain, found),
        _ranges(plain, found),
        folded=True,
        forced=bool(notes),
        notes=notes,
    )


def _said(file: Path, described: Description | None) -> Gate | None:
    if described is None or described.gate is None:
        return None
    if described.gate not in GATES:
        raise WeightsError(f"{file} has a gate that nobody knows: {described.gate}")
    return described.gate


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() == ENDING else None
    found = list(path.rglob(f"*{ENDING}")) if path.is_dir() else []
    return found[0] if len(found) == 1 else None


def _is(graph: Any, spec: ModelSpec) -> bool:
    try:
        network(graph, spec)
    except UnreadableError:
        return False
    return True


def _int8_share(plain: Unrounded, found: Found) -> float:
    tensors = plain.model.subgraphs[0].tensors
    sizes = {
        int(weights): int(np.prod(tensors[int(weights)].shape))
        for taps in found.weights.values()
        for weights in taps
    }
    rounded = sum(size for index, size in sizes.items() if index in plain.int8_constants)
    return rounded / sum(sizes.values())


def _ranges(plain: Unrounded, found: Found) -> dict[str, Range]:
    named = {name: plain.ranges.get(int(tensor)) for name, tensor in found.outputs.items()}
    return {name: span for name, span in named.items() if span is not None}


def _labels(file: Path, content: bytes, classes: int) -> list[str] | None:
    """Find as many labels as there are classes, in the file's own archive or beside it."""
    texts = []
    damaged = (zipfile.BadZipFile, RuntimeError, OSError, NotImplementedError)
    with contextlib.suppress(*damaged), zipfile.ZipFile(io.BytesIO(content)) as archive:
        texts = [
            archive.read(entry).decode("utf-8", "replace").splitlines()
            for entry in archive.infolist()
            if entry.filename.endswith(".txt") and entry.file_size < 1 << 20
        ]
    for beside in (file.with_suffix(".txt"), *(file.parent / name for name in BESIDE)):
        try:
            texts += [read_labels(beside)] if beside.is_file() else []
        except LabelsError:
            continue
    return next((text for text in texts if len(text) == classes), None)
