"""The course of the probabilities as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.errors import MissingPackageError, UsageError
from movinet_runtime.files import written_whole

CURVES = 6


def draw_course(path: Path, predictions: Sequence[Prediction], selection: Selection) -> None:
    """Draw the labels that were ever most likely over time.

    Raises:
        MissingPackageError: matplotlib is not installed.
        UsageError: no such picture format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            "--plot needs matplotlib: pip install 'movinet-runtime[plot]'"
        ) from error
    if not predictions:
        return
    labels = predictions[0].labels
    values = np.stack([prediction.probabilities for prediction in predictions])
    times = [p.index if p.time is None else p.time for p in predictions]
    counted = [i for i, label in enumerate(labels) if selection.admits(label)]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for index in sorted(counted, key=lambda i: -values[:, i].max())[:CURVES]:
        axes.plot(times, values[:, index], label=labels[index])
    axes.set_xlabel("seconds")
    axes.set_ylabel("probability")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    with written_whole(path) as temporary:
        try:
            figure.savefig(temporary, dpi=120)
        except ValueError as error:
            raise UsageError(f"cannot draw {path}: {error}") from error
