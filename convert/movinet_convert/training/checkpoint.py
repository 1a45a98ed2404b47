"""Everything that a stopped training needs to go on, in one file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.network import MoViNet
from movinet_convert.training.plan import Epoch, Plan
from movinet_convert.training.reading import Augmentation
from movinet_models.clips import TRAIN, VALIDATION, Collection
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole

GROUPS = ("weights", "optimizer", "best")
LONGEST = 60  # characters of a value that an error shows


@dataclass
class Saved:
    """How far a training is.

    Attributes:
        history: of finished epochs.
        steps: of the epoch that is not finished, and
        loss, accuracy: their means over these.
        arrays: variables of the network and the optimizer, and the best weights so far.
    """

    history: list[Epoch] = field(default_factory=list)
    steps: int = 0
    loss: float = 0.0
    accuracy: float = 0.0
    arrays: dict[str, list[Any]] = field(default_factory=dict)


class Checkpoint:
    """The file.

    Args:
        path: beside the output.
        decides: everything that decides what the training comes to, as JSON values; a run
            goes on only where all of it is the same.
    """

    def __init__(self, path: Path, decides: Mapping[str, Any]) -> None:
        self.path = path
        self.decides: dict[str, Any] = json.loads(json.dumps(decides))

    def save(self, progress: Saved) -> None:
        """Replace the file.

        Raises:
            UsageError: it cannot be written.
        """
        arrays = {
            f"{group}/{i}": np.asarray(value)
            for group in GROUPS
            for i, value in enumerate(progress.arrays[group])
        }
        about = {
            "decides": self.decides,
            "history": [asdict(epoch) for epoch in progress.history],
            "partial": [progress.steps, progress.loss, progress.accuracy],
        }
        with written_whole(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]

    def read(self) -> Saved:
        """Return where the training was.

        Raises:
            UsageError: no such file, a damaged one, or one of another training; it says what
                differs.
        """
        arrays: dict[str, list[Any]] = {group: [] for group in GROUPS}
        try:
            with np.load(self.path) as file:
                about = json.loads(str(file["about"]))
                tensors = set(file.files) - {"about"}
                for name in sorted(tensors, key=lambda n: int(n.rpartition("/")[2])):
                    arrays[name.partition("/")[0]].append(file[name])
            decided = dict(about["decides"])
            history = [Epoch(**epoch) for epoch in about["history"]]
            steps, loss, accuracy = about["partial"]
        except Exception as error:  # zip, zlib, NumPy and JSON raise what they like
            raise UsageError(
                f"cannot resume from {self.path}, it is damaged or of another version: {error}"
            ) from error
        if differences := _differences(decided, self.decides):
            raise UsageError(
                f"{self.path} is of another training: {'; '.join(differences)}. "
                "Give the same, or remove it"
            )
        return Saved(history, steps, loss, accuracy, arrays)


def decides(network: MoViNet, clips: Collection, plan: Plan, kind: Augmentation) -> dict[str, Any]:
    """Return what decides what a training comes to: network, clips and their sides, plan."""
    sides = [(clip.split, clip.labels, clips.fingerprints[clip.path]) for clip in clips.clips]
    return {
        "model": network.spec.id,
        "resolution": network.spec.resolution,
        "gate": network.gate,
        "clips": {
            "labels": clips.labels,
            "training": len(clips.of(TRAIN)),
            "validation": len(clips.of(VALIDATION)),
            "files": hashlib.sha256(json.dumps(sides).encode()).hexdigest(),
        },
        "augmentation": asdict(kind),
        "plan": asdict(plan),
    }


def restore(variables: Sequence[Any], values: Sequence[Any], what: str) -> None:
    """Give variables the values of a checkpoint.

    Raises:
        UsageError: they do not fit.
    """
    if [tuple(v.shape) for v in variables] != [np.shape(value) for value in values]:
        raise UsageError(f"the checkpoint is damaged: its {what} do not fit the network")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], of: str = "") -> list[str]:
    """Name the values that differ, nested ones by their path."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        was, is_ = before.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(is_, dict):
            found += _differences(was, is_, f"{of}{key} ")
        elif was != is_:
            found.append(f"{of}{key.replace('_', ' ')} was {_shown(was)}, is {_shown(is_)}")
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
