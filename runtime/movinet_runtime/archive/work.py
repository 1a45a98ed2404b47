"""What a worker does: looks at files, and runs pieces of them through the model."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from os import SEEK_END
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from movinet_runtime.archive.journal import Part
from movinet_runtime.archive.pieces import About, Job, Piece, window_of
from movinet_runtime.classifier import Prediction, StreamClassifier, StreamModel, step_together
from movinet_runtime.decisions import EventTracker
from movinet_runtime.errors import ModelFileError, NoFramesError, SourceError
from movinet_runtime.sources import open_frames
from movinet_runtime.sources.files import Video, open_video
from movinet_runtime.sources.frame import Frame
from movinet_runtime.sources.remote import RemoteFile, is_address, shown
from movinet_runtime.sources.source import FrameSource, Source, silent
from movinet_runtime.stats import Stages

SAMPLES, SAMPLE = 16, 64 * 1024  # bytes of a file that say what is in it
_loading = Lock()

Task = str | tuple[Job, tuple[Piece, ...]]


def work(task: Task) -> About | list[Part]:
    """Look at a file by its path, or run pieces."""
    return look(task) if isinstance(task, str) else label(*task)


def look(path: str) -> About:
    """Find out what a file holds and how long it is."""
    try:
        if not is_address(path) and not Path(path).is_file() and Path(path).exists():
            return About(error=_special(Path(path)))
        content = digest(path)
        with _opened(path) as source:
            seekable = isinstance(source, FrameSource) and isinstance(source.frames, Video)
            return About(content, source.duration if seekable else None)
    except (SourceError, OSError) as error:
        return About(error=_said(error, path))
    except ValueError as error:  # a name that no file can have
        return About(error=f"cannot be read: {error}")


def _special(path: Path) -> str:
    """Say what is no file: reading a pipe would never end."""
    if path.is_dir():
        return "is a folder that cannot be read"
    return "is no regular file"


def _said(error: SourceError | OSError, path: str) -> str:
    """Return what is wrong without the file's name, which rows have as the user knows it."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    name = shown(path)
    return str(error).removeprefix(name).removeprefix(":").lstrip()


def _opened(path: str) -> Source:
    return open_video(RemoteFile(path), silent) if is_address(path) else open_frames(path)


