"""What gives frames: a source can be run any number of times, each run has its own state."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from weakref import WeakSet

from movinet_runtime.errors import NoFramesError
from movinet_runtime.sources.frame import Frame, Irregular, checked_rate, sample

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Say nothing: what sources have to tell goes here by default."""


class Run(ABC):
    """One run of a source: an iterator of frames that holds a device, a file, a thread.

    Ends with the source or with :meth:`close`, from any thread; a run that nobody holds any
    more closes itself.
    """

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Frames left out: late ones of a live source, elsewhere those whose times go back."""

    @property
    def reopened(self) -> int:
        """How often a live source was lost and came back."""
        return 0

    def __iter__(self) -> Iterator[Frame]:
        return self

    @abstractmethod
    def __next__(self) -> Frame:
        """Wait for the next frame."""

    @abstractmethod
    def close(self) -> None:
        """End the run and free what it holds; a second time does nothing."""

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Source(ABC):
    """Something that gives frames.

        with open_frames("camera:0") as source:
            for frame in source.sampled(5): ...

    Attributes:
        name: for people; passwords are left out.
        duration: seconds that the container claims, for progress bars only; None: unknown.
        live: whether it has no end of its own (cameras, streams, pipes): whoever reads it
            decides when it was enough.
    """

    live = False

    def __init__(self, name: str, duration: float | None = None, report: Say = silent) -> None:
        self.name, self.duration, self.report = name, duration, report
        self._runs: WeakSet[Run] = WeakSet()

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Give all frames with their own times."""

    @abstractmethod
    def _begin(self, fps: float) -> Run:
        """Begin a run."""

    def sampled(self, fps: float) -> Run:
        """Begin a run that gives frames at a fixed rate.

        Files begin at their start, and frames are chosen by their timestamps. Live sources
        begin now, give their newest frame and never repeat one.

        Raises:
            SourceError: no frame rate; from the run: the source has no frames, breaks off
                with an error, cannot be opened.
            LostError: from the run: a live source stayed lost.
        """
        run = self._begin(checked_rate(fps))
        self._runs.add(run)
        return run

    def close(self) -> None:
        """End every run in progress."""
        for run in list(self._runs):
            run.close()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FrameSource(Source):
    """Frames with times of their own: a file, a list, a generator.

    Args:
        name: for messages.
        frames: each run iterates them anew.
        duration: seconds, where it is known.
        report: called with a line about what was odd.
    """

    def __init__(
        self,
        name: str,
        frames: Iterable[Frame],
        duration: float | None = None,
        report: Say = silent,
    ) -> None:
        super().__init__(name, duration, report)
        self.frames = frames

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def _begin(self, fps: float) -> Run:
        irregular = Irregular()
        sampled = sample(self.frames, fps, irregular)
        return SampledRun(self.name, sampled, irregular, self.report)


class SampledRun(Run):
    """A run through frames with times of their own."""

    def __init__(
        self, name: str, sampled: Iterator[Frame], irregular: Irregular, report: Say
    ) -> None:
        self._name, self._report, self._irregular = name, report, irregular
        self._sampled = (frame for frame in sampled)  # a generator, which can be closed
        self._empty, self._closed = True, False

    @property
    def dropped(self) -> int:
        """Frames that were left out, since their times go back."""
        return self._irregular.dropped

    def __next__(self) -> Frame:
        if self._closed:
            raise StopIteration
        try:
            frame = next(self._sampled)
        except StopIteration:
            if self._empty:
                raise NoFramesError(f"{self._name} has no frames") from None
            self.close()
            raise
        self._empty = False
        return frame

    def close(self) -> None:
        """See :meth:`Run.close`."""
        if self._closed:
            return
        self._closed = True
        with suppress(ValueError):  # another thread is in it: it ends there after this frame
            self._sampled.close()
        odd = self._irregular
        if odd.dropped:
            self._report(f"{self._name}: {odd.dropped} frames left out, their times go back")
        if odd.jumps:
            self._report(f"{self._name}: its clock jumps {odd.jumps} times; frames just follow")
