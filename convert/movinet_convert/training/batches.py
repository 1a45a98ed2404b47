"""Batches of clips for Keras: pictures, labels, and what each answer counts."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from movinet_convert.backend import keras
from movinet_convert.parameters import Array
from movinet_convert.training.reading import Augmentation, Cache, Video, read_clip
from movinet_models.clips import LabelledClip
from movinet_runtime.errors import SourceError


@dataclass
class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """(video, one-hot labels, weights) for Keras, the same at every epoch number.

    Video is uint8 [batch, frames, side, side, 3], labels [batch, outputs,
    classes] and weights [batch, outputs], with one output a frame or one in all. A clip
    that is too short repeats its last frame, with no weight.

    Attributes:
        augmentation: None is for validation: the clips in their order, and weight on the
            last frame only, so that accuracy is that of the whole clip.
        class_weights: by label.
        lead_in: frames of another clip of the batch before each one, in every other batch;
            their outputs have no weight. The state is that of a stream that goes on; in
            the other batches it begins, which a network forgets if it never sees it.
        first: batch of the epoch to begin with: a stopped training had the others.
        pool: of processes that read clips (:func:`movinet_convert.training.reading.workers`).
        cache: of small copies of the clips.
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
    first: int = 0
    pool: Executor | None = None
    cache: Cache | None = None
    broken: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(workers=2, max_queue_size=4)

    def __len__(self) -> int:
        """Batches an epoch; in training the last one must be full, for its batch norm."""
        whole = len(self.clips) / self.batch
        count = max(1, int(whole)) if self.augmentation else math.ceil(whole)
        return count - self.first

    def __getitem__(self, index: int) -> tuple[Video, Array, Array]:
        index += self.first
        order = np.arange(len(self.clips))
        if self.augmentation:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        chosen = order[index * self.batch : (index + 1) * self.batch]
        outputs = self.frames if self.frame_by_frame else 1
        video = np.zeros((len(chosen), self.frames, self.side, self.side, 3), np.uint8)
        truth = np.zeros((len(chosen), outputs, len(self.labels)), np.float32)
        weights = np.zeros((len(chosen), outputs), np.float32)
        for i, (clip, pictures) in enumerate(self._read(chosen.tolist())):
            count = len(pictures)
            video[i, :count] = pictures
            video[i, count:] = video[i, count - 1]
            truth[i, :, self.labels.index(clip.label)] = 1
            weights[i] = self._weights(count) * self.class_weights.get(clip.label, 1.0)
        if self.augmentation and self.augmentation.mixup:
            rng = np.random.default_rng([self.seed, self.epoch, len(self.clips), index])
            video, truth = _mixed(video, truth, self.augmentation.mixup, rng)
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

    def _read(self, chosen: Sequence[int]) -> Iterable[tuple[LabelledClip, Video]]:
        """Read clips; one that cannot be read any more is replaced by another of its class."""
        apply = map if self.pool is None else self.pool.map
        read = partial(
            _read_or_say, self.fps, self.frames, self.side, self.augmentation, self.cache
        )
        clips = [self.clips[which] for which in chosen]
        entropy = [[self.seed, self.epoch, which] for which in chosen]
        for clip, seeds, found in zip(clips, entropy, apply(read, clips, entropy), strict=True):
            others = (c for c in self.clips if c.label == clip.label and c != clip)
            while isinstance(found, str):
                self.broken[str(clip.path)] = found
                other = next((c for c in others if str(c.path) not in self.broken), None)
                if other is None:
                    raise SourceError(f"no clip of '{clip.label}' can be read any more")
                clip, found = other, read(other, seeds)
            yield clip, found


def _read_or_say(
    fps: float,
    frames: int,
    side: int,
    augmentation: Augmentation | None,
    cache: Cache | None,
    clip: LabelledClip,
    entropy: list[int],
) -> Video | str:
    """Read a clip, in whatever process; return why it cannot be read if it cannot."""
    rng = np.random.default_rng(entropy)
    try:
        return read_clip(clip, fps, frames, side, augmentation, rng, cache)
    except SourceError as error:
        return str(error)


def _mixed(
    video: Video, truth: Array, alpha: float, rng: np.random.Generator
) -> tuple[Video, Array]:
    """Mix each clip with the next one, and their labels in the same parts."""
    share = np.float32(rng.beta(alpha, alpha))
    pictures, labels = (x * share + np.roll(x, 1, axis=0) * (1 - share) for x in (video, truth))
    return np.round(pictures).astype(np.uint8), labels
