"""What a body does, as functions of a phase that runs from 0 to 1 and starts again.

Three pairs are each other backwards. They run round and round like a GIF, with a cut
where they begin again: so every instant is as likely in one as in the other, and no
single frame, not even the last one, tells which of the two it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from movinet_models.figures.body import LEFT, RIGHT, SIDES, Body, Points, Pose

Phase = NDArray[np.float64]
Move = Callable[[Body, Phase], Pose]


@dataclass(frozen=True)
class Action:
    """Something to do.

    Attributes:
        move: the pose at a phase.
        seconds: how long one round takes at normal speed.
        facing: the usual angle to the camera, radians; 0 looks into it, pi/2 to the side.
        prop: what is there besides the body.
        travels: body heights that the ground passes backwards in one round.
        backwards: time runs the other way.
        crosses: body heights that the body walks through the picture in one round; out at
            one side, it comes again at the other.
        present: somebody is there.
    """

    move: Move
    seconds: float
    facing: float
    prop: str | None = None
    travels: float = 0.0
    backwards: bool = False
    crosses: float = 0.0
    present: bool = True


def _points(x: Phase | float, y: Phase | float, z: Phase | float) -> Points:
    return np.stack(np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (x, y, z))), axis=-1)


def _wave(phase: Phase) -> Phase:
    """0 at the ends of a round and 1 in its middle."""
    return (1 - np.cos(2 * np.pi * phase)) / 2


def _ease(phase: Phase, start: float, end: float) -> Phase:
    """0 before the start, 1 after the end, smooth between."""
    t = np.clip((phase - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _between(a: Points, b: Points, share: Phase) -> Points:
    return a + (b - a) * share[:, None]


def _stand(body: Body, phase: Phase) -> Pose:
    zero = np.zeros_like(phase)
    return Pose(
        pelvis=_points(zero, 0, body.leg * 0.985),
        lean=zero,
        feet=(_points(zero, 0.07, 0), _points(zero, -0.07, 0)),
        hands=(_hang(body, zero, LEFT), _hang(body, zero, RIGHT)),
    )


def _hang(body: Body, like: Phase, side: float) -> Points:
    return _points(like + 0.02, 0.04 * side, -0.96 * body.arm)


def jumping_jacks(body: Body, phase: Phase) -> Pose:
    """Legs apart and arms overhead, and back."""
    open_, bounce = _wave(phase), 0.04 * np.abs(np.sin(2 * np.pi * phase))
    apart = 0.06 + 0.15 * open_
    angle = 0.12 + 2.75 * open_
    stand = _stand(body, phase)
    drop = body.leg - np.sqrt(body.leg**2 - (apart - body.hips) ** 2)
    return replace(
        stand,
        pelvis=stand.pelvis + _points(0 * phase, 0, bounce - drop),
        feet=(_points(0 * phase, apart, bounce), _points(0 * phase, -apart, bounce)),
        hands=tuple(
            body.arm * _points(0.05 + 0 * phase, s * np.sin(angle), -np.cos(angle)) for s in SIDES
        ),
    )


def squat(body: Body, phase: Phase) -> Pose:
    """Down with the arms stretched forward, and up."""
    down = _wave(phase)
    stand = _stand(body, phase)
    forward = [_points(0.95 * body.arm + 0 * phase, 0.03 * s, 0.02) for s in SIDES]
    return Pose(
        pelvis=stand.pelvis + _points(-0.1 * down, 0, -0.26 * down),
        lean=0.65 * down,
        feet=(_points(0 * phase, 0.1, 0), _points(0 * phase, -0.1, 0)),
        hands=tuple(_between(h, f, down) for h, f in zip(stand.hands, forward, strict=True)),
    )


def waving_hand(body: Body, phase: Phase) -> Pose:
    """One hand beside the head, from side to side."""
    swing = np.sin(2 * np.pi * phase)
    stand = _stand(body, phase)
    raised = _points(0.08 + 0 * phase, 0.13 + 0.11 * swing, 0.21 - 0.03 * np.abs(swing))
    return replace(stand, hands=(raised, stand.hands[1]))


def clapping(body: Body, phase: Phase) -> Pose:
    """Hands together before the chest, and apart."""
    apart = 0.015 + 0.17 * _wave(phase)
    stand = _stand(body, phase)
    return replace(
        stand,
        hands=tuple(_points(0.19 + 0 * phase, s * (apart - body.shoulders), -0.06) for s in SIDES),
    )


def lunge(body: Body, phase: Phase) -> Pose:
    """A long step forward and down, and back."""
    out, lift = _wave(phase), 0.05 * np.abs(np.sin(2 * np.pi * phase))
    stand = _stand(body, phase)
    front = _points(0.36 * out, 0.06, lift * (1 - out))
    back = _points(-0.16 * out, -0.06, 0.03 * out)
    hips = [_points(0.06 + 0 * phase, 0.05 * s, -0.75 * body.arm) for s in SIDES]
    return Pose(
        pelvis=stand.pelvis + _points(0.12 * out, 0, -0.2 * out),
        lean=0.1 * out,
        feet=(front, back),
        hands=tuple(_between(h, f, out) for h, f in zip(stand.hands, hips, strict=True)),
    )


def high_kick(body: Body, phase: Phase) -> Pose:
    """One stretched leg up to the shoulder, and down."""
    up = _wave(phase) ** 1.5
    angle = 1.85 * up
    stand = _stand(body, phase)
    leg = body.leg * 0.98
    kick = stand.pelvis + _points(leg * np.sin(angle), 0.06, -leg * np.cos(angle))
    guard = [_points(0.14 + 0 * phase, 0.04 * s, -0.02) for s in SIDES]
    return Pose(
        pelvis=stand.pelvis,
        lean=-0.3 * up,
        feet=(kick, stand.feet[1]),
        hands=tuple(guard),
    )


def sitting_down(body: Body, phase: Phase) -> Pose:
    """From standing onto the chair behind; the chair is as high as a shin."""
    down = _ease(phase, 0.15, 0.85)
    stand = _stand(body, phase)
    lap = [_points(0.2 + 0 * phase, -0.01 * s, -0.2) for s in SIDES]
    seat = _points(0 * phase - 0.2, 0, body.shin + 0.03)
    return Pose(
        pelvis=_between(stand.pelvis, seat, down),
        lean=0.65 * np.sin(np.pi * down),
        feet=stand.feet,
        hands=tuple(_between(h, f, down) for h, f in zip(stand.hands, lap, strict=True)),
    )


CARRY = (0.2, -0.16)  # where hands hold something, from the shoulders: x, z
FLOOR = (0.27, 0.09)  # where it lies, in space: x, z


def picking_up(body: Body, phase: Phase) -> Pose:
    """Bend to the thing on the floor and come up with it."""
    bent = _ease(phase, 0.08, 0.47) - _ease(phase, 0.53, 0.92)
    has = _ease(phase, 0.49, 0.51)
    stand = _stand(body, phase)
    lean = 0.95 * bent
    pelvis = stand.pelvis + _points(-0.12 * bent, 0, -0.2 * bent)
    chest = pelvis + body.torso * _points(np.sin(lean), 0, np.cos(lean))
    low = _points(FLOOR[0] + 0 * phase, 0, FLOOR[1]) - chest
    hands = []
    for side, hang in zip(SIDES, stand.hands, strict=True):
        inward = _points(0 * phase, side * (0.05 - body.shoulders), 0)
        carry = _points(CARRY[0] + 0 * phase, 0, CARRY[1]) + inward
        upright = _between(hang, carry, has)
        hands.append(_between(upright, low + inward, bent))
    return Pose(pelvis, lean, stand.feet, (hands[0], hands[1]))


def pushing(body: Body, phase: Phase) -> Pose:
    """Walk with both hands on a box, which goes ahead."""
    hands = tuple(_points(0.24 + 0 * phase, -0.02 * s, -0.07) for s in SIDES)
    bob = 0.01 * np.cos(4 * np.pi * phase)
    return Pose(
        pelvis=_points(0 * phase - 0.04, 0, body.leg * 0.985 - 0.035 + bob),
        lean=0 * phase + 0.25,
        feet=_steps(phase),
        hands=hands,
    )


def _steps(phase: Phase) -> tuple[Points, Points]:
    """Feet of a walk in place: the ground goes back with the one that stands on it."""
    feet = []
    for side, start in zip(SIDES, (0.0, 0.5), strict=True):
        step = (phase + start) % 1
        stance = step < 0.6  # on the ground and going back with it, else swung forward
        swing = (step - 0.6) / 0.4
        x = np.where(stance, 0.1 - 0.3 * step / 0.6, -0.2 + 0.3 * swing)
        z = np.where(stance, 0, 0.06 * np.sin(np.pi * np.clip(swing, 0, 1)))
        feet.append(_points(x, 0.06 * side, z))
    return feet[0], feet[1]


def standing(body: Body, phase: Phase) -> Pose:
    """Upright with hanging arms; the weight goes from one leg to the other."""
    sway = np.sin(2 * np.pi * phase)
    stand = _stand(body, phase)
    return replace(
        stand,
        pelvis=stand.pelvis + _points(0.005 * sway, 0.02 * sway, -0.012),
        lean=0.03 + 0.03 * sway,
    )


def reading(body: Body, phase: Phase) -> Pose:
    """Standing with one hand held still before the chest, as if with a telephone."""
    stand = standing(body, phase)
    held = _points(0.17 + 0 * phase, -0.05, -0.05 + 0.01 * np.sin(2 * np.pi * phase))
    return replace(stand, hands=(held, stand.hands[1]))


def walking(body: Body, phase: Phase) -> Pose:
    """Upright steps with swinging arms."""
    bob = 0.012 * np.cos(4 * np.pi * phase)
    swing = 0.4 * np.cos(2 * np.pi * (phase - 0.05))
    reach = 0.97 * body.arm
    hands = [
        reach * _points(np.sin(-side * swing) + 0.05, 0.1 * side, -np.cos(swing)) for side in SIDES
    ]
    return Pose(
        pelvis=_points(0 * phase, 0, body.leg * 0.985 - 0.03 + bob),
        lean=0 * phase + 0.05,
        feet=_steps(phase),
        hands=(hands[0], hands[1]),
    )


SIDE = np.pi / 2
ACTIONS: dict[str, Action] = {
    "jumping jacks": Action(jumping_jacks, 1.3, 0.0),
    "squat": Action(squat, 2.0, SIDE * 0.6),
    "waving hand": Action(waving_hand, 0.9, 0.0),
    "clapping": Action(clapping, 0.8, SIDE * 0.3),
    "lunge": Action(lunge, 2.0, SIDE),
    "high kick": Action(high_kick, 1.5, SIDE),
    "sitting down": Action(sitting_down, 2.0, SIDE, "chair"),
    "picking up": Action(picking_up, 2.2, SIDE, "thing"),
    "pushing": Action(pushing, 1.6, SIDE, "box", travels=0.5),
}
REVERSED_PAIRS = {
    "sitting down": "standing up",
    "picking up": "putting down",
    "pushing": "pulling",
}
ACTIONS |= {back: replace(ACTIONS[forth], backwards=True) for forth, back in REVERSED_PAIRS.items()}

# What a camera sees most of the time, one class for all of it.
NOTHING = "nothing"
IDLE: dict[str, Action] = {
    "an empty scene": Action(standing, 4.0, 0.0, present=False),
    "standing": Action(standing, 4.0, 0.0),
    "standing before a chair": Action(standing, 4.0, SIDE, "chair"),
    "reading": Action(reading, 5.0, SIDE * 0.6),
    "walking by": Action(walking, 1.2, SIDE, crosses=0.8),
}
