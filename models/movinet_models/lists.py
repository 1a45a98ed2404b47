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
from movinet_runtime.lists import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from movinet_runtime.lists import ListedClip as ListedClip
from movinet_runtime.lists import format_list as format_list
from movinet_runtime.lists import parse_list as parse_list

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# What other tables call the splits.
SPLIT_NAMES = {name: name for name in SPLITS} | {"val": VALIDATION, "validate": VALIDATION}
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


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
