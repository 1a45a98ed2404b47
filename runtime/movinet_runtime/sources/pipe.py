"""Raw frames on standard input."""

import sys
from collections.abc import Iterator

import numpy as np

from movinet_runtime.errors import SourceError
from movinet_runtime.sources.frame import Frame, Irregular
from movinet_runtime.sources.source import FrameSource, Run, SampledRun, Say, silent


class PipeSource(FrameSource):
    """RGB frames of (width, height) on standard input; whoever writes it sets the pace."""

    live = True

    def __init__(self, size: tuple[int, int], fps: float, report: Say = silent) -> None:
        super().__init__("standard input", _RawFrames(size, fps), report=report)
        self._fps = fps

    def _begin(self, fps: float) -> Run:
        if fps != self._fps:
            return super()._begin(fps)
        # Each frame as it comes: nothing waits for the one after it.
        return SampledRun(self.name, iter(self.frames), Irregular(), self.report)


class _RawFrames:
    def __init__(self, size: tuple[int, int], fps: float) -> None:
        self._size, self._fps = size, fps

    def __iter__(self) -> Iterator[Frame]:
        width, height = self._size
        count = width * height * 3
        index = 0
        while data := sys.stdin.buffer.read(count):
            if len(data) < count:
                raise SourceError(
                    f"standard input breaks off within frame {index}: {len(data)} of {count} "
                    "bytes; is --size right?"
                )
            image = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            yield Frame(image, index / self._fps, 1 / self._fps)
            index += 1
