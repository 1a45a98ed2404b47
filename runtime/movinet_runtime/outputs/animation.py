"""Frames as GIF or WebP. An animation is held in memory until it is whole: it has a limit."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_runtime.errors import OutputError

ANIMATIONS = (".gif", ".webp")
LONGEST_ANIMATION = 600  # frames: two minutes of 5 a second, 100 MB of 400 x 450 pixels


class AnimationWriter:
    """Collects frames, uint8 [h, w, 3] RGB of one size, and writes them at the end."""

    def __init__(self, path: Path, name: Path, fps: float) -> None:
        self._path, self._name, self._fps = path, name, fps
        self._indexed = name.suffix.lower() == ".gif"
        self._pictures: list[Image.Image] = []

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame.

        Raises:
            OutputError: there are too many.
        """
        if len(self._pictures) == LONGEST_ANIMATION:
            raise OutputError(
                f"{self._name} has {LONGEST_ANIMATION} frames, the most of an animation; try .mp4"
            )
        picture = Image.fromarray(frame)
        # A palette now instead of at the end: a third of the memory.
        if self._indexed:
            picture = picture.convert("P", palette=Image.Palette.ADAPTIVE)
        self._pictures.append(picture)

    def finish(self) -> bool:
        """Write the file; return whether there were frames."""
        if not self._pictures:
            return False
        first, *others = self._pictures
        duration = round(1000 / self._fps)
        first.save(
            self._path,
            self._name.suffix[1:],
            save_all=True,
            append_images=others,
            duration=duration,
            loop=0,
        )
        return True

    def abandon(self) -> None:
        """Forget the frames."""
        self._pictures.clear()
