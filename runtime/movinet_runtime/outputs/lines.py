"""Tables and JSON lines, one a frame."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.files import written_whole
from movinet_runtime.sources.frame import Frame

Sink = Callable[[Frame, Prediction], None]


@contextmanager
def csv_lines(path: Path, selection: Selection, top_k: int) -> Iterator[Sink]:
    """Give a function that adds a frame's rows to a table."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["frame", "time", "rank", "label", "probability"])

        def sink(_: Frame, prediction: Prediction) -> None:
            for rank, (label, p) in enumerate(selection.top(prediction, top_k), start=1):
                writer.writerow([prediction.index, prediction.time, rank, label, f"{p:.6f}"])

        yield sink


def print_json(predictions: Iterator[Prediction], selection: Selection, top_k: int) -> None:
    """Print an object a frame, the answer last."""
    last = None
    for last in predictions:
        print(json.dumps(_as_json(last, selection, top_k)), flush=True)
    if last is not None:
        final = {"final": True, "frames": last.index + 1}
        print(json.dumps(final | _as_json(last, selection, top_k)))


def _as_json(prediction: Prediction, selection: Selection, top_k: int) -> dict[str, Any]:
    best = selection.top(prediction, top_k)
    top = [{"label": label, "probability": p} for label, p in best]
    return {"frame": prediction.index, "time": prediction.time, "top": top}
