"""The run of ``movinet label``: tasks out, parts into the journal, rows out of it in order.

entries -> look at each file -> pieces -> label them -> journal     any order, many workers
journal -> parts of each file in order -> rows -> output            at the end, however it comes
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from movinet_runtime.archive.formats import Cues, Sink, writer_of
from movinet_runtime.archive.journal import Journal, Part
from movinet_runtime.archive.pieces import About, Job, Piece, mapped, pieces
from movinet_runtime.archive.plan import Entry
from movinet_runtime.archive.rows import Row, error_row, rows
from movinet_runtime.archive.work import work
from movinet_runtime.classifier import StreamModel
from movinet_runtime.errors import MovinetError
from movinet_runtime.facts import facts
from movinet_runtime.files import written_whole
from movinet_runtime.workers import Lost, results


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        entries: the streams, in the order of the output.
        job: what is done with them, where this machine is.
        output: the file.
        where: workers (:func:`movinet_runtime.workers.results`).
        paths: how theirs differ from ours.
        min_duration: of events, seconds.
        subtitles: a file for each video; empty: none.
        resume: go on with the journal.
    """

    entries: Sequence[Entry]
    job: Job
    output: Path
    where: str = "local"
    paths: Sequence[tuple[str, str]] = ()
    min_duration: float = 0.4
    subtitles: dict[str, Path] = field(default_factory=dict)
    resume: bool = False


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        files: of which all is finished.
        failed: of them, those with an error.
        total: of the request.
        skipped: pieces that were finished before.
        cut: files in several pieces.
        seen: frames, with lead-ins, in this run.
        told: seconds of video that are finished, in this run.
        began: clock at the begin.
        seconds: spent in workers, by stage.
    """

    total: int
    files: int = 0
    failed: int = 0
    skipped: int = 0
    cut: int = 0
    seen: int = 0
    told: float = 0.0
    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, part: Part, fps: float) -> None:
        """Count a piece that was finished in this run."""
        self.seen += part.seen
        self.told += sum(row[1] for row in part.rows) / fps
        for name, value in part.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    @property
    def speed(self) -> float:
        """Seconds of video in a second."""
        return self.told / max(1e-9, time.monotonic() - self.began)

    def as_json(self) -> dict[str, Any]:
        """Return what a script wants to know."""
        return {
            "files": self.files,
            "failed": self.failed,
            "skipped_pieces": self.skipped,
            "frames": self.seen,
            "hours": round(self.told / 3600, 4),
            "seconds": round(time.monotonic() - self.began, 3),
            "times_real_time": round(self.speed, 2),
            "stage_seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


class Interrupted(MovinetError):  # noqa: N818 (an interrupt)
    """A run that was stopped by a signal, and what there is of it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


Show = Callable[[Progress], None]


def run(request: Request, model: StreamModel, show: Show = lambda _: None) -> Progress:
    """Label all entries, and write what is finished, whatever ends the run.

    Args:
        request: what is wanted.
        model: loaded here: for labels and thresholds.
        show: called after each piece.

    Raises:
        WorkersError, OutputError, ModelFileError: the output holds the files that were finished.
        UsageError: an unfinished journal and no ``resume``.
        Interrupted: by a signal; the same.
    """
    writer_of(request.output)
    path = request.output.with_name(request.output.name + ".journal")
    journal = Journal(path, request.resume)
    if not request.output.exists():
        journal.told = 0
    batch = _Batch(request, journal, model.streams)
    whole = False
    try:
        try:
            batch.run(show)
        except MovinetError as error:
            said = f"{error}; {_saved(request, model, batch, journal)}"
            raise type(error)(said) from error
        except (KeyboardInterrupt, SystemExit) as signal:
            code = signal.code if isinstance(signal, SystemExit) else 130
            said = f"interrupted: {_saved(request, model, batch, journal)}"
            raise Interrupted(said, code if isinstance(code, int) else 1) from None
        _write(request, model, batch, journal)
        journal.tell(batch.progress.files)
        whole = True
    finally:
        journal.close(whole)
    return batch.progress


def _saved(request: Request, model: StreamModel, batch: "_Batch", journal: Journal) -> str:
    """Write what is finished, if that is no less than what is there; say what there is."""
    done, total = batch.progress.files, len(request.entries)
    if done < journal.told:
        return f"{request.output} is left as it was ({journal.told} files), --resume goes on"
    if done:
        _write(request, model, batch, journal)
        journal.tell(done)
        return f"{request.output} holds {done} of {total} files, --resume goes on"
    if len(journal):
        return f"no file is finished, but parts are: --resume goes on ({journal.path})"
    return "nothing is finished"


