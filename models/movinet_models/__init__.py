"""The MoViNet family as data: architectures, label sets, and where weights come from."""

from movinet_models.family import FAMILY, MODEL_IDS, ModelSpec, UnknownModelError, lookup
from movinet_models.labels import kinetics600
from movinet_models.registry import PUBLISHED, Published

__all__ = [
    "FAMILY",
    "MODEL_IDS",
    "PUBLISHED",
    "ModelSpec",
    "Published",
    "UnknownModelError",
    "kinetics600",
    "lookup",
]
