"""Raw frames on standard input."""

import sys
from collections.abc import Iterator

import numpy as np

from movinet_runtime.errors import SourceError
from movinet_runtime.sources.frame import Frame


def raw_frames(size: tuple[int, int], fps: float) -> Iterator[Frame]:
    """Read RGB frames of (width, height) from standard input; its owner sets the pace.

    Raises:
        SourceError: it breaks off within a frame.
    """
    width, height = size
    count = width * height * 3
    index = 0
    while data := sys.stdin.buffer.read(count):
        if len(data) < count:
            raise SourceError(
                f"standard input breaks off within frame {index}: {len(data)} of {count} bytes; "
                "is --size right?"
            )
        image = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        yield Frame(image, index / fps, 1 / fps)
        index += 1
