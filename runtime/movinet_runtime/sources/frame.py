"""A picture with its time, and frames at a fixed rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.description import FASTEST
from movinet_runtime.errors import SourceError

# Two sampling instants are never closer than this; timestamps are rounded by containers.
TOLERANCE = 1e-3
# A step in time beyond this is a clock that was set, not a picture that stood so long. GIFs
# can show one for 655 s.
LONGEST_GAP = 660.0
# Times that go back by less are frames out of order, by more a clock that began anew.
DISORDER = 1.0


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


@dataclass
class Irregular:
    """What was odd about the times of a source.

    Attributes:
        dropped: frames left out, since they were not later than the one before them.
        jumps: how often the clock was set: the frame after it simply follows.
    """

    dropped: int = 0
    jumps: int = 0


def checked_rate(fps: float) -> float:
    """Return a frame rate.

    Raises:
        SourceError: it is none.
    """
    if not 0 < fps <= FASTEST:  # NaN fails as well
        raise SourceError(f"frames per second must be positive, {FASTEST:g} at most, not {fps:g}")
    return fps


def sample(
    frames: Iterable[Frame], fps: float, irregular: Irregular | None = None
) -> Iterator[Frame]:
    """Yield, at the instants k/fps after the first frame, the frame that is then seen.

    Slower sources repeat frames, faster ones lose some. The times given out start at 0.

        source  |0----|1----|2----|3----|      k/fps  0     1     2
        sampled  0           1           3            ^     ^     ^

    Times that are out of order by up to ``DISORDER`` seconds cost their frames. A clock that
    was set, forward by more than ``LONGEST_GAP`` or back, costs none: the next frame follows
    as the one before it did.

        times    1.0  1.2  86401.4  1.6  1.8       (one bad timestamp)
        taken    1.0  1.2  1.4      1.6  1.8

    Args:
        frames: with their times.
        fps: of the instants.
        irregular: what was odd is counted here.

    Raises:
        SourceError: no frame rate.
    """
    irregular = Irregular() if irregular is None else irregular
    shown: Frame | None = None
    start = shift = now = 0.0  # now: the shown frame's time, with what clocks were set by
    gap = 1 / checked_rate(fps)
    k = 0
    for frame in frames:
        if shown is None:
            start = now = frame.time
        else:
            step = frame.time + shift - now
            if -DISORDER <= step <= 0:
                irregular.dropped += 1
                continue
            if not 0 < step <= LONGEST_GAP:  # NaN too
                irregular.jumps += 1
                step = gap
                shift = now + step - frame.time
            gap, now = step, now + step
            while start + k / fps < now - TOLERANCE:
                yield Frame(shown.image, k / fps)
                k += 1
        shown = frame
    if shown is not None:
        end = now + (shown.duration if 0 < shown.duration <= LONGEST_GAP else gap)
        while k == 0 or start + k / fps < end - TOLERANCE:
            yield Frame(shown.image, k / fps)
            k += 1