def digest(path: str) -> str:
    """Return a fingerprint of a file's content: its size, and 16 samples of 64 KB.

    They are evenly spread, the first bytes and the last among them; a file of up to 1 MB counts
    as a whole.
    """
    remote = is_address(path)
    with RemoteFile(path).open(ahead=False) if remote else Path(path).open("rb") as file:
        size = file.seek(0, SEEK_END)
        found = hashlib.sha256(str(size).encode())
        for i in range(SAMPLES):
            file.seek(max(i * SAMPLE, i * (size - SAMPLE) // (SAMPLES - 1)))
            found.update(file.read(SAMPLE))
    return found.hexdigest()


def model_of(job: Job) -> StreamModel:
    """Return the job's model, loaded once a process.

    Raises:
        ModelFileError: it is not the one that the job began with.
    """
    with _loading:
        model = _model(job.model, job.engine, job.labels)
    if model.sha256 != job.sha256:
        raise ModelFileError(f"{job.model} is not the model that this run began with")
    return model


@cache
def _model(path: str, engine: str, labels: tuple[str, ...] | None) -> StreamModel:
    return StreamModel(path, threads=1, labels=labels, engine=engine)


class _Reader:
    """One piece: its frames, its stream, and what it has to tell."""

    def __init__(self, job: Job, piece: Piece, stream: StreamClassifier, stages: Stages) -> None:
        self.stream, self.stages, self.job = stream, stages, job
        self.frame = piece.first - piece.lead  # the next one's number
        self.told = _Told(job, piece.first, stream)
        self.error: str | None = None
        self.seen = 0
        self._after, self._path = piece.after, piece.path
        self._frames = stages.fetching(_frames(job, piece), "decode")

    def next(self) -> Any:
        """Return the next picture as the model takes it; None: that was all."""
        if self.frame == self._after:
            self._frames.close()  # type: ignore[attr-defined]
            return None
        try:
            frame = next(self._frames, None)
            if frame is None:
                return None
            with self.stages.stage("resize"):
                return self.stream.prepared(frame.image, self.job.fit)
        except (SourceError, OSError) as error:
            self.error = _said(error, self._path)
        return None

    def take(self, prediction: Prediction) -> None:
        """Take in what the model said of the last picture."""
        self.told.add(self.frame, prediction)
        self.frame += 1
        self.seen += 1


class _Told:
    """Rows from predictions: means over windows, or what events need."""

    def __init__(self, job: Job, first: int, stream: StreamClassifier) -> None:
        self._job, self._first = job, first
        self.rows: list[tuple[int, int, list[tuple[int, float]]]] = []
        self._sum: Any = None
        self._begin, self._count = first, 0
        self._off: Any = None
        if job.events:
            levels = EventTracker(job.threshold).levels(len(stream.labels), stream.thresholds)
            self._off = levels[1]

    def add(self, frame: int, prediction: Prediction) -> None:
        if frame < self._first:
            return
        found = prediction.probabilities
        if self._off is not None:
            likely = np.flatnonzero(found >= self._off).tolist()
            self.rows.append((frame, 1, [(i, float(found[i])) for i in likely]))
            return
        every, fps = self._job.every, self._job.fps
        same = every and self._count
        if not same or window_of(frame, every or 0, fps) != window_of(self._begin, every or 0, fps):
            self.end()
            self._sum, self._begin = np.zeros(len(found)), frame
        self._sum += found
        self._count += 1

    def end(self) -> None:
        """Tell the window that is open."""
        if self._count:
            mean = self._sum / self._count
            best = np.argsort(-mean, kind="stable")[: self._job.top].tolist()
            row = [(i, round(float(mean[i]), 6)) for i in best]
            self.rows.append((self._begin, self._count, row))
        self._count = 0


def label(job: Job, pieces: Sequence[Piece]) -> list[Part]:
    """Run pieces through the model, a frame of each at a time.

    What cannot be read ends its piece with an error; the others go on.

    Raises:
        ModelFileError: another model, or one that gives up.
    """
    model = model_of(job)
    stages = [Stages() for _ in pieces]
    readers = [
        _Reader(job, piece, model.stream(job.horizon), own)
        for piece, own in zip(pieces, stages, strict=True)
    ]
    shared = Stages()
    reading = list(readers)
    while reading:
        pictures = {reader: reader.next() for reader in reading}
        reading = [reader for reader in reading if pictures[reader] is not None]
        if reading:
            with shared.stage("infer"):
                said = step_together({reader.stream: pictures[reader] for reader in reading})
            for reader in reading:
                reader.take(said[reader.stream])
    found = []
    for reader, own in zip(readers, stages, strict=True):
        reader.told.end()
        infer = {"infer": shared.seconds.get("infer", 0.0) / len(readers)}
        seconds = {name: round(value, 4) for name, value in (own.seconds | infer).items()}
        found.append(Part(reader.told.rows, reader.error, seconds, reader.seen))
    return found


def _frames(job: Job, piece: Piece) -> Iterator[Frame]:
    """Give a piece's frames, on the grid of its stream."""
    at = piece.begin + (piece.first - piece.lead) / job.fps
    source = _opened(piece.path)
    skip = 0
    if isinstance(source, FrameSource) and isinstance(source.frames, Video):
        # Whole cores work on other pieces.
        video = replace(source.frames, begin=at, threads=1, looks=job.fps, stands=False)
        source = FrameSource(source.name, video, report=source.report)
    else:
        skip = round(at * job.fps)
    given = False
    with source.sampled(job.fps) as run:
        try:
            for frame in islice(run, skip, None):
                given = True
                yield frame
        except NoFramesError:
            pass
    if not given and not piece.first:  # later pieces may begin after the end: files claim much
        where = f" at second {piece.begin:g}" if piece.begin else ""
        raise SourceError(f"{source.name} has no frames{where}")
