"""A clock that tests set: nothing sleeps."""

import math
from threading import Condition


class SetClock:
    """Waits of up to ``passes`` seconds are over at once; longer ones last until notified.

    With ``passes`` infinite every wait is over at once, as if nothing else ever happened.
    """

    def __init__(self, passes: float = 20.0) -> None:
        self.passes = passes
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, condition: Condition, timeout: float) -> None:
        if timeout <= self.passes:
            self.time += timeout
        else:
            condition.wait(0.02)  # and look again: someone may have set the clock

    def run_out(self) -> None:
        """Let every wait from now on pass."""
        self.passes = math.inf
