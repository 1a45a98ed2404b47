"""A clip as training sees it: frames at the model's rate, cut, coloured and turned at random."""

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_models.clips import LabelledClip
from movinet_runtime.preprocess import resized
from movinet_runtime.sources import open_frames
from movinet_runtime.sources.source import FrameSource, Source

Video = NDArray[np.uint8]  # [frames, side, side, 3]


@dataclass(frozen=True)
class Augmentation:
    """How much training clips vary; each clip draws once for all its frames."""

    area: tuple[float, float] = (0.7, 1.0)  # of the largest square that is cut out
    aspect: tuple[float, float] = (0.87, 1.15)
    flip: bool = True
    colour: float = 0.2  # brightness, contrast and saturation, up or down by this share
    speed: tuple[float, float] = (0.8, 1.25)
    erase: float = 0.0  # probability that a rectangle is painted over (arXiv 1708.04896)
    mixup: float = 0.0  # alpha of the Beta that clips are mixed by (arXiv 1710.09412); 0: not


def read_clip(
    clip: LabelledClip,
    fps: float,
    frames: int,
    side: int,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
) -> Video:
    """Read up to ``frames`` frames of a clip.

    Args:
        clip: the file.
        fps: of the model.
        frames: the most.
        side: of the result.
        augmentation: None takes the middle of the clip and its central square.
        rng: for the augmentation.

    Returns:
        uint8 [n, side, side, 3], fewer frames than asked for if the clip is shorter.

    Raises:
        SourceError: unreadable.
    """
    if augmentation is None or rng is None:
        pictures = _window(open_frames(clip.path), fps, frames, 0.5)
        return np.stack([resized(picture, (side, side)) for picture in pictures])
    speed = math.exp(rng.uniform(*np.log(augmentation.speed)))
    pictures = _window(open_frames(clip.path), fps / speed, frames, rng.random())
    height, width = pictures[0].shape[:2]
    area = rng.uniform(*augmentation.area)
    aspect = math.exp(rng.uniform(*np.log(augmentation.aspect)))
    extent = math.sqrt(area) * min(height, width)
    w, h = min(extent * math.sqrt(aspect), width), min(extent / math.sqrt(aspect), height)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    box = (x, y, x + w, y + h)
    video = np.stack(
        [
            np.asarray(
                Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR, box=box)
            )
            for picture in pictures
        ]
    )
    if augmentation.flip and rng.random() < 0.5:
        video = video[:, :, ::-1]
    video = _coloured(video, augmentation.colour, rng)
    return _erased(video, rng) if rng.random() < augmentation.erase else video


def _window(source: Source, fps: float, frames: int, where: float) -> list[Any]:
    """Return consecutive sampled frames; ``where`` 0 is the beginning, 1 the end."""
    if source.duration is None:
        pictures = [frame.image for frame in source.sampled(fps)]
        start = round(where * max(0, len(pictures) - frames))
        return pictures[start : start + frames]
    start = round(where * max(0, int(source.duration * fps) - frames))
    pictures = [frame.image for frame in islice(source.sampled(fps), start, start + frames)]
    if not pictures:  # the container claims more than it holds
        return _window(FrameSource(source.name, source), fps, frames, where)
    return pictures


def _coloured(video: Video, strength: float, rng: np.random.Generator) -> Video:
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3).astype(np.float32)
    x = video.astype(np.float32) * brightness
    grey = x.mean(axis=-1, keepdims=True)
    x = grey + saturation * (x - grey)
    mean = x.mean()
    clipped: Video = np.clip(mean + contrast * (x - mean), 0, 255).astype(np.uint8)
    return clipped


def _erased(video: Video, rng: np.random.Generator) -> Video:
    """Paint over a rectangle of 2 to 33 % of the picture, the same in all frames."""
    side = video.shape[1]
    area = side * side * rng.uniform(0.02, 0.33)
    aspect = math.exp(rng.uniform(*np.log([0.3, 1 / 0.3])))
    h, w = (min(side, round(math.sqrt(area * a))) for a in (aspect, 1 / aspect))
    y, x = rng.integers(0, side - h + 1), rng.integers(0, side - w + 1)
    erased = video.copy()
    erased[:, y : y + h, x : x + w] = rng.integers(0, 256, 3, np.uint8)
    return erased
