"""Find labelled clips: a folder for each class, a table, or a list."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from movinet_models.lists import (
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    ListedClip,
    Videos,
    parse_kinetics,
    parse_list,
    seconds_of,
    split_of,
)
from movinet_models.splits import fingerprint, held_back, recordings
from movinet_runtime import Frame, FrameSource, Source, open_frames
from movinet_runtime.errors import SourceError, UsageError

__all__ = [
    "SPLITS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Collection",
    "LabelledClip",
    "collect",
    "find_clips",
    "open_clip",
]

MIN_CLASSES = 2
SEVERAL, SEPARATOR = "labels", ";"  # the column of tables where a clip may show several classes
Progress = Callable[[int], None]


@dataclass(frozen=True)
class LabelledClip:
    """A file and what it shows.

    Attributes:
        path: perhaps missing.
        label: its class.
        split: None until it is assigned.
        seconds: the part of the file that counts, from and to; None: all of it.
        group: the recording that it was cut from, where a table says it; no group stands on
            both sides of a split.
        where: the file and line that name it, for errors.
        more: what else it shows, where classes do not exclude each other.
        independent: they do not: a table has a column ``labels``. Then ``label`` is the first
            of them, and empty where the clip shows none.
    """

    path: Path
    label: str
    split: str | None = None
    seconds: tuple[float, float] | None = None
    where: str = field(default="", compare=False)
    group: str | None = None
    more: tuple[str, ...] = ()
    independent: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """All that it shows."""
        return (self.label, *self.more) if self.label else ()


@dataclass(frozen=True)
class Collection:
    """Clips that can be read.

    Attributes:
        clips: each with a split.
        labels: in the order of the logits.
        skipped: what could not be read, and why.
        divided: whether the split is ours: nothing in the data says it.
        pattern: of the file names that recordings are known by; None: they are not.
        cut: a recording that stands on both sides of the data's own split.
        fingerprints: of the clips' files.
        notes: what a user should know.
    """

    clips: list[LabelledClip]
    labels: list[str]
    skipped: list[str]
    divided: bool = False
    pattern: str | None = None
    cut: str | None = None
    fingerprints: Mapping[Path, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def independent(self) -> bool:
        """Whether classes do not exclude each other."""
        return any(clip.independent for clip in self.clips)

    def of(self, split: str) -> list[LabelledClip]:
        """Return the clips of a split."""
        return [clip for clip in self.clips if clip.split == split]

    def table(self) -> str:
        """Write clips, sides and recordings as a table that :func:`find_clips` reads."""
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        column = SEVERAL if self.independent else "label"
        rows.writerow(["path", column, "split", "group"])
        for clip in self.clips:
            own = clip.group in (None, str(clip.path)) or self.cut is not None
            shows = SEPARATOR.join(clip.labels)
            rows.writerow([clip.path.absolute(), shows, clip.split, "" if own else clip.group])
        return text.getvalue()

    def seen(self, split: str) -> frozenset[int]:
        """Return the fingerprints of a split's files."""
        return frozenset(self.fingerprints[clip.path] for clip in self.of(split))


def find_clips(
    data: Path,
    videos: Path | None = None,
    labels: Sequence[str] | None = None,
    min_classes: int = MIN_CLASSES,
) -> list[LabelledClip]:
    """List what a folder, a table or a list offers, in a fixed order.

    Args:
        data: ``CLASS/clip.mp4`` ..., ``SPLIT/CLASS/clip.mp4`` ... with splits train,
            validation and test; a CSV with columns path, label (or labels, with ``;`` between
            them: classes that do not exclude each other) and perhaps split, or start and end in
            seconds; a CSV of
            Kinetics (label, youtube_id, time_start, time_end); or lines ``path label``
            (:func:`movinet_models.lists.parse_list`). A folder of images is a clip.
        videos: the folder that a table's or list's paths are relative to; default: its own.
        labels: of the model, for lists that give indices.
        min_classes: fewer are an error.

    Raises:
        UsageError: nothing there, a line that cannot be read, a class without clips, too
            few classes.
    """
    if not data.exists():
        raise UsageError(f"{data} does not exist")
    if videos is not None and (data.is_dir() or not videos.is_dir()):
        why = "only lists take it, not folders" if data.is_dir() else "it is no folder"
        raise UsageError(f"--videos {videos}: {why}")
    if data.is_dir():
        names = [split for split in SPLITS if (data / split).is_dir()]
        if TRAIN in names:
            clips = [
                replace(clip, split=split) for split in names for clip in _of_folder(data / split)
            ]
        else:
            clips = _of_folder(data)
    else:
        clips = _of_file(data, videos or data.parent, labels)
    classes = {label for clip in clips for label in clip.labels}
    if any(clip.independent for clip in clips):
        min_classes = 1
    if len(classes) < min_classes:
        raise UsageError(
            f"{data} has {len(classes)} classes; at least {'two' if min_classes == 2 else 'one'} "
            "needed: a sub-folder of clips for each class, a CSV with path,label[,split], or "
            "lines 'path label'"
        )
    return clips


