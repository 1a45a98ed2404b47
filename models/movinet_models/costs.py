"""What each variant costs on the cores of boards, counted under emulation (``make bench``)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

COSTS = Path(__file__).parent / "data" / "costs.json"
MIN_SQNR_DB = 30.0


@dataclass(frozen=True)
class Cost:
    """A variant on a core.

    Attributes:
        instructions: millions executed a frame, the runtime's part included.
        sqnr_db: fidelity to float32 on the worse of short streams and a long one.
    """

    variant: str
    instructions: float
    sqnr_db: float


@cache
def _recorded() -> dict[str, Any]:
    return dict(json.loads(COSTS.read_text("utf-8")))


def cores() -> list[str]:
    """Name the cores that were measured."""
    return list(_recorded()["instructions"])


def measured_model() -> str:
    """Name the model that was measured."""
    return str(_recorded()["model"])


def costs(core: str) -> list[Cost]:
    """Return the variants on a core, the cheapest first.

    Raises:
        KeyError: not measured.
    """
    recorded = _recorded()
    found = [
        Cost(variant, counted, recorded["sqnr_db"][variant])
        for variant, counted in recorded["instructions"][core].items()
    ]
    return sorted(found, key=lambda cost: cost.instructions)


def recommended(core: str, min_sqnr: float = MIN_SQNR_DB) -> Cost:
    """Return the cheapest variant on a core above an SQNR threshold."""
    return next(cost for cost in costs(core) if cost.sqnr_db >= min_sqnr)
