"""Whether anything moves: a cheap look at a small picture before the network.

The picture's green channel is brought to 24 to 47 rows of cells; a cell has changed when its mean
is more than ``level`` away from what it was lately, and something moves when ``share`` of the
cells have changed. Lately is an average over about two frames, so that slow motions count; it
is brought to the light of the present, so that clouds, flicker and exposure do not.
"""

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.tensors import Array
from movinet_runtime.watch.config import MotionConfig

ROWS, SAMPLES = 24, 6  # cells from top to bottom at least, and pixels in each, along either side
MEMORY = 0.5  # share of the past in what a cell was lately


class MotionGate:
    """Decides for each frame of one camera whether the network sees it.

    Args:
        config: what counts as motion.
    """

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._lately: Array | None = None
        self._moved = -np.inf

    def admits(self, image: NDArray[np.uint8], time: float) -> bool:
        """Take a look at the next frame.

        Args:
            image: uint8 [h, w, 3] RGB.
            time: seconds.

        Returns:
            Whether something moves, or has within the last ``linger`` seconds.
        """
        now = cells(image)
        before = self._lately
        if before is None or before.shape != now.shape:  # the first one, or another camera mode
            self._lately, self._moved = now, time
            return True
        before = relit(before, now)
        changed = float(np.mean(np.abs(now - before) > self._config.level))
        self._lately = MEMORY * before + (1 - MEMORY) * now
        if changed >= self._config.share:
            self._moved = time
        return time - self._moved <= self._config.linger


def cells(image: NDArray[np.uint8]) -> Array:
    """Return mean brightness: uint8 [h, w, 3] -> float32 [24 to 47, in proportion]."""
    step = max(1, image.shape[0] // (ROWS * SAMPLES))
    green = image[::step, ::step, 1].astype(np.float32)
    size = min(SAMPLES, *green.shape)
    rows, columns = (side // size * size for side in green.shape)
    # Sums of slices: a fifth of the time of a mean over axes.
    high = np.zeros((rows // size, green.shape[1]), np.float32)
    for i in range(size):
        high += green[i:rows:size]
    wide = np.zeros((rows // size, columns // size), np.float32)
    for i in range(size):
        wide += high[:, i:columns:size]
    return np.asarray(wide / (size * size), np.float32)


def relit(picture: Array, other: Array) -> Array:
    """Return cells as if they had the light of others: an exposure that changes is no motion."""
    gain = float(np.median(other) + 1) / float(np.median(picture) + 1)
    return np.asarray(picture * gain, np.float32)
