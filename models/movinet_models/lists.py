"""Lists of clips as others write them: ``path label`` lines, and the tables of Kinetics.

Pure functions from text to values and back; :mod:`movinet_models.clips` finds the files.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from movinet_runtime.errors import LabelsError, UsageError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# What other tables call the splits.
SPLIT_NAMES = {name: name for name in SPLITS} | {"val": VALIDATION, "validate": VALIDATION}
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
QUOTE = '"'
# What lies beside a downloaded video (.json, .jpg, .part) has its name too, and is none.
VIDEO_SUFFIXES = (".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wmv")


@dataclass(frozen=True)
class ListedClip:
    """A line of a ``path label`` list.

    Attributes:
        path: as it is written.
        label: a class's name, or its index in the model's labels.
        line: its number, from 1.
    """

    path: str
    label: str | int
    line: int = 0


@dataclass(frozen=True)
class KineticsClip:
    """A row of a Kinetics table: seconds of a video in which something is done."""

    label: str
    youtube_id: str
    start: float
    end: float
    split: str | None = None
    line: int = 0

    def stems(self) -> tuple[str, ...]:
        """Return file names without a suffix: what was cut out, then the whole video."""
        cut = f"{self.youtube_id}_{int(self.start):06d}_{int(self.end):06d}"
        return (cut, self.youtube_id)


def parse_list(text: str, name: str) -> list[ListedClip]:
    """Read lines ``path label``, as mmaction2 and others write them.

    The path ends at the first space or tab; the rest of the line is the label. Digits alone
    are an index into the model's labels. Either may stand in double quotes (a quote inside
    is doubled): a path with spaces needs them, and a class whose name is a number.

    Args:
        text: the whole file.
        name: the file's, for errors.

    Raises:
        UsageError: a line is not like that; it is named.
    """
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(" \t\r")
        if not line:
            continue
        where = f"{name}, line {number}"
        path, rest = _first_word(line, where)
        rest = rest.strip(" \t")
        if not path or not rest:
            raise UsageError(f"{where}: needs 'path label', this is '{line}'")
        found.append(ListedClip(path, _label(rest, where), number))
    return found


def format_list(clips: Iterable[ListedClip]) -> str:
    """Write the lines that :func:`parse_list` reads.

    Raises:
        UsageError: a path or a label that no line can hold.
    """
    lines = []
    for clip in clips:
        label = str(clip.label)
        if not clip.path or not label or "\n" in clip.path + label:
            raise UsageError(f"no line can hold '{clip.path}' and '{label}'")
        path = _quoted(clip.path) if _needs_quotes(clip.path, spaces=True) else clip.path
        if isinstance(clip.label, str) and (_needs_quotes(label) or _is_index(label)):
            label = _quoted(label)
        lines.append(f"{path} {label}\n")
    return "".join(lines)


def _first_word(line: str, where: str) -> tuple[str, str]:
    if line.startswith(QUOTE):
        return _unquoted(line, where)
    end = next((i for i, c in enumerate(line) if c in " \t"), len(line))
    return line[:end], line[end:]


def _unquoted(text: str, where: str) -> tuple[str, str]:
    """Return what stands in the quotes at the start of a text, and the rest."""
    inside, at = [], 1
    while True:
        end = text.find(QUOTE, at)
        if end < 0:
            raise UsageError(f"{where}: a quote is not closed")
        inside.append(text[at:end])
        if not text.startswith(QUOTE, end + 1):
            return QUOTE.join(inside), text[end + 1 :]
        at = end + 2


def _label(text: str, where: str) -> str | int:
    if not text.startswith(QUOTE):
        return int(text) if _is_index(text) else text
    label, rest = _unquoted(text, where)
    if rest or not label:
        raise UsageError(f"{where}: the label is not quoted as a whole")
    return label


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _needs_quotes(text: str, spaces: bool = False) -> bool:
    inner = any(c in text for c in " \t") if spaces else False
    return inner or text.startswith(QUOTE) or text != text.strip(" \t\r")


def _quoted(text: str) -> str:
    return QUOTE + text.replace(QUOTE, QUOTE + QUOTE) + QUOTE


def parse_kinetics(text: str, name: str) -> list[KineticsClip]:
    """Read a table with the columns label, youtube_id, time_start, time_end and perhaps split.

    Raises:
        UsageError: a column or a value is missing or senseless; the line is named.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in KINETICS_COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise UsageError(f"{name}, line 1: no column '{missing[0]}'")
    found = []
    try:
        for row in rows:
            where = f"{name}, line {rows.line_num}"
            label, video = (row["label"] or "").strip(), (row["youtube_id"] or "").strip()
            if not label or not video:
                raise UsageError(f"{where}: no {'youtube_id' if label else 'label'}")
            start, end = (seconds_of(row[column], where) for column in KINETICS_COLUMNS[2:])
            if not start < end:
                raise UsageError(f"{where}: it ends at second {end:g} and begins at {start:g}")
            split = split_of(row.get("split"), where)
            found.append(KineticsClip(label, video, start, end, split, rows.line_num))
    except csv.Error as error:
        raise UsageError(f"{name}, line {rows.line_num}: {error}") from error
    return found


