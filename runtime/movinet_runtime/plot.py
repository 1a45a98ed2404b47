"""Pictures: the course of the probabilities, and how any figure is made and saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.errors import MissingPackageError, UsageError
from movinet_runtime.files import written_whole
from movinet_runtime.install import install_hint

CURVES = 6


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            f"pictures need matplotlib: {install_hint('movinet-runtime[plot]')}"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure whole, in the format that the name's ending says.

    Raises:
        UsageError: no such picture format.
    """
    with written_whole(path) as temporary:
        try:
            figure.savefig(temporary, dpi=120)
        except ValueError as error:
            raise UsageError(f"cannot draw {path}: {error}") from error


def draw_course(path: Path, predictions: Sequence[Prediction], selection: Selection) -> None:
    """Draw the labels that were ever most likely over time.

    Raises:
        MissingPackageError: matplotlib is not installed.
        UsageError: no such picture format.
    """
    if not predictions:
        return
    labels = predictions[0].labels
    values = np.stack([prediction.probabilities for prediction in predictions])
    times = [p.index if p.time is None else p.time for p in predictions]
    counted = [i for i, label in enumerate(labels) if selection.admits(label)]
    figure = new_figure(9, 4)
    axes = figure.subplots()
    for index in sorted(counted, key=lambda i: -values[:, i].max())[:CURVES]:
        axes.plot(times, values[:, index], label=labels[index])
    axes.set_xlabel("seconds")
    axes.set_ylabel("probability")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    save_figure(figure, path)
