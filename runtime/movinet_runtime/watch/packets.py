"""A camera's encoded pictures of the last seconds: what clips are cut from.

    packets   K p p p K p p p K p p p K      K: key frame, where a player can begin
    kept            |- before -| event       from the last key frame that is early enough

They are the camera's own where it sends H.264 or HEVC, else those of an encoder that runs along.
"""

import io
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT_CODECS = ("h264", "hevc")  # what players in browsers and phones take out of an MP4
MOST_BYTES = 64_000_000  # of one camera's packets in memory
CLOCK = Fraction(1, 90_000)  # of encoded packets
QUALITY, KEY_FRAMES = 26, 2.0  # x264's constant rate factor; seconds from key frame to key frame


@dataclass(frozen=True, eq=False)
class Packet:
    """An encoded picture.

    Attributes:
        data: its bytes, as the container had them.
        pts, dts: when it is shown and decoded, in units of the time base; None: not said.
        time_base: seconds.
        key: whether a player can begin with it.
        at: when it came, seconds of the machine's clock.
    """

    data: bytes
    pts: int | None
    dts: int | None
    time_base: Fraction
    key: bool
    at: float


class Template:
    """What a file must know of a stream whose packets it takes.

    A copy in a container of its own, which is never written: the stream's container is closed
    by its reader while a clip is still made.

    Attributes:
        stream: to make others from.
        encoded: whether the packets come from our encoder.
    """

    def __init__(self, stream: Any, encoded: bool = False) -> None:
        import av

        self._holder = av.open(io.BytesIO(), "w", format="mp4")
        self.stream = self._holder.add_stream_from_template(stream, opaque=True)
        self.codec = str(stream.codec_context.name)
        self.encoded = encoded


class PacketRing:
    """The packets of the last seconds; they are added and taken by different threads.

    Args:
        keep: seconds.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._lock = Lock()
        self._packets: deque[Packet] = deque()
        self._bytes = 0

    def clear(self) -> None:
        """Forget them: a new stream begins."""
        with self._lock:
            self._packets.clear()
            self._bytes = 0

    def add(self, packet: Packet) -> None:
        """Add one, and forget the groups of pictures that are too old, or too much."""
        with self._lock:
            if not self._packets and not packet.key:
                return  # no player can begin here
            self._packets.append(packet)
            self._bytes += len(packet.data)
            while self._bytes > MOST_BYTES or self._second_key() <= packet.at - self._keep:
                self._drop_group()

    def since(self, time: float) -> list[Packet]:
        """Return those from the last key frame on that is not later than a time, or all."""
        with self._lock:
            packets = list(self._packets)
        begin = 0
        for place, packet in enumerate(packets):
            if packet.key and packet.at <= time:
                begin = place
        return packets[begin:]

    @property
    def bytes(self) -> int:
        """How much it holds."""
        return self._bytes

    def _second_key(self) -> float:
        return next((p.at for p in list(self._packets)[1:] if p.key), float("inf"))

    def _drop_group(self) -> None:
        first = True
        while self._packets and (first or not self._packets[0].key):
            self._bytes -= len(self._packets.popleft().data)
            first = False


class Encoder:
    """Makes packets of pictures as they come, for sources that have none to keep.

    Args:
        size: (height, width) of the pictures; an odd last row or column is cut off.
        rate: about how many come in a second.
    """

    def __init__(self, size: tuple[int, int], rate: float) -> None:
        import av

        self._av = av
        self.size = size
        self._holder = av.open(io.BytesIO(), "w", format="mp4")
        options = {"crf": str(QUALITY), "preset": "ultrafast", "tune": "zerolatency"}
        options |= {"threads": "1", "g": str(max(1, round(KEY_FRAMES * rate)))}
        stream = self._holder.add_stream("libx264", round(max(1, rate)), options=options)
        stream.height, stream.width = (side // 2 * 2 for side in size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = CLOCK
        self._holder.start_encoding()  # what the template needs is known from here on
        self._stream = stream
        self.template = Template(stream, encoded=True)
        self._began: float | None = None
        self._last = -1

    def encode(self, image: NDArray[np.uint8], at: float) -> list[Packet]:
        """Return the packets of a picture of that size, which came at a time."""
        self._began = at if self._began is None else self._began
        height, width = self._stream.height, self._stream.width
        even = np.ascontiguousarray(image[:height, :width])
        picture = self._av.VideoFrame.from_ndarray(even, format="rgb24")
        self._last = max(self._last + 1, round((at - self._began) / CLOCK))
        picture.pts, picture.time_base = self._last, CLOCK
        return [copied(packet, at) for packet in self._stream.encode(picture)]


def copied(packet: Any, at: float, shift: int = 0) -> Packet:
    """Return a copy of PyAV's packet, with its times shifted by so many units."""
    pts, dts = (None if one is None else one + shift for one in (packet.pts, packet.dts))
    return Packet(bytes(packet), pts, dts, packet.time_base, bool(packet.is_keyframe), at)
