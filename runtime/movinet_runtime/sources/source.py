"""Something that gives frames."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from movinet_runtime.errors import SourceError
from movinet_runtime.sources.frame import Frame, sample
from movinet_runtime.sources.live import Live


@dataclass(frozen=True)
class FrameSource:
    """Something that gives frames, each time from the start.

    ``duration`` is what the container claims, in seconds, for progress bars only;
    ``live`` is the camera or stream, where it is one.
    """

    name: str
    frames: Iterable[Frame]
    duration: float | None = None
    live: Live | None = None

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def sampled(self, fps: float) -> Iterator[Frame]:
        """Yield frames at a fixed rate, chosen by their timestamps.

        A live source gives its newest frame, and never repeats one.

        Raises:
            SourceError: the source has no frames, or breaks off with an error.
        """
        if self.live is not None:
            yield from self.live.sampled(fps)
            return
        empty = True
        for frame in sample(self.frames, fps):
            empty = False
            yield frame
        if empty:
            raise SourceError(f"{self.name} has no frames")
