"""How a clip is shown to a model: which of its frames, and how they are brought to size.

as the runtime does     all frames from the clip's start, or the first N; the largest centred
                        box of the model's shape, antialiased
as was published        the N frames in the clip's middle, from the start again if there are too
                        few; shorter side to a little more than the model's, without
                        antialiasing; then the centre is cut out (docs/preprocessing.md)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_models.clips import LabelledClip, open_clip
from movinet_runtime import frames_at
from movinet_runtime.preprocess import Fit

Picture = NDArray[np.uint8]

# The shorter side before the cut, by the model's side: validation_data.min_image_size in the
# configurations of Model Garden's official/projects/movinet.
PUBLISHED_SHORTER_SIDES = {172: 192, 224: 256, 256: 288, 290: 320, 320: 368}
OTHER_SHORTER_SIDE = 1.125  # of the model's side, as its quantize_movinet.py has it


@dataclass(frozen=True)
class Protocol:
    """What is shown of each clip.

    Attributes:
        fps: frames a second.
        size: (height, width) of the model.
        frames: at most this many; None: all.
        fit: of the runtime's preprocessing.
        published: as was published, instead of as the runtime does; ``frames`` is needed
            then, and ``fit`` has no say.
    """

    fps: float
    size: tuple[int, int]
    frames: int | None = None
    fit: Fit = "crop"
    published: bool = False

    def read(self, clip: LabelledClip) -> list[Picture]:
        """Return the frames that a model sees, uint8 [height, width, 3].

        Raises:
            SourceError: unreadable, or without frames.
        """
        source = open_clip(clip, self.fps)
        if not self.published:
            return list(frames_at(source, self.size, self.fps, self.frames, self.fit))
        frames = [as_published(frame.image, self.size) for frame in source.sampled(self.fps)]
        return [frames[i] for i in middle(len(frames), self.frames or len(frames))]

    def describe(self) -> str:
        """Say it in a line."""
        height, width = self.size
        rate = f"{self.fps:g} frames a second, {height} x {width}"
        if self.published:
            side = shorter_side(self.size)
            return (
                f"as published: {rate}, the {self.frames} frames in the clip's middle (from its "
                f"start again if there are fewer), shorter side to {side} without antialiasing, "
                "centre cut out, one view"
            )
        frames = "all frames" if self.frames is None else f"the first {self.frames} frames"
        return f"{rate}, {frames}, {self.fit} with antialiasing, one view"

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self) | {"size": list(self.size), "antialias": not self.published}
        return values | ({"fit": "published"} if self.published else {})


def middle(count: int, wanted: int) -> list[int]:
    """Return indices of the frames in the middle of ``count``, repeated from the start."""
    start = max(0, (count - wanted) // 2)
    return [(start + i) % count for i in range(wanted)]


def shorter_side(size: tuple[int, int]) -> int:
    """Return the shorter side of a picture before its centre is cut out, as published."""
    return PUBLISHED_SHORTER_SIDES.get(min(size), int(OTHER_SHORTER_SIDE * min(size)))


def as_published(image: Picture, size: tuple[int, int]) -> Picture:
    """Bring a frame to the model's size as the published accuracies were measured.

    Args:
        image: uint8 [h, w, 3].
        size: (height, width) of the model.
    """
    height, width = image.shape[:2]
    side = shorter_side(size)
    larger = max(side, height * side // width), max(side, width * side // height)
    if larger != (height, width):
        image = bilinear(image, larger)
    top, left = ((a - b) // 2 for a, b in zip(image.shape[:2], size, strict=True))
    return image[top : top + size[0], left : left + size[1]]


def bilinear(image: Picture, size: tuple[int, int]) -> Picture:
    """Resize from the four nearest pixels, however many lie between: no antialiasing.

    TensorFlow's ``tf.image.resize`` does this by default; the result is cut to whole
    numbers, as its casts do.
    """
    y, x = (_neighbours(old, new) for old, new in zip(image.shape[:2], size, strict=True))
    rows = image.astype(np.float32)
    mixed = _mixed(rows[:, x[0]], rows[:, x[1]], x[2][None, :, None])
    return _mixed(mixed[y[0]], mixed[y[1]], y[2][:, None, None]).astype(np.uint8)


def _mixed(a: NDArray[Any], b: NDArray[Any], share: NDArray[np.float32]) -> NDArray[np.float32]:
    mixed: NDArray[np.float32] = a + (b - a) * share
    return mixed


def _neighbours(
    old: int, new: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return for each new pixel those on both sides of its centre, and the second's share."""
    half = np.float32(0.5)  # in single precision as TensorFlow: cuts fall the same way
    centres = (np.arange(new, dtype=np.float32) + half) * np.float32(old / new) - half
    first = np.floor(centres).astype(np.int64)
    share = (centres - first).astype(np.float32)
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), share


def filled(frames: Sequence[Picture], count: int) -> list[Picture]:
    """Return exactly ``count`` frames: the first, or all and the last one again."""
    shown = list(frames[:count])
    return shown + shown[-1:] * (count - len(shown))
