"""Streams cut into pieces, so that all workers have work; all of it is arithmetic.

frames of an entry   0 ........ 1500 ........ 3000 ........ end
piece 0              |---------|
piece 1                    ####|-------------|               # lead-in: seen, not told
piece 2                                 #####|-------------|
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from movinet_runtime.archive.plan import Entry
from movinet_runtime.errors import UsageError
from movinet_runtime.preprocess import Fit
from movinet_runtime.sources.remote import is_address
from movinet_runtime.tensors import TensorSpec

HORIZONS = 2  # how many of them a lead-in lasts
CLOSE = 1e-6  # of a frame: instants that only rounding keeps apart


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with every frame, and by which model.

    Attributes:
        model: path, as a worker sees it.
        sha256: of the model.
        fps: frames a second.
        top: how many labels.
        every: seconds of a window; None: each frame.
        events: whether events are wanted: then labels above their lower threshold are told.
        threshold: at which events begin; None: the model's.
        horizon: see :class:`~movinet_runtime.StreamClassifier`.
        fit: of other aspect ratios.
        engine: see :func:`~movinet_runtime.engines.open_engine`.
        segment: seconds between cuts; 0: none.
        lead: frames that a piece sees before its first.
        labels: names of the classes; None: the model's own.
    """

    model: str
    sha256: str
    fps: float
    top: int = 5
    every: float | None = None
    events: bool = False
    threshold: float | None = None
    horizon: int | None = None
    fit: Fit = "crop"
    engine: str = "auto"
    segment: float = 0.0
    lead: int = 1
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a worker found out about a file.

    Attributes:
        digest: of its content (:func:`movinet_runtime.archive.work.digest`).
        seconds: that it lasts, as it claims; None: it is not to be cut.
        error: why it cannot be read.
    """

    digest: str = ""
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of one stream, numbered from the stream's begin.

    Attributes:
        path: as a worker sees it.
        begin: of the stream, seconds after the file's first frame.
        first: frame that is told first.
        after: the one after the last; None: to the end.
        lead: frames that are seen before ``first``.
        key: says content, options and model: the same key, the same result.
    """

    path: str
    begin: float
    first: int
    after: int | None
    lead: int
    key: str


def reach(states: Mapping[str, TensorSpec]) -> int:
    """Return how many frames back the temporal convolutions see: those of all buffers."""
    buffers = [spec for name, spec in states.items() if "stream_buffer" in name]
    return sum(spec.shape[1] for spec in buffers if len(spec.shape) == 5)


def lead_in(states: Mapping[str, TensorSpec], horizon: int) -> int:
    """Return the frames after which a stream has all but forgotten how it began.

    Args:
        states: of the model.
        horizon: frames that its averages remember; 0: all, and no lead-in makes up for it.
    """
    return max(1, reach(states) + HORIZONS * horizon)


def window_of(frame: int, every: float, fps: float) -> int:
    """Return the number of the window that a frame is in; of shorter windows, its own."""
    return frame if every * fps <= 1 else math.floor(frame / (every * fps) + CLOSE)


def window_begin(window: int, every: float, fps: float) -> int:
    """Return the first frame of a window."""
    return window if every * fps <= 1 else math.ceil(window * every * fps - CLOSE)


def cuts(frames: int, segment: float, every: float | None, fps: float) -> list[int]:
    """Return the first frame of each piece: a number of windows apart.

    Args:
        frames: of the stream, about.
        segment: seconds between cuts.
        every: seconds of a window, which no cut divides; None: each frame is one.
        fps: frames a second.
    """
    if segment <= 0:
        return [0]
    wide = max(1.0, (every or 0.0) * fps)  # frames
    windows = max(1, round(segment * fps / wide))
    count = max(1, round(frames / (windows * wide)))
    if every is None:
        return [i * windows for i in range(count)]
    return [window_begin(i * windows, every, fps) for i in range(count)]


def pieces(entry: Entry, path: str, about: About, job: Job) -> Iterator[Piece]:
    """Cut a stream.

    Args:
        entry: what the user named.
        path: of its file, as a worker sees it.
        about: the file.
        job: what is done.
    """
    after = None
    if entry.end is not None:
        after = max(1, math.ceil((entry.end - entry.begin) * job.fps - CLOSE))
    frames = 0
    if about.seconds is not None:
        claimed = math.ceil((about.seconds - entry.begin) * job.fps)
        frames = max(0, claimed if after is None else min(after, claimed))
    begins = cuts(frames, job.segment, job.every, job.fps)
    options = {name: value for name, value in asdict(job).items() if name not in _ELSEWHERE}
    for first, end in zip(begins, [*begins[1:], after], strict=True):
        lead = min(first, job.lead)
        parts = [about.digest, entry.begin, first, end, lead, options]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        yield Piece(path, entry.begin, first, end, lead, key)


_ELSEWHERE = ("model", "segment", "lead")  # a piece's frames say what the last two made of it


def path_map(text: list[str]) -> list[tuple[str, str]]:
    """Read ``/here=/there`` pairs.

    Raises:
        UsageError: one is not like that.
    """
    pairs = [one.partition("=") for one in text]
    for here, sign, there in pairs:
        if not (here and sign and there):
            raise UsageError(
                f"--path-map is HERE=THERE, such as /data=/mnt/data, not '{here}{sign}'"
            )
    return [(_whole(here).rstrip("/"), there.rstrip("/")) for here, _, there in pairs]


def mapped(path: str, pairs: list[tuple[str, str]]) -> str:
    """Return a path as workers see it: the first pair that begins it counts.

    A relative path becomes a whole one: workers have folders of their own.
    """
    path = _whole(path)
    for here, there in pairs:
        if path == here or path.startswith(here + "/"):
            return there + path[len(here) :]
    return path


def _whole(path: str) -> str:
    return path if is_address(path) else os.path.abspath(path)