def open_clip(clip: LabelledClip, image_fps: float = 5.0) -> Source:
    """Open a clip's file, or the part of it that counts.

    Raises:
        SourceError, MissingPackageError: see :func:`movinet_runtime.open_frames`.
    """
    source = open_frames(clip.path, image_fps)
    if clip.seconds is None:
        return source
    start, end = clip.seconds
    name = f"{source.name}, seconds {start:g} to {end:g},"
    return FrameSource(name, _Part(source, start, end), end - start)


@dataclass(frozen=True)
class _Part:
    """The frames that are seen between two moments of a source, from its first frame on."""

    source: Source
    start: float
    end: float

    def __iter__(self) -> Iterator[Frame]:
        return part(self.source, self.start, self.end)


def part(frames: Iterable[Frame], start: float, end: float) -> Iterator[Frame]:
    """Yield the frames that are seen from ``start`` to before ``end``, in seconds.

    frames  |0----|1----|2----|3----|
    part         [0 |1    |2 )          the one seen at the start is the first
    """
    origin, held = 0.0, None
    for frame in frames:
        if held is None:
            origin = frame.time
        time = frame.time - origin
        if time >= end:
            break
        if held is not None and time > start:
            early = held.time - origin < start
            yield Frame(held.image, origin + start) if early else held
        held = frame
    if held is None:
        return
    time = held.time - origin
    begins, ends = max(time, start), time + held.duration
    if time >= start or ends > start:  # else the video is over before the part begins
        yield Frame(held.image, origin + begins, max(0.0, min(ends, end) - begins))


def _of_folder(folder: Path) -> list[LabelledClip]:
    classes = sorted(path for path in _visible(folder) if path.is_dir())
    empty = [path.name for path in classes if not any(_visible(path))]
    if empty:
        raise UsageError(f"{folder}: no clips in {', '.join(empty)}")
    return [
        LabelledClip(path, label.name, where=str(path))
        for label in classes
        for path in sorted(_visible(label))
    ]


