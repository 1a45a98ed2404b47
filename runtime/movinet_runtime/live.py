"""Live sources: the newest frame wins, and what is lost is opened again.

    reader thread   decode, take what is due at the wanted rate  ->  one slot
    consumer        waits for the slot; a frame that nobody fetched in time is dropped

So nothing ever queues up, however slow the consumer is.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Condition, Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.frames import Frame, upright
from movinet_runtime.install import install_hint

Image = NDArray[np.uint8]
# A grabbed picture that is turned into RGB only if it is wanted.
Grab = Callable[[], Image]
Opener = Callable[[], Iterator[Grab]]

OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 5.0  # seconds
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # between attempts to open again, doubling
GIVE_UP = 300.0  # seconds without a frame
PICAMERA_SIZE = (640, 480)


@dataclass
class Live:
    """A camera or network stream.

    Attributes:
        name: for messages.
        opener: opens it and yields pictures as they come; ends or raises when it is lost.
        report: called with a line when it is lost and when it is back.
        give_up: seconds without a frame after which the stream ends with an error.
        dropped: due frames that were overwritten before they were fetched.
        reopened: how often it was lost and came back.
    """

    name: str
    opener: Opener
    report: Callable[[str], None] = lambda line: None
    give_up: float = GIVE_UP
    dropped: int = 0
    reopened: int = 0
    _slot: deque[Frame] = field(default_factory=lambda: deque(maxlen=1))
    _errors: list[Exception] = field(default_factory=list)
    _changed: Condition = field(default_factory=Condition)
    _stop: Event = field(default_factory=Event)

    def sampled(self, fps: float) -> Iterator[Frame]:
        """Yield the newest frame, at most ``fps`` a second; times are seconds since the first.

        The first frame after a loss is marked ``reopened``.

        Raises:
            SourceError: it cannot be opened, or stayed lost for ``give_up`` seconds.
        """
        self._stop.clear()
        self._slot.clear()
        self._errors.clear()
        grabs = self.opener()
        thread = Thread(target=self._read, args=(grabs, 1 / fps), daemon=True, name=self.name)
        thread.start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._slot or self._errors)
                    frame = self._slot.pop() if self._slot else None
                if frame is None:
                    raise self._errors[0]
                yield frame
        finally:
            self._stop.set()
            thread.join(READ_TIMEOUT + 1)

    def _read(self, grabs: Iterator[Grab], gap: float) -> None:
        start: float | None = None
        due, wait, last = 0.0, FIRST_WAIT, time.monotonic()
        lost = False
        try:
            while not self._stop.is_set():
                reason = "it ended"
                try:
                    for grab in grabs:
                        last = time.monotonic()
                        start = last if start is None else start
                        if self._stop.is_set():
                            return
                        if lost:
                            self.reopened += 1
                            self.report(f"{self.name} is back")
                        if lost or last - start >= due - gap / 10:
                            self._offer(Frame(grab(), last - start, reopened=lost))
                            due = max(due + gap, last - start)
                        lost, wait = False, FIRST_WAIT
                except (SourceError, OSError) as error:
                    reason = str(error)
                finally:
                    close = getattr(grabs, "close", None)
                    if close is not None:
                        close()
                if time.monotonic() - last > self.give_up:
                    raise SourceError(f"{self.name} gave no frame for {self.give_up:g} s: {reason}")
                if not lost:
                    self.report(f"{self.name} is lost ({reason}); trying to open it again")
                lost = True
                self._stop.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                grabs = self._again()
        except Exception as error:  # to the consumer, whatever it is
            with self._changed:
                self._errors.append(error)
                self._changed.notify_all()

    def _again(self) -> Iterator[Grab]:
        try:
            return self.opener()
        except SourceError:
            return iter(())

    def _offer(self, frame: Frame) -> None:
        with self._changed:
            if self._slot:
                self.dropped += 1
                frame = replace(frame, reopened=frame.reopened or self._slot[0].reopened)
            self._slot.append(frame)
            self._changed.notify_all()


def _grabs(container: Any) -> Iterator[Grab]:
    """Decode a container's video for as long as it lasts."""
    import av

    try:
        with closing(container):
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for picture in container.decode(stream):
                yield lambda picture=picture: upright(picture)  # type: ignore[misc]
    except av.FFmpegError as error:
        raise SourceError(str(error)) from error


def _opened(what: str, advice: str, **options: Any) -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{what} needs PyAV to be read: {install_hint('movinet-runtime[video]')}"
        ) from error
    try:
        container = av.open(what, timeout=(OPEN_TIMEOUT, READ_TIMEOUT), **options)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"cannot open {what}: {reason}; {advice}") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{what} has no video stream")
    return container


def open_network(url: str) -> Any:
    """Return the opened container of an RTSP or HTTP address."""
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    return _opened(url, "is the server running, and the address right?", options=options)


def network(url: str) -> Opener:
    """Open an RTSP or HTTP stream."""
    return lambda: _grabs(open_network(url))


def v4l2(device: str) -> Opener:
    """Open a USB camera, or what else the kernel shows as /dev/videoN."""
    advice = "ls /dev/video* shows the cameras; a Pi camera module is picamera:0"
    return lambda: _grabs(_opened(device, advice, format="v4l2"))


def picamera(number: int) -> Opener:
    """Open a Pi camera module through Picamera2."""

    def opener() -> Iterator[Grab]:
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise MissingPackageError(
                "picamera:N needs Picamera2: sudo apt install python3-picamera2, and a virtual "
                "environment made with --system-site-packages"
            ) from error
        try:
            camera = Picamera2(number)
            # Its BGR888 is RGB in the array's order.
            main = {"format": "BGR888", "size": PICAMERA_SIZE}
            camera.configure(camera.create_video_configuration(main=main))
            camera.start()
        except (IndexError, RuntimeError) as error:
            raise SourceError(f"cannot open picamera:{number}: {error}") from error
        return _picamera_grabs(camera)

    return opener


def _picamera_grabs(camera: Any) -> Iterator[Grab]:
    try:
        while True:
            image = camera.capture_array()
            yield lambda image=image: image  # type: ignore[misc]
    finally:
        camera.stop()
        camera.close()


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
