"""A camera's source: live, its packets kept on the side, files played over and over."""

from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Condition, Lock
from typing import Any, Protocol

from movinet_runtime.addresses import redacted
from movinet_runtime.errors import SourceError
from movinet_runtime.sources import CAMERAS, open_frames
from movinet_runtime.sources.camera import open_v4l2, picamera
from movinet_runtime.sources.clock import Clock
from movinet_runtime.sources.decode import reason, upright
from movinet_runtime.sources.live import Grab, LiveSource, Opener
from movinet_runtime.sources.network import (
    OPEN_TIMEOUT,
    READ_TIMEOUT,
    grabs,
    open_network,
    opened,
)
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import CameraConfig, plays_images
from movinet_runtime.watch.packets import KEPT_CODECS, Packet, Template, copied

OPENING = OPEN_TIMEOUT + READ_TIMEOUT  # seconds until a camera may be there


class Keeper(Protocol):
    """Who wants a camera's packets; called from the reader's thread."""

    def opened(self, template: Template | None) -> None:
        """A stream begins, whose packets cannot be kept if there is no template."""

    def keep(self, packet: Packet) -> None:
        """A packet came."""


class KeeperOfRun(Keeper):
    """Hands on what a run brings while it is entered.

    A reader that hangs is left behind, and may come back when another one has begun.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper: Keeper | None = keeper
        self._lock = Lock()

    def __enter__(self) -> "KeeperOfRun":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._keeper = None

    def opened(self, template: Template | None) -> None:
        """See :class:`Keeper`."""
        with self._lock:
            if self._keeper is not None:
                self._keeper.opened(template)

    def keep(self, packet: Packet) -> None:
        """See :class:`Keeper`."""
        with self._lock:
            if self._keeper is not None:
                self._keeper.keep(packet)


def watched(camera: CameraConfig, keeper: Keeper | None, say: Say, clock: Clock) -> LiveSource:
    """Return a camera's source; a run of it ends without a picture for ``lost_after`` seconds.

    Args:
        camera: whose.
        keeper: gets the packets; None: nobody wants them.
        say: told when it is lost, and when it is back.
        clock: tells the times.
    """
    opener = _opener(camera.source, keeper, clock)
    name = f"{camera.name} ({redacted(camera.source)})"
    return LiveSource(name, opener, say, camera.lost_after, clock, OPENING)


def _opener(source: str, keeper: Keeper | None, clock: Clock) -> Opener:
    kind, _, number = source.partition(":")
    if kind == "picamera":
        return _without_packets(picamera(int(number)), keeper)
    if source.startswith(CAMERAS):
        device = source if source.startswith("/") else f"/dev/video{number}"
        return lambda: _live(open_v4l2(device), keeper, clock)
    if "://" in source:
        return lambda: _live(open_network(source), keeper, clock)
    if plays_images(source):
        return _without_packets(lambda: _animation(source, clock), keeper)
    return lambda: _file(source, keeper, clock)


def _without_packets(opener: Opener, keeper: Keeper | None) -> Opener:
    def open_it() -> Iterator[Grab]:
        pictures = opener()
        if keeper is not None:
            keeper.opened(None)
        return pictures

    return open_it


def _live(container: Any, keeper: Keeper | None, clock: Clock) -> Iterator[Grab]:
    """Decode what comes; a file behind an address is played at its own pace, once."""
    if container.duration is not None and container.duration > 0:
        return _paced(container, _tee(container, keeper, clock), clock)
    return grabs(container, _tee(container, keeper, clock), "SLICE")


def _tee(
    container: Any, keeper: Keeper | None, clock: Clock, shift: int = 0
) -> Callable[[Any], None]:
    """Give a function that keeps packets, with times shifted by so many units."""
    if keeper is None:
        return lambda _: None
    stream = container.streams.video[0]
    kept = stream.codec_context.name in KEPT_CODECS
    if not shift:
        keeper.opened(Template(stream) if kept else None)
    if not kept:
        return lambda _: None
    return lambda packet: keeper.keep(copied(packet, clock.now(), shift)) if packet.size else None


def _file(path: str, keeper: Keeper | None, clock: Clock) -> Iterator[Grab]:
    """Play a video over and over: its packets go on where the round before ended."""
    shift = 0
    while True:
        container = opened(path, "is it a video?")
        stream = container.streams.video[0]
        tee, end = _tee(container, keeper, clock, shift), [0]

        def taken(packet: Any, tee: Any = tee, end: list[int] = end) -> None:
            if packet.pts is not None:
                end[0] = max(end[0], packet.pts + (packet.duration or 1))
            tee(packet)

        frames = 0
        for grab in _paced(container, taken, clock):
            frames += 1
            yield grab
        if not frames:
            raise SourceError(f"{path} has no frames")
        shift += end[0] - (stream.start_time or 0)


def _paced(container: Any, tee: Callable[[Any], None], clock: Clock) -> Iterator[Grab]:
    """Decode a container once, each picture at its time."""
    import av

    pace = _Pace(clock)
    try:
        with closing(container):
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # a picture right after its packet
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            for packet in container.demux(stream):
                tee(packet)
                for picture in packet.decode():
                    pace.wait(picture.time, 1 / rate)
                    yield lambda picture=picture: upright(picture)  # type: ignore[misc]
            pace.wait(None, 1 / rate)  # the last one is seen as well
    except av.FFmpegError as error:
        raise SourceError(reason(error)) from None


def _animation(path: str, clock: Clock) -> Iterator[Grab]:
    while True:
        pace, duration = _Pace(clock), 0.1
        for frame in open_frames(path):
            pace.wait(frame.time, duration)
            duration = frame.duration
            yield lambda frame=frame: frame.image  # type: ignore[misc]
        pace.wait(None, duration)


class _Pace:
    """Waits until a picture is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None  # of the clock to the file's times
        self._last = 0.0
        self._alone = Condition()

    def wait(self, time: float | None, gap: float) -> None:
        """Wait for a picture's time; of one without, until a gap after the last one."""
        time = self._last + gap if time is None else float(time)
        self._last = time
        if self._offset is None:
            self._offset = self._clock.now() - time
        with self._alone:
            while (left := self._offset + time - self._clock.now()) > 0:
                self._clock.wait(self._alone, left)
