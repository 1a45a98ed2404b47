"""A clip as training sees it: frames at the model's rate, cut, coloured and turned at random.

Nothing here knows TensorFlow: worker processes read clips with it.
"""

import hashlib
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_models.clips import LabelledClip
from movinet_runtime.errors import SourceError
from movinet_runtime.files import writing
from movinet_runtime.outputs.video import save_frames
from movinet_runtime.preprocess import resized
from movinet_runtime.sources import open_frames
from movinet_runtime.sources.files import from_moment
from movinet_runtime.sources.source import Source

Video = NDArray[np.uint8]  # [frames, side, side, 3]
FEW_CORES = 2
COPY_KEY_FRAMES = 1.0  # seconds from one to the next
COPY_QUALITY = 18  # x264's constant rate factor: hardly to be told from the original


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


@dataclass(frozen=True)
class Cache:
    """Small copies of clips, made when a clip is read for the first time.

    Attributes:
        folder: of the copies.
        side: their shorter side, pixels; larger than the network's, since training cuts.
        fps: twice the network's, since training slows down and speeds up.
    """

    folder: Path
    side: int
    fps: float

    @classmethod
    def of(cls, folder: Path, side: int, fps: float, augmentation: Augmentation) -> "Cache":
        """Return a cache for a network's pictures and rate."""
        fastest = max(2.0, augmentation.speed[1], 1 / augmentation.speed[0])
        return cls(folder, math.ceil(side / math.sqrt(augmentation.area[0]) / 2) * 2, fastest * fps)

    def copy(self, path: Path) -> Path:
        """Return a clip's copy; it is there afterwards.

        Raises:
            SourceError: the clip cannot be read.
            OutputError: the copy cannot be written.
        """
        try:
            about = path.stat()
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from error
        form = (self.side, self.fps, COPY_QUALITY, COPY_KEY_FRAMES)
        key = repr((str(path.absolute()), about.st_size, about.st_mtime_ns, form))
        copy = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.mkv"
        if not copy.exists():
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            frames = (self._small(f.image) for f in open_frames(path).sampled(self.fps))
            save_frames(copy, frames, self.fps, COPY_QUALITY, COPY_KEY_FRAMES)
        return copy

    def _small(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        scale = self.side / min(height, width)
        if scale >= 1:
            return picture
        even = (max(2, round(x * scale / 2) * 2) for x in (width, height))
        small = Image.fromarray(picture).resize(tuple(even), Image.Resampling.BILINEAR)
        return np.asarray(small)


def read_clip(
    clip: LabelledClip,
    fps: float,
    frames: int,
    side: int,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
    cache: Cache | None = None,
) -> Video:
    """Read up to ``frames`` frames of a clip.

    Args:
        clip: the file.
        fps: of the model.
        frames: the most.
        side: of the result.
        augmentation: None takes the middle of the clip and its central square.
        rng: for the augmentation.
        cache: of small copies, to read those.

    Returns:
        uint8 [n, side, side, 3], fewer frames than asked for if the clip is shorter.

    Raises:
        SourceError: unreadable.
    """
    source = open_frames(clip.path if cache is None else cache.copy(clip.path))
    if augmentation is None or rng is None:
        pictures = _window(source, fps, frames, 0.5)
        return np.stack([resized(picture, (side, side)) for picture in pictures])
    speed = math.exp(rng.uniform(*np.log(augmentation.speed)))
    pictures = _window(source, fps / speed, frames, rng.random())
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
    # Clips are read beside each other: more threads for one cost a quarter more.
    later = from_moment(source, start / fps, threads=1)
    if later is None:  # a folder of images
        return [frame.image for frame in islice(source.sampled(fps), start, start + frames)]
    found = [frame.image for frame in islice(later.sampled(fps), frames)]
    if len(found) < frames and start:  # the container claims more than it holds
        whole = [frame.image for frame in source.sampled(fps)]
        start = round(where * max(0, len(whole) - frames))
        return whole[start : start + frames]
    return found


def _coloured(video: Video, strength: float, rng: np.random.Generator) -> Video:
    """Change brightness, contrast and saturation: one linear map of each pixel's colours."""
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3).astype(np.float32)
    grey = np.full((3, 3), 1 / 3)
    mix = contrast * brightness * (saturation * np.eye(3) + (1 - saturation) * grey)
    offset = brightness * video.mean(dtype=np.float32) * (1 - contrast)
    # Not by BLAS, whose threads would be in each other's way in several processes.
    matrix = tuple(float(x) for row in mix for x in (*row, offset))
    long = Image.fromarray(video.reshape(-1, video.shape[2], 3)).convert("RGB", matrix)
    return np.asarray(long).reshape(video.shape)


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


def read_or_say(
    fps: float,
    frames: int,
    side: int,
    augmentation: Augmentation | None,
    cache: Cache | None,
    clip: LabelledClip,
    entropy: Sequence[int],
) -> Video | str:
    """Read a clip, in whatever process; return why it cannot be read if it cannot."""
    rng = np.random.default_rng(entropy)
    try:
        return read_clip(clip, fps, frames, side, augmentation, rng, cache)
    except SourceError as error:
        return str(error)


@contextmanager
def workers(count: int) -> Iterator[Executor | None]:
    """Give processes that read clips; None for 0: whoever asks reads.

    They are started anew, not forked, which TensorFlow's threads would not survive, and end
    with their parent, however it ends.
    """
    if not count:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _begin_worker, (os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def default_workers() -> int:
    """Return a process for each core, and none where training needs the few there are."""
    return cores() if cores() > FEW_CORES else 0


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begin_worker(parent: int) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
