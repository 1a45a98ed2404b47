"""Leaving out of the decoder what nobody looks at and no other frame is made from.

Of H.264 and most other codecs, some frames are only shown (non-reference frames, half of those of
an encoder's usual settings). One of them that is not on the screen at any instant of a sampling
grid need not be decoded, and all others stay as they are, to the bit.
"""

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from typing import Any

from movinet_runtime.sources.frame import LONGEST_GAP

AHEAD = 48  # packets that are read ahead: more than any codec reorders
MARGIN = 3e-3  # seconds, for rounded times


class Looks:
    """The instants at which somebody looks: start + k / fps.

    Args:
        fps: of the instants.
        start: seconds on the clock of the stream; None: at the first frame.
    """

    def __init__(self, fps: float, start: float | None = None) -> None:
        self._fps, self.start = fps, start

    def sees(self, begin: float, end: float) -> bool:
        """Whether a frame that is shown from ``begin`` to ``end`` may be seen."""
        if self.start is None:
            return True
        k = math.ceil((begin - MARGIN - self.start) * self._fps)
        return self.start + max(0, k) / self._fps <= end + MARGIN


def packets_seen(container: Any, stream: Any, looks: Looks) -> Iterator[tuple[Any, bool]]:
    """Yield a stream's packets, and whether what they show may be seen.

    A packet without a time, and the last ones, may always be; and all around a clock that was set
    and after it, since the instants follow the pictures then and not the clock.
    """
    ahead: deque[Any] = deque()
    times: list[int] = []  # of packets around, in the order in which they are shown
    passed: deque[int] = deque()

    last: int | None = None
    set_anew = False

    def seen(packet: Any) -> bool:
        if packet.pts is None or set_anew:
            return True
        passed.append(packet.pts)
        if len(passed) > AHEAD:
            del times[bisect_right(times, passed.popleft()) - 1]
        place = bisect_right(times, packet.pts)
        if place == len(times):
            return True
        tick = float(stream.time_base)
        return looks.sees(packet.pts * tick, times[place] * tick)

    for packet in container.demux(stream):
        if packet.pts is not None:
            insort(times, packet.pts)
        if packet.dts is not None:
            if last is not None:
                step = (packet.dts - last) * float(stream.time_base)
                set_anew |= not 0 <= step <= LONGEST_GAP
            last = packet.dts
        ahead.append(packet)
        if len(ahead) > AHEAD:
            first = ahead.popleft()
            yield first, seen(first)
    for packet in ahead:
        yield packet, seen(packet)
