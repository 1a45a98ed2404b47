"""Clips of the figures: which there are in a split, and how one is drawn."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from movinet_models.figures.actions import ACTIONS, IDLE, NOTHING, Action
from movinet_models.figures.scene import Picture, Scene
from movinet_runtime.preprocess import resized

LABELS = sorted([*ACTIONS, NOTHING])
SPLITS = ("train", "validation", "test")
FPS = 5.0  # of A0 to A2
FRAMES = 16
SIDE = 112


@dataclass(frozen=True)
class Clip:
    """One clip; ``index`` and the split are its seed, so that splits share nothing."""

    split: str
    index: int

    @property
    def label(self) -> str:
        """What the figure does; every class is as frequent as the others."""
        return LABELS[self.index % len(LABELS)]

    @property
    def action(self) -> Action:
        """How it does it: there are several ways of doing nothing, in turn."""
        if self.label == NOTHING:
            return [*IDLE.values()][self.index // len(LABELS) % len(IDLE)]
        return ACTIONS[self.label]

    def rng(self) -> np.random.Generator:
        """Return the clip's own source of randomness."""
        return np.random.default_rng([SPLITS.index(self.split), self.index])


def clips(split: str, count: int) -> Iterator[Clip]:
    """Name the first clips of a split: ``train``, ``validation`` or ``test``."""
    return (Clip(split, i) for i in range(count))


def render(clip: Clip, frames: int = FRAMES, fps: float = FPS, side: int = SIDE) -> list[Picture]:
    """Draw a clip: uint8 [side, side, 3] for each frame."""
    rng = clip.rng()
    scene = Scene.random(rng, side)
    return list(scene.frames([(clip.action, frames / fps)], fps, rng))


def drawn(split: str, count: int, size: tuple[int, int], fps: float) -> list[list[Picture]]:
    """Draw the first clips of a split as a model sees them: uint8 [*size, 3] for each frame."""
    return [
        [resized(frame, size) for frame in render(clip, fps=fps, side=max(size))]
        for clip in clips(split, count)
    ]
