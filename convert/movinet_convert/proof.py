"""Compare what two models say about one clip, and judge it: NaN never passes."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.clip_model import ClipModel, load_model
from movinet_benchmarks.fidelity import sqnr
from movinet_convert.parameters import Array
from movinet_runtime import StreamModel, step_together
from movinet_runtime.errors import MovinetError

Pictures = NDArray[np.uint8]  # [frames, h, w, 3]
MAX_ERROR = 1e-4  # of the logits' range
MAX_SLICE_ERROR = 1e-5  # of streams in one step, which are the same graph
# Below this a quantized file and its own weights have little to do with each other.
MIN_QUANTIZED_DB = 6.0


class ParityError(MovinetError):
    """A network that does not compute what its source computes."""

    exit_code = 1


@dataclass(frozen=True)
class Parity:
    """How far logits are from those of something that computes the same.

    Attributes:
        against: what they are compared with.
        error: the largest difference over the range of the logits.
        frame: where it is (0 in a base model), and
        difference: how large.
        sqnr_db: energy of the other's logits over that of the difference.
        frames: of the clip, and
        clip: its name.
        quantized: the other is int8: its logits are judged by ``sqnr_db``.
    """

    against: str
    error: float
    frame: int
    difference: float
    sqnr_db: float
    frames: int
    clip: str
    quantized: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is within the limit; false where anything is NaN."""
        if self.quantized:
            return self.sqnr_db >= MIN_QUANTIZED_DB
        return self.error <= MAX_ERROR

    def __str__(self) -> str:
        if self.quantized:
            size = f"{self.sqnr_db:.1f} dB"
        else:
            size = f"{self.error:.1e} of the logits' range"
        return f"{size} over {self.frames} frames ({self.clip})"

    def failure(self) -> str:
        """Say what is wrong, where, and how large."""
        limit = (
            f"less than {MIN_QUANTIZED_DB:g} dB" if self.quantized else f"more than {MAX_ERROR:g}"
        )
        return (
            f"not what {self.against} computes: {self}, {limit}; at frame {self.frame} a logit "
            f"differs by {self.difference:.3g}"
        )


def compared(
    found: Array, expected: Array, against: str, frames: int, clip: str, quantized: bool = False
) -> Parity:
    """Compare logits [frames or 1, classes].

    Raises:
        ParityError: another number of frames or classes.
    """
    if found.shape != expected.shape:
        raise ParityError(f"{against} gives logits {expected.shape}, ours are {found.shape}")
    differences = np.abs(found.astype(np.float64) - expected)
    worst = differences.max(axis=1)
    frame = int(np.argmax(np.where(np.isnan(worst), np.inf, worst)))
    spread = float(np.ptp(expected) or np.abs(expected).max())  # one logit has no range
    return Parity(
        against,
        float(worst[frame] / spread) if spread else float("nan"),
        frame,
        float(worst[frame]),
        sqnr(found, expected),
        frames,
        clip,
        quantized,
    )


def model_logits(model: bytes, pictures: NDArray[np.uint8]) -> Array:
    """Run a clip through a .tflite, frame by frame or, if it has no states, at once.

    Args:
        model: the file's content.
        pictures: uint8 [frames, h, w, 3] of the model's size.

    Returns:
        Logits [frames, classes] or [1, classes].
    """
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        return file_logits(path, pictures)


def file_logits(path: Path, pictures: NDArray[np.uint8]) -> Array:
    """Run :func:`model_logits` on a file."""
    model = load_model(path)
    if isinstance(model, ClipModel):
        return model.classify(list(pictures))[None]
    stream = model.stream(horizon=0)  # as a clip network remembers
    return np.stack([stream.step(picture).logits for picture in pictures])


def check_streams(alone: Path, together: Path, clips: Sequence[Pictures]) -> None:
    """Compare streams that run in one step with each of them alone.

    Args:
        alone: the file of one stream.
        together: the file of as many streams as there are clips.
        clips: uint8 [frames, h, w, 3] for each stream, of one length.

    Raises:
        ParityError: a stream's logits differ.
    """
    one, many = StreamModel(alone), StreamModel(together)
    expected = np.stack([file_logits(alone, clip) for clip in clips])
    streams = [many.stream(horizon=0) for _ in clips]
    found = []
    for frames in zip(*clips, strict=True):
        answers = step_together(dict(zip(streams, frames, strict=True)))
        found.append([answers[stream].logits for stream in streams])
    difference = np.abs(np.swapaxes(found, 0, 1) - expected).max()
    error = difference / np.ptp(expected)
    if not error <= MAX_SLICE_ERROR:
        raise ParityError(
            f"{many.streams} streams in one step differ from {one.streams} by {error:.1e} of the "
            f"logits' range, more than {MAX_SLICE_ERROR:g}"
        )
