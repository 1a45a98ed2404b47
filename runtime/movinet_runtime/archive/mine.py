"""Segments worth having out of the labels of many files: a label's, or the doubtful ones.

    rows      |A .9|A .8|B .6|A .9|    of one file: a frame, a window or an event each
    segments  |- A .85 -|B .6|A .9|    neighbours of one label are one

Rows are read a batch at a time and turned into segments file by file.
"""

import json
import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal

from movinet_runtime.errors import MissingPackageError, UsageError
from movinet_runtime.install import install_hint

COLUMNS = ("path", "start", "end", "label", "probability", "top", "error")
Doubt = Literal["margin", "entropy"]
TOUCHING = 1e-3  # seconds: times are rounded by containers
SHORTEST = 1e-3
ROOM = 10_000  # segments that are kept before those beyond the limits go
LONGEST = 10_000_000.0  # seconds; what is later is no time in a video


@dataclass(frozen=True)
class Row:
    """What a model said of a part of a file.

    Attributes:
        path: of the file.
        start, end: seconds after its first frame.
        label: the best one.
        probability: its.
        top: probabilities of the best labels, falling.
    """

    path: str
    start: float
    end: float
    label: str
    probability: float
    top: tuple[float, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A part of a file.

    Attributes:
        path, start, end, label: see :class:`Row`.
        probability: the mean of its rows.
        doubt: how uncertain, more is more; None: not asked for.
    """

    path: str
    start: float
    end: float
    label: str
    probability: float
    doubt: float | None = None

    @property
    def rank(self) -> tuple[float, str, float]:
        """The better ones are smaller; ties are in the order of files and times."""
        best = self.probability if self.doubt is None else self.doubt
        return (-best, self.path, self.start)


@dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes:
        labels: only these; none: any.
        least, most: of the best label's probability.
        doubt: look for doubtful rows, by this measure; None: for what was recognized.
        gap: seconds without the label, at most, that a segment may have in it.
        pad: seconds added before and after.
        shortest, longest: seconds; longer segments are divided evenly.
        limit: segments for each label, the best ones; None: all.
        most_segments: in all; None: all.
    """

    labels: frozenset[str] = frozenset()
    least: float = 0.0
    most: float = 1.0
    doubt: Doubt | None = None
    gap: float = 0.0
    pad: float = 0.0
    shortest: float = SHORTEST
    longest: float = math.inf
    limit: int | None = None
    most_segments: int | None = None

    def takes(self, row: Row) -> bool:
        """Whether a row is asked for."""
        return self.least <= row.probability <= self.most and (
            not self.labels or row.label in self.labels
        )


@dataclass
class Counts:
    """What was read: rows, files, labels seen, and rows that say nothing."""

    rows: int = 0
    files: int = 0
    errors: int = 0
    labels: set[str] | None = None


def read_rows(path: Path, counts: Counts | None = None) -> Iterator[Row]:
    """Read labels a batch at a time, without rows that have no label or an error.

    Args:
        path: Parquet, or JSON lines of the same keys (``.jsonl``, ``.ndjson``, ``.json``).
        counts: of what was read.

    Raises:
        UsageError: it cannot be read, a column is missing, a value is senseless.
        MissingPackageError: Parquet without pyarrow.
    """
    counts = Counts() if counts is None else counts
    if counts.labels is None:
        counts.labels = set()
    if path.suffix.lower() == ".csv":
        raise UsageError(f"{path}: mine reads what movinet label writes as .parquet or .jsonl")
    lines = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
    for number, values in enumerate((_json_lines if lines else _parquet)(path), start=1):
        counts.rows += 1
        if values["error"] is not None:
            counts.errors += 1
            continue
        row = _row(values, f"{path}, row {number}")
        if row is not None:
            counts.labels.add(row.label)
            yield row


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingPackageError(
            f"{path} needs pyarrow to be read: {install_hint('movinet-runtime[label]')}"
        ) from error
    try:
        with ParquetFile(path) as file:
            _all_there(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(columns=list(COLUMNS)):
                yield from batch.to_pylist()
    except (OSError, ArrowException) as error:
        raise UsageError(f"cannot read the labels {path}: {_first_line(error)}") from error


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    try:
                        values = json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise UsageError(f"{where}: no JSON: {_first_line(error)}") from error
                    if not isinstance(values, dict):
                        raise UsageError(f"{where}: it is no object with a path, start and end")
                    _all_there(values, where)
                    yield values
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the labels {path}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error)
    return str(said).splitlines()[0] if said else type(error).__name__


def _all_there(names: Iterable[str], where: str) -> None:
    known = set(names)
    missing = [name for name in COLUMNS if name not in known]
    if missing:
        raise UsageError(f"{where}: no column '{missing[0]}'; movinet label writes {COLUMNS}")


def _row(values: Mapping[str, Any], where: str) -> Row | None:
    """Check a row; None where it says nothing."""
    path, label, probability = values["path"], values["label"], values["probability"]
    if not isinstance(path, str) or not path:
        raise UsageError(f"{where}: no path")
    if label is None or probability is None:
        return None
    if not isinstance(label, str) or not label:
        raise UsageError(f"{where}: label is a text, not {label!r}")
    start, end = (_number(values, name, LONGEST, where) for name in ("start", "end"))
    if end < start:
        raise UsageError(f"{where}: it ends at second {end:g} and begins at {start:g}")
    own = _number(values, "probability", 1.0, where)
    top = values["top"] or []
    if not isinstance(top, list) or not all(isinstance(one, dict) for one in top):
        raise UsageError(f"{where}: top is a list of labels with their probabilities")
    shares = (_number(one, "probability", 1.0, where) for one in top)
    return Row(path, start, end, label, own, tuple(sorted(shares, reverse=True)))


def _number(values: Mapping[str, Any], name: str, most: float, where: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise UsageError(f"{where}: {name} is a number from 0 to {most:g}, not {value!r}")
    return float(value)


def doubt_of(row: Row, measure: Doubt) -> float | None:
    """How uncertain a row is, from 0 on; None where ``top`` holds too little to tell.

    Args:
        row: of classes that exclude each other.
        measure: ``margin``: 1 less the distance of the best two probabilities; ``entropy``: in
            bits, of the listed labels and of all others taken for one.
    """
    if measure == "margin":
        return None if len(row.top) < 2 else 1 - (row.top[0] - row.top[1])
    if not row.top:
        return None
    shares = [*row.top, max(0.0, 1 - sum(row.top))]
    return -sum(share * math.log2(share) for share in shares if share > 0)


def mine(rows: Iterable[Row], wanted: Wanted, counts: Counts | None = None) -> list[Segment]:
    """Choose segments; no two of them overlap, the best go first.

    Args:
        rows: of files, one file after the other, in the order of time.
        wanted: what is looked for.
        counts: files are counted here.

    Returns:
        Segments in the order of files and times.

    Raises:
        UsageError: doubt is asked for, and the rows tell none.
    """
    chosen: list[Segment] = []
    seen, told, room = 0, 0, ROOM
    for _, group in groupby(rows, key=lambda row: row.path):
        own = sorted(group, key=lambda row: (row.start, row.end))
        seen += len(own)
        if counts is not None:
            counts.files += 1
        if wanted.doubt is None:
            found = _recognized(own, wanted)
        else:
            doubts = [doubt_of(row, wanted.doubt) for row in own]
            told += sum(doubt is not None for doubt in doubts)
            found = _doubtful(own, doubts, wanted)
        chosen += found
        if len(chosen) > room:
            # What is beyond the limits now is so with more files, too: memory stays small.
            chosen = best(chosen, wanted)
            room = max(ROOM, 2 * len(chosen))
    if wanted.doubt is not None and seen and not told:
        needs = "two labels" if wanted.doubt == "margin" else "a label"
        raise UsageError(f"the rows' column top must hold {needs} at least for {wanted.doubt}")
    return sorted(best(chosen, wanted), key=lambda one: (one.path, one.start))


def best(segments: Iterable[Segment], wanted: Wanted) -> list[Segment]:
    """Return the best segments within the limits, the best first."""
    taken: list[Segment] = []
    of_label: Counter[str] = Counter()
    for one in sorted(segments, key=lambda one: one.rank):
        if len(taken) == wanted.most_segments:
            break
        if of_label[one.label] != wanted.limit:
            of_label[one.label] += 1
            taken.append(one)
    return taken


def _recognized(rows: Sequence[Row], wanted: Wanted) -> list[Segment]:
    """Segments of a file's rows: neighbours merged, padded, apart, none too short or too long."""
    first, last = rows[0].start, max(row.end for row in rows)
    padded = [
        replace(one, start=max(first, one.start - wanted.pad), end=min(last, one.end + wanted.pad))
        for one in merged(rows, wanted)
    ]
    apart = [one for one in _apart(padded) if one.end - one.start >= wanted.shortest]
    return [part for one in apart for part in _divided(one, wanted.longest)]


def merged(rows: Sequence[Row], wanted: Wanted) -> list[Segment]:
    """Join the wanted rows of a file to segments: neighbours of a label, or those with a small gap.

    Args:
        rows: of one file, in the order of time.
        wanted: which, and how large a gap may be.
    """
    found: list[Segment] = []
    inside: list[list[float]] = []  # of each segment, its rows' probabilities
    places: dict[str, tuple[int, int]] = {}  # label -> its last segment, and its last row
    for i, row in enumerate(rows):
        if not wanted.takes(row):
            continue
        at, before = places.get(row.label, (-1, -2))
        gap = row.start - found[at].end if at >= 0 else math.inf
        next_to_it = before == i - 1 and gap <= TOUCHING
        if next_to_it or (wanted.gap and gap <= wanted.gap + TOUCHING):
            found[at] = replace(found[at], end=max(found[at].end, row.end))
            inside[at].append(row.probability)
        else:
            at = len(found)
            found.append(Segment(row.path, row.start, row.end, row.label, row.probability))
            inside.append([row.probability])
        places[row.label] = (at, i)
    return [
        replace(one, probability=math.fsum(values) / len(values))
        for one, values in zip(found, inside, strict=True)
    ]


class _Taken:
    """Spans of a file that belong to someone; none overlaps another."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def free(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return what is left of a span."""
        at = bisect_right(self._spans, (start, math.inf))
        if at and self._spans[at - 1][1] > start:
            at -= 1
        pieces = []
        while at < len(self._spans) and self._spans[at][0] < end:
            if self._spans[at][0] > start:
                pieces.append((start, self._spans[at][0]))
            start = self._spans[at][1]
            at += 1
        return [*pieces, (start, end)] if start < end else pieces

    def add(self, start: float, end: float) -> None:
        """Take a free span."""
        insort(self._spans, (start, end))


def _apart(segments: Iterable[Segment]) -> list[Segment]:
    """Where segments of a file overlap, leave the time to the better one."""
    taken, found = _Taken(), []
    for one in sorted(segments, key=lambda one: one.rank):
        free = taken.free(one.start, one.end)
        if free:
            start, end = max(free, key=lambda piece: piece[1] - piece[0])
            taken.add(start, end)
            found.append(replace(one, start=start, end=end))
    return found


def _divided(one: Segment, longest: float) -> list[Segment]:
    seconds = one.end - one.start
    count = max(1, math.ceil(seconds / longest - TOUCHING))
    edges = [one.start + seconds * i / count for i in range(count)] + [one.end]
    return [replace(one, start=a, end=b) for a, b in pairwise(edges)]


def _doubtful(rows: Sequence[Row], doubts: Sequence[float | None], wanted: Wanted) -> list[Segment]:
    """The most doubtful moments of a file, with what is around them; none into another's."""
    first, last = rows[0].start, max(row.end for row in rows)
    moments = [
        Segment(
            row.path,
            max(first, row.start - wanted.pad),
            min(last, row.end + wanted.pad),
            row.label,
            row.probability,
            doubt,
        )
        for row, doubt in zip(rows, doubts, strict=True)
        if doubt is not None and wanted.takes(row)
    ]
    taken = _Taken()
    found: list[Segment] = []
    of_label: Counter[str] = Counter()
    for one in sorted(moments, key=lambda one: one.rank):
        if len(found) == wanted.most_segments:
            break
        full = of_label[one.label] == wanted.limit
        if full or one.end - one.start < wanted.shortest:
            continue
        if taken.free(one.start, one.end) == [(one.start, one.end)]:
            taken.add(one.start, one.end)
            of_label[one.label] += 1
            found.append(one)
    return found
