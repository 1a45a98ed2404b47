"""TFLite's own metadata, for tools that know nothing of this toolkit.

The flatbuffer schema of the TFLite Support library (metadata_schema.fbs, identifier M001): what
the image is and how its pixels become the input, and ``labels.txt``, which lies in a zip archive
behind the model. Tables are written by the numbers of their fields in the schema.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers

NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
IDENTIFIER = b"M001"

# Fields by their number, and the members of enumerations and unions that are used.
MODEL_NAME, MODEL_SUBGRAPHS, MODEL_LICENSE = 0, 3, 5
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 2, 3
TENSOR_NAME, TENSOR_CONTENT, TENSOR_UNITS, TENSOR_STATS, TENSOR_FILES = 0, 3, 4, 5, 6
CONTENT_TYPE, CONTENT_PROPERTIES = 0, 1
IMAGE_PROPERTIES = 2  # of ContentProperties
IMAGE_COLOURS, IMAGE_SIZE = 0, 1
RGB = 1  # of ColorSpaceType
SIZE_WIDTH, SIZE_HEIGHT = 0, 1
UNIT_TYPE, UNIT_OPTIONS = 0, 1
NORMALIZATION = 1  # of ProcessUnitOptions
NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
STATS_MAX, STATS_MIN = 0, 1
FILE_NAME, FILE_TYPE = 0, 2
TENSOR_AXIS_LABELS = 2  # of AssociatedFileType: one label a line, along the last axis
FIELDS = 9  # of the largest table
PIXEL = 255.0  # a pixel's greatest value: (pixel - mean) / std is what the model takes


def tflite_metadata(
    description: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """Return the metadata buffer of a model.

    Args:
        description: the toolkit's own (docs/model-file.md).
        inputs: names of the subgraph's inputs in order; ``image`` is described.
        outputs: of its outputs; ``logits`` has the labels, if there are any.
    """
    builder = flatbuffers.Builder(1024)
    side, (low, high) = description["resolution"], description["input_range"]
    image = {
        TENSOR_CONTENT: _image(builder, side),
        TENSOR_UNITS: _vector(builder, [_normalization(builder, low, high)]),
        TENSOR_STATS: _table(
            builder,
            {STATS_MAX: _floats(builder, [high]), STATS_MIN: _floats(builder, [low])},
        ),
    }
    logits = {}
    if description["labels"] is not None:
        name = builder.CreateString(LABELS_FILE)
        file = _table(builder, {FILE_NAME: name}, {FILE_TYPE: ("Int8", TENSOR_AXIS_LABELS)})
        logits[TENSOR_FILES] = _vector(builder, [file])
    subgraph = _table(
        builder,
        {
            SUBGRAPH_INPUTS: _tensors(builder, inputs, {"image": image}),
            SUBGRAPH_OUTPUTS: _tensors(builder, outputs, {"logits": logits}),
        },
    )
    fields = {
        MODEL_NAME: builder.CreateString(
            f"MoViNet {description['model']} {description['variant']}"
        ),
        MODEL_SUBGRAPHS: _vector(builder, [subgraph]),
    }
    if licence := description["weights"]["licence"]:
        fields[MODEL_LICENSE] = builder.CreateString(licence)
    builder.Finish(_table(builder, fields), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _image(builder: flatbuffers.Builder, side: int) -> int:
    size = _table(builder, {}, {SIZE_WIDTH: ("Uint32", side), SIZE_HEIGHT: ("Uint32", side)})
    properties = _table(builder, {IMAGE_SIZE: size}, {IMAGE_COLOURS: ("Int8", RGB)})
    return _table(
        builder, {CONTENT_PROPERTIES: properties}, {CONTENT_TYPE: ("Uint8", IMAGE_PROPERTIES)}
    )


def _normalization(builder: flatbuffers.Builder, low: float, high: float) -> int:
    std = PIXEL / (high - low)
    options = _table(
        builder,
        {
            NORMALIZATION_MEAN: _floats(builder, [-low * std]),
            NORMALIZATION_STD: _floats(builder, [std]),
        },
    )
    return _table(builder, {UNIT_OPTIONS: options}, {UNIT_TYPE: ("Uint8", NORMALIZATION)})


def _tensors(
    builder: flatbuffers.Builder, names: Sequence[str], known: Mapping[str, dict[int, int]]
) -> int:
    tables = [
        _table(builder, {TENSOR_NAME: builder.CreateString(name)} | known.get(name, {}))
        for name in names
    ]
    return _vector(builder, tables)


def _table(
    builder: flatbuffers.Builder,
    offsets: Mapping[int, int],
    scalars: Mapping[int, tuple[str, int]] | None = None,
) -> int:
    """Write a table of offsets, and of scalars by their type."""
    builder.StartObject(FIELDS)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    for number, (kind, value) in (scalars or {}).items():
        getattr(builder, f"Prepend{kind}Slot")(number, value, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())
