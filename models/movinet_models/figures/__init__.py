"""Drawn human figures doing things: a data set that needs no download.

actions    what a body does, as joints over a phase
body       proportions, inverse kinematics, joints in space
scene      camera, light, background, clothes; the pictures
dataset    clips and splits, deterministic by seed, and their files
"""

from movinet_models.figures.actions import ACTIONS, IDLE, NOTHING, REVERSED_PAIRS
from movinet_models.figures.dataset import LABELS, Clip, clips, drawn, render

__all__ = [
    "ACTIONS",
    "IDLE",
    "LABELS",
    "NOTHING",
    "REVERSED_PAIRS",
    "Clip",
    "clips",
    "drawn",
    "render",
]
