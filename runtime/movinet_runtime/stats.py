"""Where the time of a frame goes."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Stages:
    """Seconds spent in each stage, and frames."""

    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time for a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def fetching(self, items: Iterable[T], name: str) -> Iterator[T]:
        """Count the time that an iterable takes to give its items."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def as_json(self) -> dict[str, Any]:
        """Milliseconds a frame by stage, and frames a second if nothing else took time."""
        total = sum(self.seconds.values())
        each = {name: 1000 * s / max(1, self.frames) for name, s in self.seconds.items()}
        return {
            "frames": self.frames,
            "milliseconds": {name: round(value, 3) for name, value in each.items()},
            "frames_per_second": round(self.frames / total, 1) if total else None,
        }
