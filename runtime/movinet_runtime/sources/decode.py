"""What PyAV decodes, as arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def upright(picture: Any) -> NDArray[np.uint8]:
    """Decode to RGB and undo the rotation that the container notes (90 degree steps)."""
    # One thread: starting one for each core takes longer than converting a small frame.
    image = picture.to_ndarray(format="rgb24", threads=1)
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
