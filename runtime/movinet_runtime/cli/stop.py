"""A signal ends a live run as its source's end would: what was made so far is the result."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(BaseException):
    """Raised where the program waits; no error, so that nothing takes it for one."""


class Stop:
    """Takes the signals over, in its block and in the main thread.

    The first signal ends the waiting at once, but never cuts into :meth:`busy`. A second one
    is not patient: it ends the program, and unfinished outputs go with it.

    Attributes:
        asked: whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._busy = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if current_thread() is main_thread():
            for name in SIGNALS:
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                # A shell's background jobs ignore SIGINT, nohup's SIGHUP: they go on to.
                if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.asked = True
        if not self._busy:
            raise Stopped

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let the block finish; whoever loops looks at :attr:`asked` after it."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def hold(self) -> None:
        """Let everything from now on finish."""
        self._busy = True


@contextmanager
def stoppable(live: bool) -> Iterator[None]:
    """Let a signal end the program well before a live run has begun: there is nothing to lose."""
    if not live:
        yield
        return
    try:
        with Stop():
            yield
    except Stopped:
        raise SystemExit(0) from None