def format_kinetics(clips: Iterable[KineticsClip]) -> str:
    """Write the table that :func:`parse_kinetics` reads."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((*KINETICS_COLUMNS, "split"))
    for clip in clips:
        rows.writerow((clip.label, clip.youtube_id, clip.start, clip.end, clip.split or ""))
    return text.getvalue()


def split_of(text: str | None, where: str) -> str | None:
    """Return a split by one of its names; None where nothing is said.

    Raises:
        UsageError: no such split.
    """
    name = (text or "").strip()
    if not name:
        return None
    if name not in SPLIT_NAMES:
        raise UsageError(f"{where}: split is {', '.join(SPLITS)}, not '{name}'")
    return SPLIT_NAMES[name]


def seconds_of(text: str | None, where: str) -> float:
    """Read a time.

    Raises:
        UsageError: it is none.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:  # NaN fails
        raise UsageError(f"{where}: '{text or ''}' is no time in seconds")
    return value


@dataclass(frozen=True)
class Videos:
    """The files of a folder by the name of their sub-folder ("" is the folder) and stem."""

    files: Mapping[tuple[str, str], Path]

    @classmethod
    def of(cls, folder: Path) -> "Videos":
        """List a folder once: a table of Kinetics has more rows than a disk likes questions."""
        files: dict[tuple[str, str], Path] = {}
        for entry in sorted(folder.iterdir()):
            if _is_video(entry):
                files[("", entry.stem)] = entry
            elif entry.is_dir():
                videos = (path for path in sorted(entry.iterdir()) if _is_video(path))
                files |= {(spelling(entry.name), path.stem): path for path in videos}
        return cls(files)

    def find(self, clip: KineticsClip) -> tuple[Path, bool] | None:
        """Return a clip's file, and whether it is the whole video; None where it is missing."""
        for stem, whole in zip(clip.stems(), (False, True), strict=True):
            for place in ("", spelling(clip.label)):
                if path := self.files.get((place, stem)):
                    return path, whole
        return None


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def spelling(label: str) -> str:
    """Return a label without what only its spelling decides: case, underscores, spaces."""
    return " ".join(label.replace("_", " ").casefold().split())


def match_labels(
    wanted: Iterable[str], known: Sequence[str], what: str, where: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Find labels among a model's: as they are written, else but for their spelling.

    Args:
        wanted: of the clips.
        known: the model's, in the order of the logits.
        what: has them, for errors.
        where: the file and line of wanted labels, for errors.

    Returns:
        Each wanted label's index.

    Raises:
        LabelsError: one is not known, or could be several.
    """
    exact = {label: i for i, label in enumerate(known)}
    loose: dict[str, list[int]] = {}
    for i, label in enumerate(known):
        loose.setdefault(spelling(label), []).append(i)
    found = {}
    for label in wanted:
        place = f"{where[label]}: " if where and label in where else ""
        places = [exact[label]] if label in exact else loose.get(spelling(label), [])
        if not places:
            some = f"{', '.join(known[:6])}{' ...' if len(known) > 6 else ''}"
            raise LabelsError(f"{place}{what} does not know '{label}'; its labels: {some}")
        if len(places) > 1:
            several = " or ".join(f"'{known[i]}'" for i in places)
            raise LabelsError(f"{place}'{label}' may be {several} of {what}")
        found[label] = places[0]
    return found
