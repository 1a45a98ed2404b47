"""Bring a frame to the model's resolution and range."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_runtime.errors import SourceError

Fit = Literal["crop", "stretch", "pad"]


SCALE = np.float32(1 / 255)


def prepare(image: NDArray[Any], size: tuple[int, int], fit: Fit = "crop") -> NDArray[np.float32]:
    """Return :func:`resized` as float32 [height, width, 3] in [0, 1]."""
    return np.multiply(resized(image, size, fit), SCALE, dtype=np.float32)


def resized(image: NDArray[Any], size: tuple[int, int], fit: Fit = "crop") -> NDArray[np.uint8]:
    """Bring a frame to the model's size with antialiasing.

    Args:
        image: uint8 [h, w, 3] RGB.
        size: (height, width) of the model.
        fit: ``crop`` takes the largest box of the model's shape from the middle (the published
            accuracies: a tenth less of each side, docs/preprocessing.md); ``stretch`` ignores
            the aspect ratio; ``pad`` adds black bars.

    Returns:
        uint8 [height, width, 3].

    Raises:
        SourceError: not a uint8 RGB image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise SourceError(f"a frame must be uint8 [h, w, 3], this is {image.dtype} {image.shape}")
    height, width = size
    if image.shape[:2] == size:
        return image
    source = Image.fromarray(image)
    if fit == "pad":
        source = _padded(source, width / height)
    box = _centre(source.size, width / height) if fit == "crop" else None
    return np.asarray(source.resize((width, height), Image.Resampling.BILINEAR, box=box))


def _centre(size: tuple[int, int], aspect: float) -> tuple[float, float, float, float]:
    """The largest box of an aspect ratio (width / height) in the middle of an image."""
    width, height = size
    w, h = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def _padded(image: Image.Image, aspect: float) -> Image.Image:
    width, height = image.size
    w, h = max(width, round(height * aspect)), max(height, round(width / aspect))
    canvas = Image.new("RGB", (w, h))
    canvas.paste(image, ((w - width) // 2, (h - height) // 2))
    return canvas
