"""What a training came to: precision and recall, confusion matrix, curves."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.training.plan import Epoch
from movinet_runtime.errors import MissingPackageError
from movinet_runtime.files import written_whole
from movinet_runtime.outputs.plot import new_figure, save_figure

Confusion = NDArray[np.int64]  # [true class, predicted class]


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told from the others; None where nothing can be said."""

    label: str
    clips: int
    precision: float | None
    recall: float | None


def confusion_matrix(truth: Sequence[int], found: Sequence[int], classes: int) -> Confusion:
    """Count clips by true class (rows) and predicted class (columns)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (np.asarray(truth, int), np.asarray(found, int)), 1)
    return counts


def scores(confusion: Confusion, labels: Sequence[str]) -> list[ClassScore]:
    """Return precision and recall of each class."""

    def share(part: int, whole: int) -> float | None:
        return round(int(part) / int(whole), 4) if whole else None

    return [
        ClassScore(
            label,
            int(confusion[i].sum()),
            share(confusion[i, i], confusion[:, i].sum()),
            share(confusion[i, i], confusion[i].sum()),
        )
        for i, label in enumerate(labels)
    ]


def accuracy(confusion: Confusion) -> float:
    """Share of clips on the diagonal."""
    return float(np.trace(confusion) / max(1, confusion.sum()))


def write_report(
    folder: Path,
    confusion: Confusion,
    labels: Sequence[str],
    history: Sequence[Epoch],
    more: dict[str, Any],
) -> list[Path]:
    """Write ``report.json``, ``confusion.png`` and ``curves.png``; return their paths.

    Without matplotlib there are no pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = more | {
        "validation_accuracy": round(accuracy(confusion), 4),
        "classes": [asdict(score) for score in scores(confusion, labels)],
        "confusion": confusion.tolist(),
        "epochs": [asdict(epoch) for epoch in history],
    }
    report = folder / "report.json"
    with written_whole(report) as temporary:
        temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")
    try:
        pictures = {
            "confusion.png": _draw_confusion(confusion, labels),
            "curves.png": _draw_curves(history),
        }
    except MissingPackageError:
        return [report]
    for name, figure in pictures.items():
        save_figure(figure, folder / name)
    return [report, *(folder / name for name in pictures)]


def _draw_confusion(confusion: Confusion, labels: Sequence[str]) -> Any:
    side = 2.5 + 0.42 * len(labels)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (i, j), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, str(count), ha="center", va="center", fontsize=7, color=colour)
    return figure


def _draw_curves(history: Sequence[Epoch]) -> Any:
    figure = new_figure(8, 3.2)
    epochs = range(1, len(history) + 1)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for prefix, label in (("", "training"), ("val_", "validation")):
            axes.plot(epochs, [getattr(e, prefix + what) for e in history], label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
