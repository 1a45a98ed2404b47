"""What PyAV decodes, as arrays, and what it says when it cannot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def upright(picture: Any) -> NDArray[np.uint8]:
    """Decode to RGB and undo the rotation that the container notes (90 degree steps)."""
    # One thread: starting one for each core takes longer than converting a small frame.
    image: NDArray[np.uint8] = picture.to_ndarray(format="rgb24", threads=1)
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def reason(error: Exception) -> str:
    """Return what went wrong without the name of the file or address, which may be secret."""
    said = getattr(error, "strerror", None)
    return str(said or type(error).__name__)
