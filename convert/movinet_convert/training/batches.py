"""Batches of clips for Keras: pictures, labels, and what each answer counts."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from movinet_convert.backend import keras
from movinet_convert.parameters import Array
from movinet_convert.training.reading import Augmentation, Cache, Video, read_or_say
from movinet_models.clips import LabelledClip
from movinet_runtime.errors import MovinetError, SourceError

LED_OF = 4  # batches, all but one begin with a lead-in


@dataclass
class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """(video, one-hot labels, weights) for Keras, the same at every epoch number.

    Video is uint8 [batch, lead-in and frames, side, side, 3], labels [batch, outputs,
    classes] and weights [batch, outputs], with one output a frame or one in all. A clip
    that is too short repeats its last frame, with no weight.

    Attributes:
        augmentation: None is for validation: the clips in their order, and weight on the
            last frame only, so that accuracy is that of the whole clip.
        class_weights: by label.
        lead_in: frames of another clip of the batch before each one, in three of four batches;
            they have no outputs. The state is that of a stream that goes on; in the other
            batches it begins, which a network forgets if it never sees it.
        first: batch of the epoch to begin with: a stopped training had the others.
        pool: of processes that read clips (:func:`movinet_convert.training.reading.workers`).
        cache: of small copies of the clips.
        failed: what ended the reading of a batch, which Keras would bury in a message of its own.
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
    failed: MovinetError | None = None
    broken: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(workers=2, max_queue_size=4)

    def __len__(self) -> int:
        """Batches an epoch; in training the last one must be full, for its batch norm."""
        return self.count - self.first

    @property
    def count(self) -> int:
        """Batches of a whole epoch."""
        whole = len(self.clips) / self.batch
        return max(1, int(whole)) if self.augmentation else math.ceil(whole)

    def __getitem__(self, index: int) -> tuple[Video, Array, Array]:
        try:
            return self._batch(index + self.first)
        except BrokenProcessPool as error:
            self.failed = SourceError("a process that reads clips was killed: is memory short?")
            raise self.failed from error
        except MovinetError as error:
            self.failed = error
            raise

    def _batch(self, index: int) -> tuple[Video, Array, Array]:
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
            video, truth, weights = _mixed(video, truth, weights, self.augmentation.mixup, rng)
        if self.lead_in and (index + self.epoch) % LED_OF:
            before = np.roll(video, 1, axis=0)[:, : self.lead_in]
            video = np.concatenate([before, video], axis=1)
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
        read = partial(read_or_say, self.fps, self.frames, self.side, self.augmentation, self.cache)
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


def _mixed(
    video: Video, truth: Array, weights: Array, alpha: float, rng: np.random.Generator
) -> tuple[Video, Array, Array]:
    """Mix each clip with the next one, and labels and weights in the same parts."""
    share = np.float32(rng.beta(alpha, alpha))
    pictures, truth, weights = (
        x * share + np.roll(x, 1, axis=0) * (1 - share) for x in (video, truth, weights)
    )
    return np.round(pictures).astype(np.uint8), truth, weights
