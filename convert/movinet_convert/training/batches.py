"""Batches of clips: frames at the model's rate, cut, coloured and turned at random."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_convert.backend import keras
from movinet_convert.parameters import Array
from movinet_models.clips import LabelledClip
from movinet_runtime.errors import SourceError
from movinet_runtime.preprocess import SCALE, resized
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
    return _coloured(video, augmentation.colour, rng)


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


@dataclass
class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """(video, one-hot labels, weights) for Keras, the same at every epoch number.

    Video is float32 [batch, frames, side, side, 3] in [0, 1], labels [batch, outputs,
    classes] and weights [batch, outputs], with one output a frame or one in all. A clip
    that is too short repeats its last frame, with no weight.

    Attributes:
        augmentation: None is for validation: the clips in their order, and weight on the
            last frame only, so that accuracy is that of the whole clip.
        class_weights: by label.
        lead_in: frames of another clip of the batch before each one, in every other batch;
            their outputs have no weight. The state is that of a stream that goes on; in
            the other batches it begins, which a network forgets if it never sees it.
        broken: clips that stopped being readable, and why; others of their class take
            their place.
    """

    clips: Sequence[LabelledClip]
    labels: list[str]
    fps: float
    frames: int
    side: int
    batch: int
    frame_by_frame: bool = True
    augmentation: Augmentation | None = None
    class_weights: dict[str, float] = field(default_factory=dict)
    lead_in: int = 0
    seed: int = 0
    epoch: int = 0
    broken: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(workers=2, max_queue_size=4)

    def __len__(self) -> int:
        """Batches an epoch; in training the last one must be full, for its batch norm."""
        whole = len(self.clips) / self.batch
        return max(1, int(whole)) if self.augmentation else math.ceil(whole)

    def __getitem__(self, index: int) -> tuple[Array, Array, Array]:
        order = np.arange(len(self.clips))
        if self.augmentation:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        chosen = order[index * self.batch : (index + 1) * self.batch]
        outputs = self.frames if self.frame_by_frame else 1
        video = np.zeros((len(chosen), self.frames, self.side, self.side, 3), np.float32)
        truth = np.zeros((len(chosen), outputs, len(self.labels)), np.float32)
        weights = np.zeros((len(chosen), outputs), np.float32)
        for i, which in enumerate(chosen):
            rng = np.random.default_rng([self.seed, self.epoch, int(which)])
            clip, pictures = self._readable(int(which), rng)
            count = len(pictures)
            video[i, :count] = pictures * SCALE
            video[i, count:] = video[i, count - 1]
            truth[i, :, self.labels.index(clip.label)] = 1
            weights[i] = self._weights(count) * self.class_weights.get(clip.label, 1.0)
        if self.lead_in and (index + self.epoch) % 2:
            before = np.roll(video, 1, axis=0)[:, : self.lead_in]
            video = np.concatenate([before, video], axis=1)
            truth = np.concatenate([truth[:, : before.shape[1]], truth], axis=1)
            weights = np.pad(weights, ((0, 0), (before.shape[1], 0)))
        return video, truth, weights

    def _weights(self, count: int) -> Array:
        """In training, what a frame counts grows with what the network has seen by then."""
        if not self.frame_by_frame:
            return np.ones(1, np.float32)
        weights = np.zeros(self.frames, np.float32)
        if self.augmentation is None:
            weights[count - 1] = 1
        else:
            ramp = np.arange(1, count + 1, dtype=np.float32)
            weights[:count] = ramp * (self.frames / ramp.sum())
        return weights

    def _readable(self, which: int, rng: np.random.Generator) -> tuple[LabelledClip, Video]:
        wanted = self.clips[which]
        others = (clip for clip in self.clips if clip.label == wanted.label and clip != wanted)
        for clip in chain([wanted], others):
            if str(clip.path) in self.broken:
                continue
            try:
                return clip, read_clip(
                    clip, self.fps, self.frames, self.side, self.augmentation, rng
                )
            except SourceError as error:
                self.broken[str(clip.path)] = str(error)
        raise SourceError(f"no clip of '{wanted.label}' can be read any more")
