"""The curve of the probabilities over time, in memory that stays bounded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.tensors import Array

ROWS = 2048  # even; of 600 classes 5 MB


class Curve:
    """The probabilities of a stream from its beginning, coarser the longer it is.

    A row is the highest of each probability over so many frames in a row: one at first,
    twice as many each time that the rows are full.
    """

    def __init__(self, rows: int = ROWS) -> None:
        self._rows = rows
        self._values: list[Array] = []
        self._times: list[float] = []
        self._frames = 1  # in a row
        self._pending = 0  # in the last one

    def add(self, probabilities: Array, time: float) -> None:
        """Add a frame's, [classes], with its time in seconds."""
        if self._values and self._pending < self._frames:
            self._values[-1] = np.maximum(self._values[-1], probabilities)
            self._pending += 1
            return
        if len(self._values) == self._rows:
            self._halve()
        self._values.append(probabilities)
        self._times.append(time)
        self._pending = 1

    def _halve(self) -> None:
        pairs = zip(self._values[::2], self._values[1::2], strict=True)
        self._values = [np.maximum(one, other) for one, other in pairs]
        self._times = self._times[::2]
        self._frames *= 2

    @property
    def values(self) -> NDArray[np.float32]:
        """Return the rows, [rows, classes]."""
        return np.stack(self._values)

    @property
    def times(self) -> Sequence[float]:
        """Return when each row begins, seconds."""
        return self._times

    def __len__(self) -> int:
        return len(self._values)
