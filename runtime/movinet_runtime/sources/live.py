"""Live sources: the newest frame wins, and what is lost is opened again.

    reader thread   open, decode, take what is due at the wanted rate  ->  one slot
    consumer        waits for the slot, until its deadline; a frame that nobody fetched in
                    time is dropped

So nothing ever queues up, however slow the consumer is, and a reader that hangs, in opening
or in reading, is left behind when the deadline has passed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Condition, Event, Thread
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.description import FASTEST
from movinet_runtime.errors import LostError, SourceError
from movinet_runtime.sources.clock import Clock, MonotonicClock
from movinet_runtime.sources.frame import Frame, checked_rate
from movinet_runtime.sources.source import Run, Say, Source, silent

# A grabbed picture that is turned into RGB only if it is wanted.
Grab = Callable[[], NDArray[np.uint8]]
Opener = Callable[[], Iterator[Grab]]

FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds between attempts to open again, doubling
GIVE_UP = 300.0  # seconds without a picture
JOIN_TIMEOUT = 6.0  # seconds that closing waits for a device to be free again


class LiveSource(Source):
    """A camera or network stream.

    Args:
        name: for messages.
        opener: opens it and yields pictures as they come; ends or raises a SourceError or
            OSError when it is lost.
        report: called with a line when it is lost and when it is back.
        give_up: seconds without a picture after which a run ends with a LostError.
        clock: tells the frames' times, and waits.
        opening: seconds more that a run waits for its first picture.
    """

    live = True

    def __init__(
        self,
        name: str,
        opener: Opener,
        report: Say = silent,
        give_up: float = GIVE_UP,
        clock: Clock | None = None,
        opening: float = 0.0,
    ) -> None:
        super().__init__(name, report=report)
        self.opener, self.give_up, self.opening = opener, give_up, opening
        self.clock: Clock = MonotonicClock() if clock is None else clock

    def __iter__(self) -> Iterator[Frame]:
        return self.sampled(FASTEST)

    def sampled(self, fps: float) -> "LiveRun":
        """See :meth:`Source.sampled`."""
        run = self._begin(checked_rate(fps))
        self._runs.add(run)
        return run

    def _begin(self, fps: float) -> "LiveRun":
        reader = _Reader(self.name, self.opener, self.report, 1 / fps, self.clock)
        reader.opening = self.opening
        return LiveRun(reader, self.give_up)


class LiveRun(Run):
    """A run of a live source; its reader thread does not keep it alive."""

    def __init__(self, reader: "_Reader", give_up: float) -> None:
        self._reader, self._give_up = reader, give_up
        self._thread = Thread(target=reader.read, daemon=True, name=reader.name)
        self._thread.start()
        self._stop = finalize(self, reader.stop)
        self._waits = True

    @property
    def dropped(self) -> int:
        """Due frames that were overwritten before they were fetched."""
        return self._reader.dropped

    @property
    def reopened(self) -> int:
        """How often it was lost and came back."""
        return self._reader.reopened

    @property
    def began(self) -> float:
        """When its first picture came, by the source's clock: its frames' times begin there."""
        return self._reader.began or 0.0

    def __next__(self) -> Frame:
        try:
            frame = self._reader.fetch(self._give_up)
        except LostError:
            self._stop()
            self._waits = False  # it may hang
            raise
        if frame is None:
            raise StopIteration
        return frame

    def stop(self) -> None:
        """End it, from any thread, without waiting for the device."""
        self._stop()

    def close(self) -> None:
        """See :meth:`Run.close`; waits a moment for the device."""
        self._stop()
        if self._waits:
            self._waits = False
            self._thread.join(JOIN_TIMEOUT)


class _Reader:
    """What the reader thread and the consumer share, of one run."""

    def __init__(self, name: str, opener: Opener, report: Say, gap: float, clock: Clock) -> None:
        self.name = name
        self.stopped = Event()
        self.opening = 0.0
        self.dropped = self.reopened = 0
        self._opener, self._report, self._gap, self._clock = opener, report, gap, clock
        self._changed = Condition()
        self._slot: Frame | None = None
        self._error: Exception | None = None
        self._reason = "it does not answer"
        self._last = clock.now()  # when a picture came, to begin with: when it was asked for
        self.began: float | None = None  # when the first one came
        self._due = 0.0

    def fetch(self, give_up: float) -> Frame | None:
        """Wait for the newest frame; None when stopped.

        Raises:
            LostError: no picture for ``give_up`` seconds.
            Exception: what ended the reader.
        """
        with self._changed:
            while self._slot is None and self._error is None and not self.stopped.is_set():
                patience = give_up + (self.opening if self.began is None else 0.0)
                left = self._last + patience - self._clock.now()
                if not left > 0:
                    raise LostError(f"{self.name} gave no frame for {patience:g} s: {self._reason}")
                self._clock.wait(self._changed, left)
            frame, self._slot = self._slot, None
            if frame is None and self._error is not None and not self.stopped.is_set():
                raise self._error
            return None if self.stopped.is_set() else frame

    def stop(self) -> None:
        """Let the thread end as soon as it may, and the consumer now."""
        with self._changed:
            self.stopped.set()
            self._changed.notify_all()

    def read(self) -> None:
        """Read until stopped: what the thread does."""
        try:
            self._read()
        except Exception as error:  # to the consumer, whatever it is
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _read(self) -> None:
        wait, lost, opened = FIRST_WAIT, False, False
        while not self.stopped.is_set():
            grabs: Iterator[Grab] = iter(())
            reason = "it ended"
            try:
                grabs = self._opener()
                opened = True
                for grab in grabs:
                    if self.stopped.is_set():
                        return
                    self._take(grab, lost)
                    wait, lost = FIRST_WAIT, False
            except (SourceError, OSError) as error:
                if not opened:  # it was never there
                    raise
                reason = str(error)
            finally:
                close = getattr(grabs, "close", None)
                if close is not None:
                    close()
            self._reason = reason
            if not lost:
                self._say(f"{self.name} is lost ({reason}); trying to open it again")
            lost = True
            self._pause(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _take(self, grab: Grab, lost: bool) -> None:
        now = self._clock.now()
        with self._changed:
            self._last = now
            self.began = now if self.began is None else self.began
        time = now - self.began
        if lost:
            self.reopened += 1
            self._say(f"{self.name} is back")
        if lost or time >= self._due - self._gap / 10:
            self._offer(Frame(grab(), time, reopened=lost))
            self._due = max(self._due + self._gap, time)

    def _offer(self, frame: Frame) -> None:
        with self._changed:
            if self._slot is not None:
                self.dropped += 1
                frame = replace(frame, reopened=frame.reopened or self._slot.reopened)
            self._slot = frame
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        end = self._clock.now() + seconds
        with self._changed:
            while not self.stopped.is_set() and (left := end - self._clock.now()) > 0:
                self._clock.wait(self._changed, left)

    def _say(self, line: str) -> None:
        if not self.stopped.is_set():  # nobody listens to a run that is over
            self._report(line)
