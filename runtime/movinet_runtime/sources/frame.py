"""A picture with its time, and frames at a fixed rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import SourceError

# Two sampling instants are never closer than this; timestamps are rounded by containers.
TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded picture, upright. Frames are told apart by identity, not by their pixels.

    Attributes:
        image: uint8 [h, w, 3] RGB.
        time: seconds, from any origin.
        duration: seconds it is meant to be seen; 0: not known.
        reopened: whether it is the first one after a live source was lost.
    """

    image: NDArray[np.uint8]
    time: float
    duration: float = 0.0
    reopened: bool = False


def sample(frames: Iterable[Frame], fps: float) -> Iterator[Frame]:
    """Yield, at the instants k/fps after the first frame, the frame that is then seen.

    Slower sources repeat frames, faster ones lose some; a frame that is not later than
    the one before it is dropped. The times given out start at 0.

        source  |0----|1----|2----|3----|      k/fps  0     1     2
        sampled  0           1           3            ^     ^     ^
    """
    if not fps > 0:
        raise SourceError(f"frames per second must be positive, not {fps}")
    start, shown, k = 0.0, None, 0
    gap = 1 / fps
    for frame in frames:
        if shown is None:
            start = frame.time
        elif frame.time <= shown.time:
            continue
        else:
            gap = frame.time - shown.time
            while start + k / fps < frame.time - TOLERANCE:
                yield Frame(shown.image, k / fps)
                k += 1
        shown = frame
    if shown is not None:
        end = shown.time + (shown.duration or gap)
        while k == 0 or start + k / fps < end - TOLERANCE:
            yield Frame(shown.image, k / fps)
            k += 1