def _visible(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _of_file(file: Path, videos: Path, labels: Sequence[str] | None) -> list[LabelledClip]:
    """A file is what its first line says: the header of a table, or the first of a list."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{file} cannot be read: {reason}") from error
    header = [name.strip() for name in text.partition("\n")[0].split(",")]
    if "youtube_id" in header:
        return _of_kinetics(text, file, videos)
    if {"label", SEVERAL} & set(header) or file.suffix.lower() == ".csv":
        return _of_table(text, file, videos)
    return [_of_line(row, file, videos, labels) for row in parse_list(text, str(file))]


def _of_line(
    row: ListedClip, file: Path, videos: Path, labels: Sequence[str] | None
) -> LabelledClip:
    where = f"{file}, line {row.line}"
    label = row.label
    if isinstance(label, int):
        if labels is None:
            raise UsageError(
                f"{where}: {label} is an index, and there is no one model to say of what; a "
                f'class of that name needs quotes: "{label}"'
            )
        if label >= len(labels):
            raise UsageError(f"{where}: {label} is no index, the model has {len(labels)} labels")
        label = labels[label]
    return LabelledClip(videos / row.path, label, where=where)


def _of_kinetics(text: str, file: Path, videos: Path) -> list[LabelledClip]:
    files = Videos.of(videos)
    clips = []
    for row in parse_kinetics(text, str(file)):
        path, whole = files.find(row) or (videos / f"{row.stems()[0]}.mp4", False)
        seconds = (row.start, row.end) if whole else None
        clips.append(LabelledClip(path, row.label, row.split, seconds, f"{file}, line {row.line}"))
    return clips


def _of_table(text: str, table: Path, videos: Path) -> list[LabelledClip]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    clips = []
    try:
        for row in rows:
            where = f"{table}, line {rows.line_num}"
            path, label, several = row.get("path"), row.get("label"), row.get(SEVERAL)
            if label is not None and several is not None:
                raise UsageError(f"{table} has both columns label and labels: which one counts?")
            if not path or (several is None and not (label or "").strip()):
                raise UsageError(f"{where}: needs the columns path and label, or path and labels")
            names = [label or ""] if several is None else several.split(SEPARATOR)
            names = list(dict.fromkeys(filter(None, (name.strip() for name in names)))) or [""]
            split = split_of(row.get("split"), where)
            group = (row.get("group") or "").strip() or None
            seconds = _part_of(row.get("start"), row.get("end"), where)
            clip = LabelledClip(videos / path, names[0], split, seconds, where, group)
            clips.append(replace(clip, more=tuple(names[1:]), independent=several is not None))
    except csv.Error as error:
        raise UsageError(f"{table} cannot be read as CSV: {error}") from error
    return clips


def _part_of(start: str | None, end: str | None, where: str) -> tuple[float, float] | None:
    if not start and not end:
        return None
    part = (seconds_of(start, where), seconds_of(end, where))
    if not part[0] < part[1]:
        raise UsageError(f"{where}: it ends at second {end} and begins at {start}")
    return part


def collect(
    clips: Sequence[LabelledClip],
    validation: float,
    seed: int = 0,
    progress: Progress = lambda n: None,
    group: str | None = None,
) -> Collection:
    """Open every clip, leave out what cannot be read, and split what has no split.

    Args:
        clips: of :func:`find_clips`.
        validation: share of each class that is kept back, where nothing says which.
        seed: of the choice.
        progress: called with 1 after each clip.
        group: a pattern in file names that tells clips of one recording
            (:func:`movinet_models.splits.recordings`); a table's groups go before it.

    Raises:
        UsageError: nothing is left of a class, or of the training split; a clip is a part of
            a file, which training does not cut out; a recording stands on both sides of the
            data's own split.
    """
    parts = [clip for clip in clips if clip.seconds is not None]
    if parts:
        raise UsageError(
            f"{parts[0].where}: {parts[0].path} is a whole video, and training does not cut: "
            "name the part's file ID_START_END.mp4, or cut with movinet mine --cut"
        )

    prints: dict[Path, int] = {}

    def reason(clip: LabelledClip) -> str | None:
        try:
            next(open_frames(clip.path).sampled(1.0))
            prints[clip.path] = fingerprint(clip.path)
        except SourceError as error:
            return str(error)
        except OSError as error:
            return f"{clip.path} cannot be read: {error.strerror or error}"
        finally:
            progress(1)
        return None

    with ThreadPoolExecutor() as pool:
        reasons = list(pool.map(reason, clips))
    usable = [clip for clip, wrong in zip(clips, reasons, strict=True) if wrong is None]
    skipped = [wrong for wrong in reasons if wrong is not None]
    labels = sorted(_shown(clips))
    gone = sorted(set(labels) - _shown(usable))
    if gone:
        raise UsageError(f"no clip of {', '.join(gone)} can be read; the first: {skipped[0]}")
    asked = group is not None or any(clip.group is not None for clip in usable)
    usable, pattern = _grouped(usable, group)
    divided = any(clip.split is None for clip in usable)
    if divided:
        usable = _divided(usable, validation, seed)
    notes = [f"clips of one recording stay together: {pattern} in their names"] if pattern else []
    if (cut := _on_both_sides(usable)) is not None:
        wrong = f"clips of one recording, {cut}, are on both sides of the split"
        if asked:
            raise UsageError(wrong)
        notes = [f"{wrong} that the data gives: what is counted is better than it is"]
    found = Collection(usable, labels, skipped, divided, pattern, cut, prints, notes)
    for split in (TRAIN, VALIDATION):
        lacks = sorted(set(labels) - _shown(found.of(split)))
        if lacks:
            raise UsageError(
                f"no {split} clip of {', '.join(lacks)}: each class needs two clips, of different "
                "recordings" + (" (--group '.*' takes each clip for one)" if pattern else "")
            )
    return found


def _shown(clips: Iterable[LabelledClip]) -> set[str]:
    return {label for clip in clips for label in clip.labels}


def _grouped(
    clips: Sequence[LabelledClip], pattern: str | None
) -> tuple[list[LabelledClip], str | None]:
    """Give each clip its recording, and return the pattern of names that told it."""
    if any(clip.group is not None for clip in clips):
        return [replace(clip, group=clip.group or str(clip.path)) for clip in clips], None
    names, pattern = recordings([clip.path for clip in clips], pattern)
    grouped = [replace(clip, group=name) for clip, name in zip(clips, names, strict=True)]
    return grouped, pattern


def _divided(clips: Sequence[LabelledClip], share: float, seed: int) -> list[LabelledClip]:
    """Keep back a share of each class, by recording, where the data does not say the split.

    A recording of which the data gives some clips to a side goes there as a whole.
    """
    said = {clip.group: clip.split for clip in clips if clip.split is not None}
    clips = [replace(clip, split=clip.split or said.get(clip.group)) for clip in clips]
    own = [clip for clip in clips if clip.split is None]
    shown = [(label, clip.group) for clip in own for label in clip.labels or ("",)]
    back = held_back([label for label, _ in shown], [group for _, group in shown], share, seed)
    kept = {group for (_, group), one in zip(shown, back, strict=True) if one}
    sides = iter([VALIDATION if clip.group in kept else TRAIN for clip in own])
    return [clip if clip.split else replace(clip, split=next(sides)) for clip in clips]


def _on_both_sides(clips: Iterable[LabelledClip]) -> str | None:
    """Name a recording of which training sees a part and a judge another."""
    trained = {clip.group for clip in clips if clip.split == TRAIN}
    return next((c.group for c in clips if c.split != TRAIN and c.group in trained), None)
