"""Recordings of models over streams by workers: ``movinet verify --on``.

A task is one stream of one model. Workers decode what it shows, and send logits back.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from movinet_benchmarks.answers import CODE, digest
from movinet_benchmarks.fidelity import Logits, Recorder, Recording, StateHealth, Streams
from movinet_runtime.archive.pieces import mapped
from movinet_runtime.errors import ModelFileError, WorkersError
from movinet_runtime.facts import ordered_results
from movinet_runtime.sources.clips import frames_at
from movinet_runtime.workers import Lost

LONG = -1  # in place of a clip's number


@dataclass(frozen=True)
class Job:
    """What a worker has to know.

    Attributes:
        models: paths, as it sees them, and their SHA-256.
        clips: paths.
        size: (height, width) of the models.
        fps: of the models.
        long_frames: of the long stream.
    """

    models: tuple[tuple[str, str], ...]
    clips: tuple[str, ...]
    size: tuple[int, int]
    fps: float
    long_frames: int

    @classmethod
    def of(
        cls,
        models: Sequence[Path],
        clips: Sequence[Path],
        size: tuple[int, int],
        fps: float,
        long_frames: int,
    ) -> "Job":
        """Describe files that are here.

        Raises:
            ModelFileError: one of the models cannot be read.
        """
        try:
            files = tuple((str(path), digest(path)) for path in models)
        except OSError as error:
            raise ModelFileError(f"cannot read {error.filename}: {error.strerror}") from error
        return cls(files, tuple(map(str, clips)), size, fps, long_frames)


def recordings(
    where: str, job: Job, pairs: Sequence[tuple[str, str]] = ()
) -> Iterator[Recording | None]:
    """Yield a recording of each model, in their order; None for each stream that is finished.

    Args:
        where: see :func:`movinet_runtime.workers.results`.
        job: with paths as they are here.
        pairs: folders here and as workers see them.

    Raises:
        WorkersError: see there, or a stream is lost: nothing is compared without it.
        SourceError, ModelFileError: as in one process.
    """

    def there(path: str) -> str:
        return mapped(path, list(pairs))

    sent = replace(
        job,
        models=tuple((there(path), sha256) for path, sha256 in job.models),
        clips=tuple(map(there, job.clips)),
    )
    streams = [LONG, *range(len(job.clips))]  # what lasts longest begins first
    tasks = ((sent, model, stream) for model in range(len(job.models)) for stream in streams)
    models = [(here, path) for (here, _), (path, _) in zip(job.models, sent.models, strict=True)]
    parts: list[tuple[Logits, list[StateHealth]]] = []
    for found in ordered_results(where, work, tasks, models, CODE):
        if isinstance(found, Lost):
            raise WorkersError(f"a stream is lost: {found.reason}")
        parts.append(found)
        yield None
        if len(parts) == len(streams):
            (long, states), *short = parts
            yield Recording([logits for logits, _ in short], long, states)
            parts = []


def work(task: tuple[Job, int, int]) -> tuple[Logits, list[StateHealth]]:
    """Record a stream of a model, which is loaded once for each thread of a worker.

    Raises:
        ModelFileError: a model is not the one that the job began with.
        SourceError: a clip cannot be read.
    """
    job, model, stream = task
    if getattr(_held, "key", None) != (job, model):
        _held.recorder, _held.key = _recorder(*job.models[model]), (job, model)
    recorder: Recorder = _held.recorder
    if stream != LONG:
        return recorder.short(frames_at(Path(job.clips[stream]), job.size, job.fps)), []
    streams = Streams.read([Path(clip) for clip in job.clips], job.size, job.fps, job.long_frames)
    return recorder.long(streams)


_held = threading.local()


def _recorder(path: str, sha256: str) -> Recorder:
    recorder = Recorder(Path(path), threads=1)
    if digest(Path(path)) != sha256:
        raise ModelFileError(f"{path} is not the model that this run began with")
    return recorder
