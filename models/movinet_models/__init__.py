"""The MoViNet family as data: architectures, label sets, and where weights come from."""

from movinet_models.family import FAMILY, MODEL_IDS, Gate, ModelSpec, UnknownModelError, lookup
from movinet_models.labels import kinetics400, kinetics600
from movinet_models.registry import SOURCES, Source, sources

__all__ = [
    "FAMILY",
    "MODEL_IDS",
    "SOURCES",
    "Gate",
    "ModelSpec",
    "Source",
    "UnknownModelError",
    "kinetics400",
    "kinetics600",
    "lookup",
    "sources",
]
