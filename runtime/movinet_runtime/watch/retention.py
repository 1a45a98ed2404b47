"""Which clips may stay: by age and by space; and what a killed process left behind."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from movinet_runtime.watch.config import ClipsConfig

PART = ".part"  # the end of temporary names
SUFFIXES = (".mp4", ".jpg", ".json")  # of a clip's files; the last one is written last


@dataclass(frozen=True)
class Kept:
    """A clip on disk: its description's path, when it was complete, bytes of all its files."""

    path: Path
    time: float
    bytes: int


def kept(folder: Path) -> Iterator[Kept]:
    """Find the clips that are complete, in the folders of the cameras."""
    for path in folder.glob("*/*.json"):
        with suppress(FileNotFoundError):  # deleted by somebody meanwhile
            files = [path.with_suffix(suffix) for suffix in SUFFIXES]
            size = sum(file.stat().st_size for file in files if file.exists())
            yield Kept(path, path.stat().st_mtime, size)


def sweep(config: ClipsConfig, now: datetime) -> list[Kept]:
    """Delete clips that are too old, then the oldest of those that are too much.

    Raises:
        OSError: one cannot be deleted.
    """
    clips = sorted(kept(config.folder), key=lambda clip: clip.time)
    oldest = now.timestamp() - config.max_days * 86_400 if config.max_days else float("-inf")
    most = config.max_gb * 1e9 if config.max_gb else float("inf")
    total = sum(clip.bytes for clip in clips)
    gone = []
    for clip in clips:
        if clip.time >= oldest and total <= most:
            break
        for suffix in reversed(SUFFIXES):  # a clip without description is none
            clip.path.with_suffix(suffix).unlink(missing_ok=True)
        total -= clip.bytes
        gone.append(clip)
    return gone


def clean(folder: Path) -> None:
    """Remove what is not complete, at the start of the only process that writes here.

    Raises:
        OSError: it cannot be removed.
    """
    for path in folder.glob(f"*/.*{PART}"):
        path.unlink(missing_ok=True)
    for suffix in SUFFIXES[:-1]:
        for path in folder.glob(f"*/*{suffix}"):
            if not path.with_suffix(SUFFIXES[-1]).exists():
                path.unlink(missing_ok=True)
