"""Batches of clips: pictures, labels, and what each answer counts."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from movinet_convert.parameters import Array
from movinet_convert.training.reading import Augmentation, Cache, Video, read_or_say
from movinet_models.clips import LabelledClip
from movinet_runtime.errors import SourceError

NONE = ""  # stands for all classes where a clip shows none
Batch = tuple[Video, Array, Array]
LED_OF = 4  # batches take turns: one has no lead-in,
ITSELF = 1  # in this turn clips are shown twice: what is seen goes on, as idleness mostly does
READERS, AHEAD = 2, 4  # threads, and batches that wait


@dataclass
class Batches:
    """(video, labels, weights), the same at every epoch number.

    Video is uint8 [batch, lead-in and frames, side, side, 3], labels [batch, outputs,
    classes] (1 for what a clip shows) and weights [batch, outputs], with one output a frame
    or one in all. A clip that is too short repeats its last frame, with no weight.

    Attributes:
        augmentation: None is for validation: the clips in their order, and weight on the
            last frame only, so that accuracy is that of the whole clip.
        class_weights: by label.
        lead_in: frames before each clip, without outputs, so that the state is that of a
            stream that goes on: in two of four batches the first frames of another clip, in
            one those of the clip itself, in one none, since a network that never sees a
            stream begin forgets how.
        part: of every batch, and of how many: each machine of a training reads its own.
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
    part: tuple[int, int] = (0, 1)
    pool: Executor | None = None
    cache: Cache | None = None
    broken: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Batches an epoch; in training the last one must be full, for its batch norm."""
        whole = len(self.clips) / self.batch
        return max(1, int(whole)) if self.augmentation else math.ceil(whole)

    def __getitem__(self, index: int) -> Batch:
        try:
            return self._batch(index)
        except BrokenProcessPool as error:
            raise SourceError("a process that reads clips was killed: is memory short?") from error

    def _batch(self, index: int) -> Batch:
        order = np.arange(len(self.clips))
        if self.augmentation:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        chosen = order[index * self.batch : (index + 1) * self.batch]
        chosen = np.array_split(chosen, self.part[1])[self.part[0]]
        outputs = self.frames if self.frame_by_frame else 1
        video = np.zeros((len(chosen), self.frames, self.side, self.side, 3), np.uint8)
        truth = np.zeros((len(chosen), outputs, len(self.labels)), np.float32)
        weights = np.zeros((len(chosen), outputs), np.float32)
        for i, (clip, pictures) in enumerate(self._read(chosen.tolist())):
            count = len(pictures)
            video[i, :count] = pictures
            video[i, count:] = video[i, count - 1]
            truth[i, :, [self.labels.index(label) for label in clip.labels]] = 1
            rarest = max(self.class_weights.get(label, 1.0) for label in clip.labels or (NONE,))
            weights[i] = self._weights(count) * rarest
        if self.augmentation and self.augmentation.mixup:
            rng = np.random.default_rng([self.seed, self.epoch, len(self.clips), index])
            video, truth, weights = _mixed(video, truth, weights, self.augmentation.mixup, rng)
        turn = (index + self.epoch) % LED_OF
        if self.lead_in and turn:
            which = 0 if turn == ITSELF else 1  # clips further
            before = np.roll(video, which, axis=0)[:, : self.lead_in]
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
            others = (c for c in self.clips if c.labels == clip.labels and c != clip)
            while isinstance(found, str):
                self.broken[str(clip.path)] = found
                other = next((c for c in others if str(c.path) not in self.broken), None)
                if other is None:
                    raise SourceError(f"no clip of '{', '.join(clip.labels)}' can be read any more")
                clip, found = other, read(other, seeds)
            yield clip, found


def ahead(batches: Batches, first: int = 0) -> Iterator[Batch]:
    """Yield batches in their order, from the first one on, while later ones are read."""
    with ThreadPoolExecutor(READERS) as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for index in range(first, len(batches)):
                waiting.append(pool.submit(batches.__getitem__, index))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _mixed(
    video: Video, truth: Array, weights: Array, alpha: float, rng: np.random.Generator
) -> tuple[Video, Array, Array]:
    """Mix each clip with the next one, and labels and weights in the same parts."""
    share = np.float32(rng.beta(alpha, alpha))
    pictures, truth, weights = (
        x * share + np.roll(x, 1, axis=0) * (1 - share) for x in (video, truth, weights)
    )
    return np.round(pictures).astype(np.uint8), truth, weights
