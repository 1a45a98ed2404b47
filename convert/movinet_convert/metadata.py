"""What an exported file says about itself: the toolkit's JSON and TFLite's own metadata.

The JSON is documented in docs/model-file.md. TFLite's metadata (the flatbuffer schema of
the TFLite Support library, identifier M001) names ``labels.txt``, which lies in a zip
archive behind the flatbuffer, so that other tools find the labels where they look.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flatbuffers

from movinet_convert.graph import Graph
from movinet_convert.sources import LoadedWeights
from movinet_models.family import ModelSpec
from movinet_runtime.description import METADATA_VERSION
from movinet_runtime.model_file import METADATA_NAME

TFLITE_METADATA = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
TENSOR_AXIS_LABELS = 2  # AssociatedFileType: one label a line, along the last axis
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same export gives the same bytes


def describe(spec: ModelSpec, loaded: LoadedWeights, labels: list[str] | None) -> dict[str, Any]:
    """Return what all variants of a model say about themselves."""
    arch = spec.architecture
    frames = loaded.clip_frames or arch.frames
    return {
        "version": METADATA_VERSION,
        "model": spec.id,
        "variant": None,
        "classes": loaded.classes,
        "labels": labels,
        "resolution": spec.resolution,
        "fps": arch.fps,
        "clip_frames": frames,
        "horizon": (loaded.horizon or frames) if spec.streams else 0,
        "input_range": [0.0, 1.0],
        "gate": loaded.gate,
        "states": {},
        "in_place": False,
        "weights": {
            "source": _public(loaded),
            "sha256": loaded.sha256,
            "licence": loaded.licence,
            "int8_share": round(loaded.int8_share, 4),
        },
        "tools": {
            name: version(name) for name in ("movinet-convert", "ai-edge-litert", "flatbuffers")
        },
    }


def of_variant(about: Mapping[str, Any], variant: str, graph: Graph) -> dict[str, Any]:
    """Return the description of one variant."""
    states = {name: name for name in graph.inputs if name in graph.outputs}
    in_place = graph.updates_in_place()
    return {**about, "variant": variant, "states": states, "in_place": in_place}


def _public(loaded: LoadedWeights) -> str:
    """Name a source without the folders of the machine it was on."""
    untrained, published = loaded.licence is None, "://" in loaded.source
    return loaded.source if untrained or published else Path(loaded.source).name


def buffers(description: dict[str, Any], output_names: list[str]) -> dict[str, bytes]:
    """Return the metadata buffers of a file by name."""
    raw = json.dumps(description, ensure_ascii=False, separators=(",", ":")).encode()
    found = {METADATA_NAME: raw}
    if description["labels"] is not None:
        found[TFLITE_METADATA] = _tflite_metadata(description, output_names)
    return found


def with_labels(content: bytes, labels: list[str] | None) -> bytes:
    """Append ``labels.txt`` in a zip archive, as TFLite metadata stores associated files."""
    if labels is None:
        return content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(LABELS_FILE, ZIP_TIME)
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return file.getvalue()


def _tflite_metadata(description: dict[str, Any], output_names: list[str]) -> bytes:
    builder = flatbuffers.Builder(1024)
    labels = _table(
        builder, {0: builder.CreateString(LABELS_FILE)}, int8_fields={2: TENSOR_AXIS_LABELS}
    )
    tensors = []
    for name in output_names:
        fields = {0: builder.CreateString(name)}
        if name == "logits":
            fields[6] = _vector(builder, [labels])
        tensors.append(_table(builder, fields))
    subgraph = _table(builder, {3: _vector(builder, tensors)})
    model = _table(
        builder,
        {
            0: builder.CreateString(f"MoViNet {description['model']} {description['variant']}"),
            3: _vector(builder, [subgraph]),
        },
    )
    builder.Finish(model, file_identifier=b"M001")
    return bytes(builder.Output())


def _table(
    builder: flatbuffers.Builder, fields: dict[int, int], int8_fields: dict[int, int] | None = None
) -> int:
    """Write a table; fields by their number in the schema."""
    builder.StartObject(8)
    for number, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    for number, value in (int8_fields or {}).items():
        builder.PrependInt8Slot(number, value, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
