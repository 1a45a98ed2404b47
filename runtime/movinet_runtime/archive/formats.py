"""Rows as files: Parquet, JSON lines, CSV, ActivityNet's JSON, and WebVTT beside videos.

A file is written a stream at a time, and appears whole.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from movinet_runtime.archive.rows import Row
from movinet_runtime.errors import MissingPackageError, UsageError
from movinet_runtime.files import writing, written_whole
from movinet_runtime.install import install_hint
from movinet_runtime.sources.remote import file_name, is_address, shown

Sink = Callable[[Row], None]
Writer = Callable[[Path], AbstractContextManager[Sink]]
GROUP = 20_000  # rows of a row group of Parquet, about: a reader takes in one at a time
COLUMNS = ("path", "start", "end", "frame", "label", "probability", "top", "truth", "error")


def writer_of(path: Path) -> Writer:
    """Return what writes files of this ending.

    Raises:
        UsageError: none does.
        MissingPackageError: Parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise UsageError(f"-o ends in {', '.join(WRITERS)}, not '{path}'")
    if suffix == ".parquet":
        _arrow()
    return WRITERS[suffix]


def _arrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(
            f"Parquet needs pyarrow: {install_hint('movinet-runtime[label]')}"
        ) from error
    return pyarrow


@contextmanager
def parquet(path: Path) -> Iterator[Sink]:
    """Write a table; its row groups hold about 20,000 rows and are cut between rows."""
    arrow = _arrow()
    number, text = arrow.float64(), arrow.string()
    one = arrow.struct([("label", text), ("probability", number)])
    kinds = (text, number, number, arrow.int64(), text, number, arrow.list_(one), text, text)
    schema = arrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    waiting: list[dict[str, Any]] = []
    with (
        written_whole(path) as temporary,
        writing(path),
        arrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as file,
    ):

        def write() -> None:
            if waiting:
                file.write_table(arrow.Table.from_pylist(waiting, schema))
                waiting.clear()

        def sink(row: Row) -> None:
            waiting.append(_as_json(row))
            if len(waiting) >= GROUP:
                write()

        yield sink
        write()


def _as_json(row: Row) -> dict[str, Any]:
    top = [{"label": label, "probability": p} for label, p in row.top]
    return asdict(row) | {"top": top}


@contextmanager
def json_lines(path: Path) -> Iterator[Sink]:
    """Write an object a row."""
    with _text(path) as file:

        def sink(row: Row) -> None:
            file.write(json.dumps(_as_json(row), ensure_ascii=False) + "\n")

        yield sink


@contextmanager
def table(path: Path) -> Iterator[Sink]:
    """Write CSV: the best labels as ``label:probability`` with ``;`` between them."""
    with _text(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)

        def sink(row: Row) -> None:
            top = ";".join(f"{label}:{p:.6f}" for label, p in row.top)
            rows.writerow([top if name == "top" else getattr(row, name) for name in COLUMNS])

        yield sink


@contextmanager
def activitynet(path: Path) -> Iterator[Sink]:
    """Write ``results[video] = [{label, score, segment}]``, as evaluations read it.

    A video is named by its file without the suffix; the second of a name by its path. What could
    not be read has no results, and its error in ``external_data``.
    """
    with _text(path) as file:
        errors: dict[str, str] = {}
        owners: dict[str, str] = {}
        last: str | None = None
        empty = True
        file.write('{"version": "movinet-edge 1", "results": {')

        def sink(row: Row) -> None:
            nonlocal last, empty
            if row.path != last:
                file.write("" if last is None else "], ")
                stem = Path(file_name(row.path)).stem
                video = stem if owners.setdefault(stem, row.path) == row.path else row.path
                file.write(f"{json.dumps(video, ensure_ascii=False)}: [")
                last, empty = row.path, True
            if row.error is not None:
                errors[row.path] = row.error
            for label, p in row.top:
                found = {"label": label, "score": p, "segment": [row.start, row.end]}
                file.write(("" if empty else ", ") + json.dumps(found, ensure_ascii=False))
                empty = False

        yield sink
        file.write("" if last is None else "]")
        file.write("}, " + f'"external_data": {json.dumps({"errors": errors})}' + "}\n")


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with (
        written_whole(path) as temporary,
        writing(path),
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        yield file


WRITERS: dict[str, Writer] = {
    ".parquet": parquet,
    ".jsonl": json_lines,
    ".csv": table,
    ".json": activitynet,
}


class Cues:
    """Rows of one video as WebVTT: neighbours with the same label are one cue."""

    def __init__(self) -> None:
        self._cues: list[tuple[float, float, str, float]] = []

    def add(self, row: Row) -> None:
        """Take a row, in order."""
        if row.label is None or row.probability is None:
            return
        start, highest = row.start, row.probability
        if self._cues:
            begin, end, label, p = self._cues[-1]
            if label == row.label and abs(end - row.start) < 1e-3:
                self._cues.pop()
                start, highest = begin, max(p, highest)
        self._cues.append((start, row.end, row.label, highest))

    def text(self) -> str:
        """Return the file."""
        lines = ["WEBVTT", ""]
        for start, end, label, p in self._cues:
            named = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            lines += [f"{_clock(start)} --> {_clock(end)}", f"{named} {p:.0%}", ""]
        return "\n".join(lines)


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    hours, rest = divmod(whole, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def check_together(paths: Iterable[str], output: Path) -> None:
    """Refuse an ActivityNet file of videos whose streams are apart: it has one place for each.

    Args:
        paths: of the videos, one for each stream.
        output: the file.

    Raises:
        UsageError: a video comes back after another one.
    """
    if output.suffix.lower() != ".json":
        return
    in_turn = [path for path, _ in groupby(paths)]
    if again := next((path for path, count in Counter(in_turn).items() if count > 1), None):
        raise UsageError(
            f"{output} has one place for each video: put the rows of {shown(again)} together"
        )


def subtitle_paths(paths: Iterable[str], folder: str) -> dict[str, Path]:
    """Return where each video's subtitles go: beside it, or into a folder by its name.

    Args:
        paths: of the videos.
        folder: ``beside``, or a folder's path.

    Raises:
        UsageError: two would be one file, or one would be behind an address.
    """
    found: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for path in paths:
        if folder != "beside":
            place = Path(folder) / Path(file_name(path)).with_suffix(".vtt")
        elif is_address(path):
            raise UsageError("--vtt beside: nothing is written to addresses; name a folder")
        else:
            place = Path(path).with_suffix(".vtt")
        if owners.setdefault(place, path) != path or path in found:
            both = f"{shown(owners[place])} and {shown(path)}"
            raise UsageError(f"--vtt: {both} would both be {place}")
        found[path] = place
    return found