class _Batch:
    """What is known of each entry while the run lasts."""

    def __init__(self, request: Request, journal: Journal, streams: int) -> None:
        self.request, self._journal, self._streams = request, journal, streams
        self.abouts: dict[int, About] = {}
        self.progress = Progress(len(request.entries))
        self._left: dict[int, int] = {}  # pieces that a file lacks
        self._failed: set[int] = set()
        self._waiting: deque[tuple[int, Piece]] = deque()
        self._looking = 0
        self._out: dict[int, list[tuple[int, Piece]] | int] = {}
        self._alone: deque[tuple[int, Piece]] = deque()
        self._job = replace(request.job, model=self._there(request.job.model))

    def _there(self, path: str) -> str:
        return mapped(path, list(self.request.paths))

    def pieces(self, index: int) -> Iterator[Piece]:
        """Cut an entry that was looked at."""
        entry = self.request.entries[index]
        return pieces(entry, self._there(entry.path), self.abouts[index], self._job)

    def run(self, show: Show) -> None:
        """Work until all is in the journal."""
        there = partial(facts, self._job.model)
        here = facts(self.request.job.model)
        for number, found in results(self.request.where, work, self._tasks(), there, here):
            sent = self._out.pop(number)
            if isinstance(sent, int):
                self._looked(sent, found)
            else:
                self._labelled(sent, found)
            show(self.progress)

    def _tasks(self) -> Iterator[Any]:
        """Give pieces as soon as there are enough for a step, else look at the next file."""
        number = 0
        files = iter(range(len(self.request.entries)))
        while True:
            sent: list[tuple[int, Piece]] | int | None = None
            if self._alone:
                sent = [self._alone.popleft()]
            elif len(self._waiting) >= self._streams:
                sent = self._take()
            elif (index := next(files, None)) is not None:
                sent = index
                self._looking += 1
            elif self._waiting and not self._looking:
                sent = self._take()
            if sent is None:
                if not self._out:
                    return
                yield None
                continue
            self._out[number] = sent
            number += 1
            if isinstance(sent, int):
                yield self._there(self.request.entries[sent].path)
            else:
                yield self._job, tuple(piece for _, piece in sent)

    def _take(self) -> list[tuple[int, Piece]]:
        count = min(self._streams, len(self._waiting))
        return [self._waiting.popleft() for _ in range(count)]

    def _looked(self, index: int, found: Any) -> None:
        self._looking -= 1
        about = About(error=found.reason) if isinstance(found, Lost) else found
        self.abouts[index] = about
        if about.error is not None:
            self._failed.add(index)
            self._left[index] = 1
            self._one_less(index)
            return
        cut = list(self.pieces(index))
        wanted = [piece for piece in cut if piece.key not in self._journal]
        self.progress.skipped += len(cut) - len(wanted)
        known = (self._journal.part(piece.key) for piece in cut if piece not in wanted)
        if any(part.error is not None for part in known):  # of a copy that this run has read
            self._failed.add(index)
        self.progress.cut += len(cut) > 1
        self._left[index] = len(wanted) or 1
        self._waiting.extend((index, piece) for piece in wanted)
        if not wanted:
            self._one_less(index)

    def _labelled(self, sent: list[tuple[int, Piece]], found: Any) -> None:
        if isinstance(found, Lost):
            if len(sent) > 1:  # which of them was it?
                self._alone.extend(sent)
                return
            found = [Part([], found.reason)]
        for (index, piece), part in zip(sent, found, strict=True):
            self._journal.add(piece.key, part)
            self.progress.count(part, self._job.fps)
            if part.error is not None:
                self._failed.add(index)
            self._one_less(index)

    def _one_less(self, index: int) -> None:
        self._left[index] -= 1
        if not self._left[index]:
            del self._left[index]
            self.progress.files += 1
            if index in self._failed:
                self._failed.discard(index)
                self.progress.failed += 1

    def finished(self, index: int) -> bool:
        """Whether all of an entry is known."""
        return index in self.abouts and index not in self._left


def _write(request: Request, model: StreamModel, batch: _Batch, journal: Journal) -> None:
    """Write the rows of all entries that are finished, in order."""
    with ExitStack() as stack:
        sink: Sink = stack.enter_context(writer_of(request.output)(request.output))
        for index, entry in enumerate(request.entries):
            if not batch.finished(index):
                continue
            cues = Cues()
            for row in _rows(request, model, batch, journal, index):
                sink(row)
                cues.add(row)
            if (place := request.subtitles.get(entry.path)) is not None:
                with written_whole(place) as temporary:
                    temporary.write_text(cues.text(), "utf-8")


def _rows(
    request: Request, model: StreamModel, batch: _Batch, journal: Journal, index: int
) -> Iterator[Row]:
    entry, about = request.entries[index], batch.abouts[index]
    truth = model.labels[entry.truth] if isinstance(entry.truth, int) else entry.truth
    if about.error is not None:
        yield error_row(entry, about.error, truth)
        return
    parts = (journal.part(piece.key) for piece in batch.pieces(index))
    yield from rows(
        entry, parts, request.job, model.labels, model.thresholds, request.min_duration, truth
    )
