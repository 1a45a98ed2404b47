"""The life cycle of a live run: deadlines, losses, runs beside each other; nothing sleeps."""

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from movinet_runtime.errors import LostError, SourceError
from movinet_runtime.sources.camera import picamera
from movinet_runtime.sources.live import Grab, LiveSource
from tests.clock import SetClock

FOREVER = threading.Event()


def picture(value: int) -> Grab:
    return lambda: np.full((4, 4, 3), value % 256, np.uint8)


def value(frame: Any) -> int:
    return int(frame.image[0, 0, 0])


class Camera:
    """Gives numbered pictures, one for each that is asked for with :meth:`show`."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.opened = 0
        self.closed = threading.Event()
        self._shown = threading.Semaphore(0)
        self._numbers = count(1)

    def show(self, seconds: float = 0.2) -> None:
        self.clock.time += seconds
        self._shown.release()

    def __call__(self) -> Iterator[Grab]:
        self.opened += 1
        return self._grabs()

    def _grabs(self) -> Iterator[Grab]:
        try:
            while self._shown.acquire(timeout=10):
                yield picture(next(self._numbers))
        finally:
            self.closed.set()


def test_a_reader_that_hangs_in_opening_is_given_up() -> None:
    clock = SetClock()

    def hangs() -> Iterator[Grab]:
        FOREVER.wait()
        return iter(())

    run = LiveSource("cam", hangs, give_up=300, clock=clock).sampled(5)
    clock.run_out()
    with pytest.raises(LostError, match="cam gave no frame for 300 s: it does not answer"):
        next(run)
    assert clock.now() == 300
    run.close()  # does not wait for it


def test_a_reader_that_hangs_in_a_grab_is_given_up() -> None:
    clock = SetClock()

    def hangs() -> Iterator[Grab]:
        yield picture(7)
        FOREVER.wait()

    run = LiveSource("cam", hangs, give_up=300, clock=clock).sampled(5)
    assert value(next(run)) == 7
    clock.run_out()
    with pytest.raises(LostError, match="gave no frame for 300 s"):
        next(run)


class FakePicamera:
    """Captures what a list says: numbers are pictures, None hangs, others are raised."""

    script: ClassVar[list[Any]] = []
    freed: ClassVar[list[str]] = []

    def __init__(self, number: int) -> None:
        self.number = number

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.freed.append(name) if name in ("stop", "close") else None

    def capture_array(self) -> Any:
        now = self.script.pop(0) if self.script else None
        if now is None:
            FOREVER.wait()
        if isinstance(now, Exception):
            raise now
        return picture(int(now or 0))()


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera]:
    module = ModuleType("picamera2")
    module.Picamera2 = FakePicamera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    FakePicamera.script, FakePicamera.freed = [], []
    return FakePicamera


def test_picameras_runtime_error_is_a_loss_like_any(pi: type[FakePicamera]) -> None:
    pi.script = [1, RuntimeError("camera frontend has timed out"), 2]
    lines: list[str] = []
    run = LiveSource("picamera:0", picamera(0), lines.append, clock=SetClock()).sampled(5)
    seen = [next(run)]
    while not seen[-1].reopened:
        seen.append(next(run))
    assert value(seen[-1]) == 2
    assert lines == [
        "picamera:0 is lost (camera frontend has timed out); trying to open it again",
        "picamera:0 is back",
    ]
    assert pi.freed == ["stop", "close"]
    assert run.reopened == 1


def test_a_capture_that_hangs_is_given_up(pi: type[FakePicamera]) -> None:
    pi.script = [1]
    clock = SetClock()
    run = LiveSource("picamera:0", picamera(0), clock=clock).sampled(5)
    next(run)
    clock.run_out()
    with pytest.raises(LostError, match="picamera:0 gave no frame"):
        next(run)


def test_a_picamera_that_cannot_be_configured_is_freed(
    pi: type[FakePicamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> None:
        raise RuntimeError("Device or resource busy")

    monkeypatch.setattr(pi, "start", busy, raising=False)
    with pytest.raises(SourceError, match="cannot open picamera:0: Device or resource busy"):
        next(LiveSource("picamera:0", picamera(0), clock=SetClock()).sampled(5))
    assert pi.freed == ["stop", "close"]


def test_two_runs_of_one_source_share_nothing() -> None:
    clock = SetClock()
    cameras: list[Camera] = []

    def opener() -> Iterator[Grab]:
        cameras.append(Camera(clock))
        return cameras[-1]()

    source = LiveSource("cam", opener, clock=clock)
    first = source.sampled(5)
    while len(cameras) < 1:
        pass
    second = source.sampled(5)
    while len(cameras) < 2:
        pass
    one, other = cameras
    one.show()
    assert value(next(first)) == 1
    other.show()
    assert value(next(second)) == 1
    one.show()  # its reader returns from the grab
    first.close()
    assert list(first) == []  # it has ended
    other.show()
    assert value(next(second)) == 2
    other.show()
    source.close()
    assert list(second) == []


def test_an_abandoned_reader_that_wakes_up_does_not_disturb() -> None:
    """The first run was given up; its reader comes back while the second runs."""
    clock, wake, lines = SetClock(), threading.Event(), list[str]()
    readers: list[threading.Thread] = []
    camera = Camera(clock)

    def opener() -> Iterator[Grab]:
        readers.append(threading.current_thread())
        if len(readers) == 1:
            wake.wait(10)
            raise OSError("too late")
        return camera()

    source = LiveSource("cam", opener, lines.append, clock=clock)
    first = source.sampled(5)
    clock.run_out()
    with pytest.raises(LostError):
        next(first)
    clock.passes = 20.0
    second = source.sampled(5)
    wake.set()
    readers[0].join(10)
    assert not readers[0].is_alive()
    assert lines == []
    camera.show()
    second.close()


def test_closing_and_forgetting_free_the_camera() -> None:
    clock = SetClock()
    for end in ("close", "with", "forget"):
        camera = Camera(clock)
        run = LiveSource("cam", camera, clock=clock).sampled(5)
        camera.show()
        assert value(next(run)) == 1
        camera.show()  # the reader is in a grab, and returns from it
        if end == "close":
            run.close()
        elif end == "with":
            with run:
                pass
        del run
        gc.collect()
        camera.show()
        assert camera.closed.wait(10), end


def test_a_source_is_a_context_manager() -> None:
    clock = SetClock()
    camera = Camera(clock)
    with LiveSource("cam", camera, clock=clock) as source:
        run = source.sampled(5)
        camera.show()
        next(run)
        camera.show()
    assert camera.closed.wait(10)
    assert list(run) == []


def test_what_was_never_there_is_not_waited_for() -> None:
    def missing() -> Iterator[Grab]:
        raise SourceError("no such camera")

    with pytest.raises(SourceError, match="no such camera") as caught:
        next(LiveSource("cam", missing, clock=SetClock()).sampled(5))
    assert not isinstance(caught.value, LostError)


def test_pauses_between_attempts_grow_and_it_is_given_up_in_the_end() -> None:
    clock, times = SetClock(), list[float]()

    def opener() -> Iterator[Grab]:
        times.append(clock.now())
        if len(times) > 1:
            raise OSError("unreachable")
        return iter([picture(1)])

    run = LiveSource("cam", opener, give_up=100, clock=clock).sampled(5)
    next(run)
    with pytest.raises(LostError, match="cam gave no frame for 100 s: unreachable"):
        next(run)
    gaps = np.diff(times)[:7].tolist()
    assert gaps == [0.5, 1, 2, 4, 8, 15, 15]


def test_frame_times_come_from_the_clock() -> None:
    clock = SetClock()
    camera = Camera(clock)
    run = LiveSource("cam", camera, clock=clock).sampled(5)
    times = []
    for _ in range(5):
        camera.show(0.25)
        times.append(next(run).time)
    assert times == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    camera.show()
    run.close()


def clean_stop(by: Callable[[Any], None]) -> Any:
    """A source whose run is ended from another thread while the consumer waits."""
    clock = SetClock()
    camera = Camera(clock)
    source = LiveSource("cam", camera, clock=clock)
    run = source.sampled(5)
    camera.show()
    next(run)

    def end() -> None:
        camera.show()  # the reader returns from its grab
        by(SimpleNamespace(run=run, source=source))

    threading.Thread(target=end).start()
    return [value(frame) for frame in run]


def test_a_run_can_be_ended_from_another_thread() -> None:
    assert clean_stop(lambda it: it.run.close()) in ([], [2])
    assert clean_stop(lambda it: it.source.close()) in ([], [2])
