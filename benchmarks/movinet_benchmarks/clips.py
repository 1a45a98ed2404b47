"""Find labelled clips: a folder for each class, or a table."""

import csv
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from movinet_runtime.errors import SourceError, UsageError
from movinet_runtime.sources import open_frames

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
MIN_CLASSES = 2
Progress = Callable[[int], None]


@dataclass(frozen=True)
class LabelledClip:
    """A file and what it shows; ``split`` is None until it is assigned."""

    path: Path
    label: str
    split: str | None = None


@dataclass(frozen=True)
class Collection:
    """Clips that can be read.

    Attributes:
        clips: each with a split.
        labels: in the order of the logits.
        skipped: what could not be read, and why.
    """

    clips: list[LabelledClip]
    labels: list[str]
    skipped: list[str]

    def of(self, split: str) -> list[LabelledClip]:
        """Return the clips of a split."""
        return [clip for clip in self.clips if clip.split == split]


def find_clips(data: Path) -> list[LabelledClip]:
    """List what a folder or a table offers, in a fixed order.

    Args:
        data: ``CLASS/clip.mp4`` ..., ``SPLIT/CLASS/clip.mp4`` ... with splits train,
            validation and test, or a CSV with columns path, label and perhaps split;
            its paths are relative to it. A folder of images within a class is a clip.

    Raises:
        UsageError: nothing there, a class without clips, fewer than two classes.
    """
    if not data.exists():
        raise UsageError(f"{data} does not exist")
    if data.is_dir():
        names = [split for split in SPLITS if (data / split).is_dir()]
        if TRAIN in names:
            clips = [
                replace(clip, split=split) for split in names for clip in _of_folder(data / split)
            ]
        else:
            clips = _of_folder(data)
    else:
        clips = _of_table(data)
    labels = {clip.label for clip in clips}
    if len(labels) < MIN_CLASSES:
        raise UsageError(
            f"{data} has {len(labels)} classes; at least two are needed: "
            "a sub-folder of clips for each class, or a CSV with path,label[,split]"
        )
    return clips


def _of_folder(folder: Path) -> list[LabelledClip]:
    classes = sorted(path for path in _visible(folder) if path.is_dir())
    empty = [path.name for path in classes if not any(_visible(path))]
    if empty:
        raise UsageError(f"{folder}: no clips in {', '.join(empty)}")
    return [LabelledClip(path, label.name) for label in classes for path in sorted(_visible(label))]


def _visible(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _of_table(table: Path) -> list[LabelledClip]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read as CSV: {error}") from error
    clips = []
    for number, row in enumerate(rows, start=2):
        path, label = row.get("path"), (row.get("label") or "").strip()
        split = (row.get("split") or "").strip() or None
        if not path or not label:
            raise UsageError(f"{table}, line {number}: needs the columns path and label")
        if split is not None and split not in SPLITS:
            raise UsageError(f"{table}, line {number}: split is {', '.join(SPLITS)}, not '{split}'")
        clips.append(LabelledClip(table.parent / path, label, split))
    return clips


def collect(
    clips: Sequence[LabelledClip],
    validation: float,
    seed: int = 0,
    progress: Progress = lambda n: None,
) -> Collection:
    """Open every clip, leave out what cannot be read, and split what has no split.

    Args:
        clips: of :func:`find_clips`.
        validation: share of each class that is kept back, where nothing says which.
        seed: of the choice.
        progress: called with 1 after each clip.

    Raises:
        UsageError: nothing is left of a class, or of the training split.
    """

    def reason(clip: LabelledClip) -> str | None:
        try:
            next(open_frames(clip.path).sampled(1.0))
        except SourceError as error:
            return str(error)
        finally:
            progress(1)
        return None

    with ThreadPoolExecutor() as pool:
        reasons = list(pool.map(reason, clips))
    usable = [clip for clip, wrong in zip(clips, reasons, strict=True) if wrong is None]
    skipped = [wrong for wrong in reasons if wrong is not None]
    labels = sorted({clip.label for clip in clips})
    gone = sorted(set(labels) - {clip.label for clip in usable})
    if gone:
        raise UsageError(f"no clip of {', '.join(gone)} can be read; the first: {skipped[0]}")
    if any(clip.split is None for clip in usable):
        usable = _split(usable, validation, seed)
    found = Collection(usable, labels, skipped)
    for split in (TRAIN, VALIDATION):
        lacks = sorted(set(labels) - {clip.label for clip in found.of(split)})
        if lacks:
            raise UsageError(f"no {split} clip of {', '.join(lacks)}: each class needs two clips")
    return found


def _split(clips: Sequence[LabelledClip], share: float, seed: int) -> list[LabelledClip]:
    """Keep back a share of each class, by file, at least one."""
    rng = np.random.default_rng(seed)
    kept = list(clips)
    for label in sorted({clip.label for clip in clips}):
        own = [i for i, clip in enumerate(clips) if clip.label == label and clip.split is None]
        back = max(1, round(share * len(own))) if len(own) > 1 else 0
        chosen = set(rng.permutation(own)[:back].tolist())
        for i in own:
            kept[i] = replace(clips[i], split=VALIDATION if i in chosen else TRAIN)
    return kept
