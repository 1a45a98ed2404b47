"""Which clips may stay: by age and by space; and what a killed process left behind.

The folder may hold files of others: only what has a name as clips have is looked at.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import ClipsConfig

PART = ".part"  # the end of temporary names
SUFFIXES = (".mp4", ".jpg", ".json")  # of a clip's files; the last one is written last
OURS = re.compile(r"\d{8}-\d{6}-[0-9a-f]{16}")  # names of clips: when one began, an event's id


@dataclass(frozen=True)
class Kept:
    """A clip on disk: its description's path, when it was complete, bytes of all its files."""

    path: Path
    time: float
    bytes: int


def kept(folder: Path) -> Iterator[Kept]:
    """Find the clips that are complete, in the folders of the cameras."""
    for path in folder.glob("*/*.json"):
        if not OURS.fullmatch(path.stem):
            continue
        with suppress(OSError):  # deleted by somebody meanwhile, or not ours to read
            files = [path.with_suffix(suffix) for suffix in SUFFIXES]
            size = sum(file.stat().st_size for file in files if file.exists())
            yield Kept(path, path.stat().st_mtime, size)


def sweep(config: ClipsConfig, now: datetime, say: Say) -> list[Kept]:
    """Delete clips that are too old, then the oldest of those that are too much.

    What cannot be deleted is said, and stays; the others go all the same.
    """
    clips = sorted(kept(config.folder), key=lambda clip: clip.time)
    oldest = now.timestamp() - config.max_days * 86_400 if config.max_days else float("-inf")
    most = config.max_gb * 1e9 if config.max_gb else float("inf")
    total = sum(clip.bytes for clip in clips)
    gone, stay = [], _Stay()
    for clip in clips:
        if clip.time >= oldest and total <= most:
            break
        # Its description first: a clip without one is none.
        if not all(stay.deleted(clip.path.with_suffix(one)) for one in reversed(SUFFIXES)):
            continue
        total -= clip.bytes
        gone.append(clip)
    stay.tell(say)
    return gone


def clean(folder: Path, say: Say) -> None:
    """Remove what is not complete, at the start of the only process that writes here."""
    stay = _Stay()
    for path in folder.glob(f"*/.*{PART}"):
        if OURS.fullmatch(path.name[1:].partition(".")[0]):
            stay.deleted(path)
    for suffix in SUFFIXES[:-1]:
        for path in folder.glob(f"*/*{suffix}"):
            if OURS.fullmatch(path.stem) and not path.with_suffix(SUFFIXES[-1]).exists():
                stay.deleted(path)
    stay.tell(say)


class _Stay:
    """Files that could not be deleted: one line for all of them."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def deleted(self, path: Path) -> bool:
        """Delete a file; return whether it is gone."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._lines.append(f"cannot delete {path}: {error.strerror or error}")
            return False
        return True

    def tell(self, say: Say) -> None:
        """Say what stays, and why."""
        if self._lines:
            more = len(self._lines) - 1
            say(self._lines[0] + (f"; and {more} more" if more else ""))
