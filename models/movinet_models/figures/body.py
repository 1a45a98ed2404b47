"""A body: its proportions, and where its joints are when hands and feet are somewhere.

Lengths are in body heights; x is forward, y to the left, z up, the floor is z = 0.
Every point is an array [frames, 3].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
LEFT, RIGHT = 1.0, -1.0
SIDES = (LEFT, RIGHT)


@dataclass(frozen=True)
class Body:
    """Lengths of a body's parts, in body heights, and its width."""

    thigh: float = 0.245
    shin: float = 0.245
    torso: float = 0.29
    upper_arm: float = 0.165
    forearm: float = 0.155
    neck: float = 0.05
    head: float = 0.065  # radius
    hips: float = 0.055  # half the distance of the hip joints
    shoulders: float = 0.105
    girth: float = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Body":
        """Draw a body: long or short legs and arms, slim or stout."""
        legs, arms, torso = rng.uniform(0.92, 1.08, 3)
        return cls(
            thigh=0.245 * legs,
            shin=0.245 * legs,
            torso=0.29 * torso,
            upper_arm=0.165 * arms,
            forearm=0.155 * arms,
            head=rng.uniform(0.058, 0.078),
            shoulders=rng.uniform(0.085, 0.125),
            girth=rng.uniform(0.75, 1.4),
        )

    @property
    def leg(self) -> float:
        """Length of a stretched leg."""
        return self.thigh + self.shin

    @property
    def arm(self) -> float:
        """Length of a stretched arm."""
        return self.upper_arm + self.forearm


@dataclass(frozen=True)
class Pose:
    """What an action asks of a body over time; (left, right) where there are two."""

    pelvis: Points
    lean: NDArray[np.float64]  # of the torso, forward, radians [frames]
    feet: Sequence[Points]  # ankles, in space
    hands: Sequence[Points]  # relative to their shoulders


def joints(body: Body, pose: Pose) -> dict[str, Points]:
    """Return the joints in space by name: ``pelvis``, ``left_knee`` ..."""
    up = np.stack([np.sin(pose.lean), np.zeros_like(pose.lean), np.cos(pose.lean)], axis=1)
    chest = pose.pelvis + body.torso * up
    found = {
        "pelvis": pose.pelvis,
        "chest": chest,
        "head": chest + (body.neck + body.head) * up,
    }
    sides = zip(("left", "right"), SIDES, pose.feet, pose.hands, strict=True)
    for name, side, foot, hand in sides:
        hip = pose.pelvis + side * body.hips * np.array([0, 1, 0])
        shoulder = chest + side * body.shoulders * np.array([0, 1, 0])
        knee, ankle = reach(hip, foot, body.thigh, body.shin, np.array([1, 0.15 * side, 0]))
        elbow, wrist = reach(
            shoulder, shoulder + hand, body.upper_arm, body.forearm, np.array([-1, side, -0.6])
        )
        toe = ankle + np.array([0.075, 0.02 * side, -0.015])
        found |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": ankle}
        found |= {f"{name}_toe": toe, f"{name}_shoulder": shoulder}
        found |= {f"{name}_elbow": elbow, f"{name}_wrist": wrist}
    return found


def reach(
    root: Points, target: Points, upper: float, lower: float, bend: NDArray[np.float64]
) -> tuple[Points, Points]:
    """Bend a limb of two bones so that its end is at the target, or as near as it gets.

    Args:
        root: where the limb begins.
        target: where its end should be.
        upper, lower: lengths of the bones.
        bend: direction in which the middle joint goes out.

    Returns:
        The middle joint and the end.
    """
    offset = target - root
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    direction = offset / np.maximum(distance, 1e-9)
    least, most = abs(upper - lower) + 1e-6, (upper + lower) * 0.999
    distance = np.clip(distance, least, most)
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)  # law of cosines
    out = np.sqrt(np.maximum(upper**2 - along**2, 0))
    sideways = bend - direction * (direction @ bend)[:, None]
    sideways /= np.maximum(np.linalg.norm(sideways, axis=1, keepdims=True), 1e-9)
    return root + along * direction + out * sideways, root + distance * direction
