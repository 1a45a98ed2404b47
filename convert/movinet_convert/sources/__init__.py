"""Weights from wherever they are, in canonical names, every tensor accounted for.

    garden   Model Garden checkpoints               names by object path
    hub      SavedModels as published on the hub    run themselves
    keras    .keras and .npz files of this toolkit
    torch    state dicts of MoViNet-pytorch         without torch
    tflite   any MoViNet .tflite                    by its wiring; run themselves

Each has ``reads(path)`` and ``read(path, spec)``, which returns a :class:`~loaded.Read`.
"""

from movinet_convert.sources.load import EMBEDDED, SUPPORTED, load_weights
from movinet_convert.sources.loaded import LoadedWeights, Origin, Original

__all__ = [
    "EMBEDDED",
    "SUPPORTED",
    "LoadedWeights",
    "Origin",
    "Original",
    "load_weights",
]
