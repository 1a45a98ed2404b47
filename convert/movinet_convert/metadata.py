"""What an exported file says about itself: the toolkit's JSON, and TFLite's own metadata.

The JSON is documented in docs/model-file.md.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from movinet_convert import tflite_metadata
from movinet_convert.graph import Graph
from movinet_convert.sources import LoadedWeights
from movinet_models.family import ModelSpec
from movinet_runtime.description import METADATA_VERSION
from movinet_runtime.model_file import METADATA_NAME

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
        "streams": 1,
        "weights": {
            "source": _public(loaded),
            "sha256": loaded.sha256,
            "licence": loaded.licence,
            "int8_share": round(loaded.int8_share, 4),
        },
        **({"trained_on": loaded.trained_on} if loaded.trained_on else {}),
        **({"thresholds": loaded.thresholds} if loaded.thresholds else {}),
        **({"prior": _prior(loaded, labels)} if loaded.prior else {}),
        "tools": {
            name: version(name) for name in ("movinet-convert", "ai-edge-litert", "flatbuffers")
        },
    }


def _prior(loaded: LoadedWeights, labels: list[str] | None) -> dict[str, float]:
    """Return the weights' prior by the names that classes have in the file."""
    names = dict(zip(loaded.labels or (), labels or (), strict=False))
    return {names.get(label, label): times for label, times in (loaded.prior or {}).items()}


def of_variant(about: Mapping[str, Any], variant: str, graph: Graph) -> dict[str, Any]:
    """Return the description of one variant."""
    states = {name: name for name in graph.inputs if name in graph.outputs}
    in_place = graph.updates_in_place()
    streams = graph.shape(graph.inputs["image"])[0] if states else 1
    added = {"variant": variant, "states": states, "in_place": in_place, "streams": streams}
    return {**about, **added}


def _public(loaded: LoadedWeights) -> str:
    """Name a source without the folders of the machine it was on."""
    untrained, published = loaded.licence is None, "://" in loaded.source
    return loaded.source if untrained or published else Path(loaded.source).name


def buffers(description: dict[str, Any], graph: Graph) -> dict[str, bytes]:
    """Return the metadata buffers of a file by name."""
    raw = json.dumps(description, ensure_ascii=False, separators=(",", ":")).encode()
    return {
        METADATA_NAME: raw,
        tflite_metadata.NAME: tflite_metadata.tflite_metadata(
            description, list(graph.inputs), list(graph.outputs)
        ),
    }


def with_labels(content: bytes, labels: list[str] | None) -> bytes:
    """Append ``labels.txt`` in a zip archive, as TFLite metadata stores associated files."""
    if labels is None:
        return content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(tflite_metadata.LABELS_FILE, ZIP_TIME)
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return file.getvalue()
