"""Live sources: the newest frame wins, and what is lost is opened again.

    reader thread   decode, take what is due at the wanted rate  ->  one slot
    consumer        waits for the slot; a frame that nobody fetched in time is dropped

So nothing ever queues up, however slow the consumer is.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from threading import Condition, Event, Thread

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.errors import SourceError
from movinet_runtime.sources.frame import Frame

Image = NDArray[np.uint8]
# A grabbed picture that is turned into RGB only if it is wanted.
Grab = Callable[[], Image]
Opener = Callable[[], Iterator[Grab]]

JOIN_TIMEOUT = 6.0  # seconds
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # between attempts to open again, doubling
GIVE_UP = 300.0  # seconds without a frame


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
            thread.join(JOIN_TIMEOUT)

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
