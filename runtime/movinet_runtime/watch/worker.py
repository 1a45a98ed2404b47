"""Work that takes time, off the cameras' threads: a thread and a queue with an end."""

import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

from movinet_runtime.errors import MovinetError
from movinet_runtime.sources.source import Say

T = TypeVar("T")
QUIET = 60.0  # seconds between two lines about the same worker
DRAIN = 5.0  # seconds that closing waits for what is queued


class Worker(Generic[T]):
    """Handles one item after the other; :meth:`put` never waits.

    Args:
        name: of the thread, for messages.
        handle: may take its time; what it raises is reported, and the item is given up.
        limit: items that wait; one more, and the oldest is dropped.
        say: told what goes wrong, now and then.
    """

    def __init__(self, name: str, handle: Callable[[T], None], limit: int, say: Say) -> None:
        self.name, self._handle, self._limit, self._say = name, handle, limit, say
        self.dropped = 0
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._closing = False
        self._said = -QUIET
        self._thread = Thread(target=self._work, daemon=True, name=name)
        self._thread.start()

    def put(self, item: T) -> None:
        """Queue an item; the oldest goes where there is no room."""
        with self._changed:
            if self._closing:
                return
            if len(self._items) == self._limit:
                self._items.popleft()
                self.dropped += 1
                self._tell(f"{self.name} is too slow: {self.dropped} left out so far")
            self._items.append(item)
            self._changed.notify_all()

    def close(self, timeout: float = DRAIN) -> None:
        """Let it finish what is queued, within so many seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    @property
    def closing(self) -> bool:
        """Whether there is no time for further attempts."""
        return self._closing

    def wait(self, seconds: float) -> None:
        """Wait between two attempts, but not when it is closing; for ``handle``."""
        end = time.monotonic() + seconds
        with self._changed:
            while not self._closing and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._items:
                    if self._closing:
                        return
                    self._changed.wait()
                item = self._items.popleft()
            try:
                self._handle(item)
            except (MovinetError, OSError) as error:
                self._tell(f"{self.name}: {error}")
            except Exception as error:  # the thread is needed for the next item
                self._tell(f"{self.name}: {type(error).__name__}: {error}")

    def _tell(self, line: str) -> None:
        now = time.monotonic()
        if now - self._said >= QUIET:
            self._said = now
            self._say(line)
