"""A clip as a network sees it: decoded, sampled, resized."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.preprocess import Fit, resized
from movinet_runtime.sources import open_frames
from movinet_runtime.sources.source import Source


def frames_at(
    source: Source | Path | str,
    size: tuple[int, int],
    fps: float,
    limit: int | None = None,
    fit: Fit = "crop",
) -> Iterator[NDArray[np.uint8]]:
    """Yield a source's frames at a model's size and rate: uint8 [height, width, 3] RGB.

    Args:
        source: opened, or anything that :func:`open_frames` opens; its images follow each
            other at ``fps``.
        size: (height, width), pixels.
        fps: frames a second.
        limit: the most frames; None: all.
        fit: how frames of another aspect ratio are brought to the size.

    Raises:
        SourceError: it cannot be read, or has no frames.
    """
    opened = source if isinstance(source, Source) else open_frames(source, fps)
    with opened.sampled(fps) as run:
        for frame in islice(run, limit):
            yield resized(frame.image, size, fit)
