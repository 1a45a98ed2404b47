"""Time, handed in so that tests need not wait for it."""

import time
from threading import Condition
from typing import Protocol


class Clock(Protocol):
    """What tells the time and waits."""

    def now(self) -> float:
        """Return seconds from any origin; they never go back."""

    def wait(self, condition: Condition, timeout: float) -> None:
        """Wait on a condition that the caller holds, for so many seconds at most."""


class MonotonicClock:
    """The machine's."""

    def now(self) -> float:
        """See :meth:`Clock.now`."""
        return time.monotonic()

    def wait(self, condition: Condition, timeout: float) -> None:
        """See :meth:`Clock.wait`."""
        condition.wait(timeout)
