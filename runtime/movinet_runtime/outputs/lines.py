"""Tables and JSON lines, one a frame."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.files import open_special, writing, written_whole
from movinet_runtime.outputs.output import Sink, printing
from movinet_runtime.sources.frame import Frame

COLUMNS = ("frame", "time", "rank", "label", "probability")


@contextmanager
def csv_lines(path: Path, selection: Selection, top_k: int) -> Iterator[Sink]:
    """Write a table with a row for each of a frame's best labels.

    A pipe gets each frame's rows at once, a file appears whole.

    Raises:
        OutputError: it cannot be written.
    """
    with _text(path) as (file, at_once):
        writer = csv.writer(file)

        def sink(_: Frame, prediction: Prediction) -> None:
            with writing(path):
                for rank, (label, p) in enumerate(selection.top(prediction, top_k), start=1):
                    writer.writerow([prediction.index, prediction.time, rank, label, f"{p:.6f}"])
                if at_once:
                    file.flush()

        with writing(path):
            writer.writerow(COLUMNS)
        yield sink


@contextmanager
def _text(path: Path) -> Iterator[tuple[TextIO, bool]]:
    """Open a file for text; say whether it is one that is written into at once."""
    with writing(path):
        special = open_special(path)
    if special is not None:
        text = io.TextIOWrapper(special, encoding="utf-8", newline="")
        try:
            yield text, True
            with writing(path):
                text.flush()
        finally:
            with suppress(OSError):  # said already
                text.close()
        return
    with written_whole(path) as temporary:
        with writing(path):
            file = temporary.open("w", encoding="utf-8", newline="")
        try:
            yield file, False
            with writing(path):
                file.close()
        finally:
            with suppress(OSError):
                file.close()


@contextmanager
def json_lines(selection: Selection, top_k: int) -> Iterator[Sink]:
    """Print an object a frame, the answer last."""
    last: Prediction | None = None

    def sink(_: Frame, prediction: Prediction) -> None:
        nonlocal last
        last = prediction
        with printing():
            print(json.dumps(_as_json(prediction, selection, top_k)), flush=True)

    yield sink
    if last is not None:
        final = {"final": True, "frames": last.index + 1}
        with printing():
            print(json.dumps(final | _as_json(last, selection, top_k)), flush=True)


def _as_json(prediction: Prediction, selection: Selection, top_k: int) -> dict[str, Any]:
    best = selection.top(prediction, top_k)
    top = [{"label": label, "probability": p} for label, p in best]
    return {"frame": prediction.index, "time": prediction.time, "top": top}
