"""What models answer on clips: the work of ``movinet accuracy``, here or on workers.

A task is a run of clips in which states may be carried on: 40 for the mode ``stream``, else one.
Its answers depend on nothing but itself, so that any workers give the same.
"""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.clip_model import ClipModel, load_model
from movinet_benchmarks.protocol import Protocol
from movinet_models.clips import LabelledClip
from movinet_runtime import StreamClassifier, StreamModel
from movinet_runtime.archive.pieces import mapped
from movinet_runtime.errors import ModelFileError, SourceError, UsageError
from movinet_runtime.facts import ordered_results
from movinet_runtime.workers import Lost

Video = Sequence[NDArray[np.uint8]]
Logits = NDArray[np.float32]
Answers = list[Logits] | str  # of each player, or why the clip cannot be read
Run = Sequence[tuple[int, LabelledClip]]  # numbered from the first clip of all

CODE = ("movinet_runtime", "movinet_models", "movinet_benchmarks")


class Player:
    """One model in one mode, with a state of its own.

    Args:
        classifier: with a state of its own, or a base model.
        mode: of :data:`movinet_benchmarks.accuracy.MODES`.
    """

    def __init__(self, classifier: StreamClassifier | ClipModel, mode: str) -> None:
        self.classifier, self.mode = classifier, mode

    def answer(self, video: Video, number: int, anew: bool) -> Logits:
        """Return the logits [classes] after a clip.

        Args:
            video: uint8 [h, w, 3] frames, at least one.
            number: of the clip; says the order of frames, in the mode ``shuffled``.
            anew: no state is carried into it; only the mode ``stream`` carries any.
        """
        if isinstance(self.classifier, ClipModel):
            return self.classifier.classify(video)
        if anew or self.mode != "stream":
            self.classifier.reset()
        if self.mode == "shuffled":
            order = np.random.default_rng([0, number]).permutation(len(video))
            video = [video[i] for i in order]
        elif self.mode == "single":
            video = video[-1:]
        for frame in video:
            prediction = self.classifier.step(frame)
        return prediction.logits


@dataclass(frozen=True)
class Job:
    """What a worker has to know.

    Attributes:
        models: paths, as it sees them, and their SHA-256.
        modes: that each is played in.
        protocol: how clips are shown.
        horizon: of stream models; None: their own.
        labels: for models without any inside.
    """

    models: tuple[tuple[str, str], ...]
    modes: tuple[str, ...]
    protocol: Protocol
    horizon: int | None = None
    labels: tuple[str, ...] | None = None


def begun(model: StreamModel | ClipModel, horizon: int | None) -> StreamClassifier | ClipModel:
    """Return what classifies with a model.

    Raises:
        UsageError: a horizon, for a model without states.
    """
    if isinstance(model, StreamModel):
        return model.stream(horizon)
    if horizon is not None:
        raise UsageError(f"{model.path} has no states, and so no --horizon")
    return model


def runs(clips: Sequence[LabelledClip], length: int) -> list[Run]:
    """Cut numbered clips into runs."""
    numbered = list(enumerate(clips))
    edges = [*range(0, len(clips), length), len(clips)]
    return [numbered[a:b] for a, b in pairwise(edges)]


def play(players: Sequence[Player], protocol: Protocol, run: Run) -> Iterator[Answers]:
    """Yield what players answer on each clip of a run."""
    anew = True
    for number, clip in run:
        try:
            video = protocol.read(clip)
        except SourceError as error:
            yield str(error)
            continue
        yield [player.answer(video, number, anew) for player in players]
        anew = False


def elsewhere(
    where: str, job: Job, cut: Sequence[Run], pairs: Sequence[tuple[str, str]] = ()
) -> Iterator[Answers]:
    """Yield the same from workers, in the same order.

    Args:
        where: see :func:`movinet_runtime.workers.results`.
        job: with paths as they are here.
        cut: the runs.
        pairs: folders here and as workers see them.

    Raises:
        WorkersError, UsageError, MissingPackageError: see there.
    """

    def there(path: str) -> str:
        return mapped(path, list(pairs))

    sent = replace(job, models=tuple((there(path), sha256) for path, sha256 in job.models))
    tasks = (
        (sent, [(i, replace(clip, path=Path(there(str(clip.path))))) for i, clip in run])
        for run in cut
    )
    models = [(here, path) for (here, _), (path, _) in zip(job.models, sent.models, strict=True)]
    told = ordered_results(where, work, tasks, models, CODE)
    for run, found in zip(cut, told, strict=True):
        if isinstance(found, Lost):
            yield from (f"{clip.path}: {found.reason}" for _, clip in run)
        else:
            yield from found


def work(task: tuple[Job, Run]) -> list[Answers]:
    """Do a task, with models that are loaded once for each thread of a worker.

    Raises:
        ModelFileError: a model is not the one that the job began with.
    """
    job, run = task
    if getattr(_held, "job", None) != job:
        _held.players, _held.job = _players(job), job
    return list(play(_held.players, job.protocol, run))


_held = threading.local()


def _players(job: Job) -> list[Player]:
    found = []
    for path, sha256 in job.models:
        model = load_model(Path(path), job.labels, threads=1)
        if digest(Path(path)) != sha256:
            raise ModelFileError(f"{path} is not the model that this run began with")
        found += [Player(begun(model, job.horizon), mode) for mode in job.modes]
    return found


def job_of(
    models: Iterable[StreamModel | ClipModel],
    modes: Sequence[str],
    protocol: Protocol,
    horizon: int | None,
    labels: Sequence[str] | None,
) -> Job:
    """Describe what is to be done with models that are loaded here."""
    files = tuple((str(model.path), digest(model.path)) for model in models)
    named = None if labels is None else tuple(labels)
    return Job(files, tuple(modes), protocol, horizon, named)


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
