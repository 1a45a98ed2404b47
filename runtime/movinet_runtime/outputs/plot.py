"""Pictures: the curve of the probabilities, and how any figure is made and saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.errors import MissingPackageError, OutputError, UsageError
from movinet_runtime.files import writing, written_whole
from movinet_runtime.install import install_hint
from movinet_runtime.outputs.curve import Curve
from movinet_runtime.outputs.output import Sink
from movinet_runtime.sources.frame import Frame

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


def picture_format(figure: Any, path: Path) -> str:
    """Return the format that a name's ending says; PNG for special files without one.

    Raises:
        OutputError: no such picture format.
    """
    ending = path.suffix.lower()[1:]
    if not ending and path.exists() and not path.is_file():
        return "png"
    if ending not in figure.canvas.get_supported_filetypes():
        raise OutputError(f"cannot draw {path}: no picture is named *.{ending}; try .png or .svg")
    return ending


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure whole, in the format that the name's ending says.

    Raises:
        OutputError: no such picture format, or it cannot be written.
    """
    form = picture_format(figure, path)
    with written_whole(path) as temporary, writing(path):
        figure.savefig(temporary, dpi=120, format=form)


@contextmanager
def plotted(path: Path, selection: Selection) -> Iterator[Sink]:
    """Draw the labels that were ever most likely over time; without frames nothing.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OutputError: no such picture format, or it cannot be written.
    """
    figure = new_figure(9, 4)
    picture_format(figure, path)
    curve = Curve()
    labels: list[str] = []

    def sink(_: Frame, prediction: Prediction) -> None:
        if prediction.time is None:
            raise UsageError("a plot needs times in seconds")
        labels[:] = prediction.labels
        curve.add(prediction.probabilities, prediction.time)

    yield sink
    if len(curve):
        _draw(figure, curve, labels, selection)
        save_figure(figure, path)


def _draw(figure: Any, curve: Curve, labels: list[str], selection: Selection) -> None:
    values = curve.values
    counted = [i for i, label in enumerate(labels) if selection.admits(label)]
    axes = figure.subplots()
    for index in sorted(counted, key=lambda i: -values[:, i].max())[:CURVES]:
        name = labels[index].replace("$", r"\$")  # or a formula begins
        axes.plot(curve.times, values[:, index], label=name)
    axes.set_xlabel("seconds")
    axes.set_ylabel("probability")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    if counted:
        axes.legend(loc="best")
