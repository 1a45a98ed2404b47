"""What a user names, as a list of streams: files, folders, patterns, lists of clips."""

import csv
import glob
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from movinet_runtime.addresses import redacted
from movinet_runtime.errors import UsageError
from movinet_runtime.lists import VIDEO_SUFFIXES, parse_list
from movinet_runtime.sources.remote import RemoteFile, check_address, file_name, is_address, shown

LISTS = (".csv", ".list", ".lst", ".txt")
TIMES = (("start", "end"), ("time_start", "time_end"))  # what columns are called


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a part of one, that is a stream of its own.

    Attributes:
        path: as rows name it.
        begin: seconds after its first frame.
        end: seconds; None: its end.
        truth: the label that a list gives it, or a label's number.
    """

    path: str
    begin: float = 0.0
    end: float | None = None
    truth: str | int | None = None

    @property
    def shown(self) -> str:
        """The path for people and rows: without passwords and tokens, and in UTF-8."""
        return shown(self.path).encode("utf-8", "backslashreplace").decode()


def find(paths: Sequence[str]) -> list[Entry]:
    """List what paths mean, in their order; a folder's files by name.

    Args:
        paths: files; folders, searched for videos with all that is in them; patterns; addresses
            of files, with ``*`` or a slash at the end of several;
            ``path label`` lists and CSV tables with a column ``path`` and perhaps ``start``,
            ``end`` and ``label``, whose relative paths begin at the list.

    Raises:
        UsageError: nothing there, a list that cannot be read.
        SourceError: an address of several files that cannot be listed, or of a kind that
            nothing opens.
        MissingPackageError: what opens addresses is not installed.
    """
    found = [entry for path in paths for entry in _entries(path)]
    if not found:
        raise UsageError(f"no videos in {', '.join(paths)} ({', '.join(VIDEO_SUFFIXES)})")
    addresses = {entry.path: entry.shown for entry in found if is_address(entry.path)}
    for address in {one.partition("://")[0]: one for one in addresses}.values():
        check_address(address)
    if len({*addresses.values()}) < len(addresses):
        twice = next(name for name, count in Counter(addresses.values()).items() if count > 1)
        raise UsageError(f"several addresses would be {twice} in the output: name each file once")
    return found


def _entries(name: str) -> Iterator[Entry]:
    if is_address(name):
        yield from (Entry(one) for one in _behind(name))
        return
    path = Path(name)
    if path.is_dir():
        yield from (Entry(str(one)) for one in _videos(path))
    elif path.suffix.lower() in LISTS and path.exists():
        yield from _listed(path)
    elif path.exists():
        yield Entry(name)
    else:
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise UsageError(f"{name} does not exist")
        for match in matches:
            if Path(match).is_dir():
                yield from (Entry(str(one)) for one in _videos(Path(match)))
            elif _is_video(match) or Path(match).suffix == "":
                yield Entry(match)


def _behind(address: str) -> list[str]:
    if "*" not in address and not address.endswith("/"):
        return [address]
    found = [one for one in RemoteFile(address).listed() if _is_video(file_name(one))]
    if not found:
        raise UsageError(f"no videos at {redacted(address)} ({', '.join(VIDEO_SUFFIXES)})")
    return found


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _beside(table: Path, path: str) -> str:
    return path if is_address(path) else str(table.parent / path)


def _videos(folder: Path) -> list[Path]:
    """Find videos in a folder, and the folders in it that cannot be read."""
    found: list[Path] = []
    walk = os.walk(folder, onerror=lambda error: found.append(Path(error.filename)))
    for place, _, names in walk:
        found += (Path(place) / name for name in names if _is_video(name))
    return sorted(found)


def _listed(path: Path) -> Iterator[Entry]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"cannot read the list {path}: {reason}") from error
    if path.suffix.lower() == ".csv":
        yield from parse_table(text, path)
        return
    for clip in parse_list(text, str(path)):
        yield Entry(_beside(path, str(clip.path)), truth=clip.label)


def parse_table(text: str, table: Path) -> Iterator[Entry]:
    """Read a CSV table of clips.

    Args:
        text: the whole file.
        table: where it is, for relative paths and errors.

    Raises:
        UsageError: no column ``path``, a time that is none; the line is named.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = rows.fieldnames or ()
        if "path" not in columns:
            raise UsageError(f"{table}, line 1: no column 'path'")
        start, end = next((pair for pair in TIMES if pair[0] in columns), TIMES[0])
        for row in rows:
            where = f"{table}, line {rows.line_num}"
            if not row["path"]:
                raise UsageError(f"{where}: no path")
            begin, until = _seconds(row.get(start), where), _seconds(row.get(end), where)
            if until is not None and until <= (begin or 0.0):
                raise UsageError(f"{where}: ends at second {until:g} and begins at {begin or 0:g}")
            truth = (row.get("label") or "").strip() or None
            yield Entry(_beside(table, row["path"]), begin or 0.0, until, truth)
    except csv.Error as error:
        raise UsageError(f"{table}, line {rows.line_num}: {error}") from error


def _seconds(text: str | None, where: str) -> float | None:
    if not (text or "").strip():
        return None
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:  # NaN fails
        raise UsageError(f"{where}: '{text}' is no time in seconds")
    return value
