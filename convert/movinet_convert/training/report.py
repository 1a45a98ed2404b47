"""What a training came to: precision and recall, confusion matrix, curves."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.training.plan import Epoch
from movinet_convert.training.validation import Answers
from movinet_runtime.errors import MissingPackageError
from movinet_runtime.files import written_whole
from movinet_runtime.outputs.plot import new_figure, save_figure

Confusion = NDArray[np.int64]  # [true class, predicted class]


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told; None where nothing can be said.

    Attributes:
        threshold: probability from which on an independent class is an answer.
    """

    label: str
    clips: int
    precision: float | None
    recall: float | None
    average_precision: float | None = None
    threshold: float | None = None


def confusion_matrix(answers: Answers) -> Confusion:
    """Count clips by true class (rows) and predicted class (columns)."""
    classes = answers.logits.shape[1]
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (answers.truth.argmax(axis=1), answers.found), 1)
    return counts


def scores(
    answers: Answers, labels: Sequence[str], thresholds: Sequence[float] | None = None
) -> list[ClassScore]:
    """Return precision and recall of each class.

    Args:
        answers: to clips.
        labels: [classes].
        thresholds: of independent classes; else the best class is the answer.
    """
    if thresholds is None:
        said = np.eye(len(labels), dtype=bool)[answers.found]
    else:
        said = np.exp(-np.logaddexp(0, -answers.logits)) >= np.asarray(thresholds)

    def share(part: int, whole: int) -> float | None:
        return round(int(part) / int(whole), 4) if whole else None

    right, shown = (said & answers.truth).sum(axis=0), answers.truth.sum(axis=0)
    return [
        ClassScore(
            label,
            int(shown[i]),
            share(right[i], said[:, i].sum()),
            share(right[i], shown[i]),
            None if precision is None else round(precision, 4),
            None if thresholds is None else thresholds[i],
        )
        for i, (label, precision) in enumerate(
            zip(labels, answers.average_precisions(), strict=True)
        )
    ]


def write_report(
    folder: Path,
    answers: Answers,
    rows: Sequence[ClassScore],
    history: Sequence[Epoch],
    more: dict[str, Any],
) -> list[Path]:
    """Write ``report.json``, ``confusion.png`` and ``curves.png``; return their paths.

    Without matplotlib there are no pictures, and independent classes are not confused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    confusion = None if answers.independent else confusion_matrix(answers)
    about = more | {
        "validation_accuracy": round(answers.top1(), 4),
        "mean_average_precision": round(answers.mean_average_precision(), 4),
        "classes": [asdict(score) for score in rows],
        **({} if confusion is None else {"confusion": confusion.tolist()}),
        "epochs": [asdict(epoch) for epoch in history],
    }
    report = folder / "report.json"
    with written_whole(report) as temporary:
        temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")
    try:
        pictures = {"curves.png": _draw_curves(history)}
        if confusion is not None:
            pictures["confusion.png"] = _draw_confusion(confusion, [row.label for row in rows])
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
