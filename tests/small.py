"""A stream model of a few hundred bytes: loads in a millisecond, for tests that need thousands."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.flatbuffer import serialize
from movinet_convert.graph import Graph
from movinet_runtime.model_file import METADATA_NAME
from movinet_runtime.tensors import FRAME_COUNT

SIDE, CLASSES = 8, 3
LABELS = [f"action {i}" for i in range(CLASSES)]
DESCRIPTION: dict[str, Any] = {
    "version": 1,
    "model": "a0-stream",
    "variant": "float32",
    "classes": CLASSES,
    "labels": LABELS,
    "resolution": SIDE,
    "fps": 5.0,
    "clip_frames": 50,
    "horizon": 50,
    "input_range": [0.0, 1.0],
    "in_place": False,
    "weights": {"source": "random:0", "sha256": "0" * 64, "licence": None},
}


def small_graph() -> Graph:
    """Logits are the mean colour and what the frames before had of it."""
    graph = Graph()
    image = graph.input("image", (1, 1, SIDE, SIDE, 3))
    count = graph.input(FRAME_COUNT, (1, 1, 1, 1))
    past = graph.input("state_colour_stream_buffer", (1, 1, 1, 3))
    frame = graph.reshape("frame", image, (1, SIDE, SIDE, 3))
    colour = graph.mean("colour", frame)
    added = graph.binary("ADD", "added", colour, past)
    one = graph.constant("one", np.ones((1, 1, 1, 1), np.float32))
    graph.output("logits", graph.reshape("logits", added, (1, CLASSES)))
    graph.output(FRAME_COUNT, graph.binary("ADD", FRAME_COUNT, count, one))
    graph.output("state_colour_stream_buffer", colour)
    return graph


def small_bytes(description: Any = DESCRIPTION) -> bytes:
    """The file's bytes; a description may be anything, bytes are taken as they are."""
    raw = description if isinstance(description, bytes) else json.dumps(description).encode()
    return serialize(small_graph(), "small", {METADATA_NAME: raw})


def small_model(path: Path, **changed: Any) -> Path:
    """Write the model, with fields of its description changed; None leaves one out."""
    fields = {key: value for key, value in (DESCRIPTION | changed).items() if value is not None}
    path.write_bytes(small_bytes(fields))
    return path
