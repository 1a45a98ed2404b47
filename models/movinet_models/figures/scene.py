"""A scene: a body in its clothes, a place, light and a camera, drawn frame by frame."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from movinet_models.figures.actions import FLOOR, Action
from movinet_models.figures.body import Body, Points, joints

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

SUPERSAMPLING = 2
SPEED = (0.6, 1.6)
WAY = 1.8  # of somebody who walks by, picture widths until he comes again
# Limbs as (from, to, thickness in body heights, piece of clothing).
LIMBS = [
    *((f"{s}_{a}", f"{s}_{b}", width, cloth) for s in ("left", "right") for a, b, width, cloth in (
        ("hip", "knee", 0.075, "trousers"),
        ("knee", "ankle", 0.058, "trousers"),
        ("ankle", "toe", 0.045, "shoes"),
        ("shoulder", "elbow", 0.052, "shirt"),
        ("elbow", "wrist", 0.042, "skin"),
    )),
    ("pelvis", "chest", 0.15, "shirt"),
    ("chest", "head", 0.05, "skin"),
]  # fmt: skip
SKIN = ((255, 224, 196), (234, 192, 150), (198, 134, 66), (141, 85, 36), (88, 56, 39))


@dataclass(frozen=True)
class Scene:
    """Everything that stays the same through a clip.

    Lengths are in picture heights, angles in radians.
    """

    body: Body
    clothes: dict[str, Colour]
    background: Picture  # [h, 2 h, 3]; goes round
    size: float  # of the body
    position: tuple[float, float]  # of the point on the floor below it
    turn: float  # added to the action's facing
    mirrored: bool
    pitch: float  # how far the camera looks down
    speed: float
    pan: tuple[float, float, float]  # of the camera: amplitude, rounds a second, phase
    light: tuple[float, float, float]
    flicker: float
    blur: float  # radius, pixels of a picture 112 high
    noise: float
    occluder: tuple[float, float, Colour] | None  # left edge, width
    passer: tuple[float, float, float, Colour] | None  # start, speed, size: behind the body

    @classmethod
    def random(cls, rng: np.random.Generator, side: int) -> "Scene":
        """Draw a scene for pictures of a size."""
        size = rng.uniform(0.62, 0.86)
        background = _background(rng, side)
        occluded, passed = rng.random(2) < (0.25, 0.3)
        return cls(
            body=Body.random(rng),
            clothes=_clothes(rng, background.mean(axis=(0, 1))),
            background=background,
            size=size,
            position=(rng.uniform(0.4, 0.6), rng.uniform(0.89, 0.97)),
            turn=rng.uniform(-0.6, 0.6),
            mirrored=bool(rng.random() < 0.5),
            pitch=rng.uniform(0.0, 0.25),
            speed=float(np.exp(rng.uniform(*np.log(SPEED)))),
            pan=(rng.uniform(0, 0.03), rng.uniform(0.1, 0.6), rng.uniform(0, 1)),
            light=tuple(rng.uniform(0.65, 1.15) * rng.uniform(0.92, 1.08, 3)),
            flicker=rng.uniform(0, 0.04),
            blur=max(0.0, rng.uniform(-0.6, 0.9)),
            noise=rng.uniform(0, 9),
            occluder=(rng.uniform(0, 0.9), rng.uniform(0.04, 0.12), _colour(rng))
            if occluded
            else None,
            passer=(rng.uniform(0, 1), rng.uniform(-0.4, 0.4), rng.uniform(0.1, 0.3), _colour(rng))
            if passed
            else None,
        )

    def frames(
        self,
        script: Sequence[tuple[Action, float]],
        fps: float,
        rng: np.random.Generator,
    ) -> Iterator[Picture]:
        """Draw actions one after the other, each for some seconds.

        Args:
            script: (action, seconds).
            fps: frames a second.
            rng: for the phase at which each action starts, and for noise.
        """
        began, travelled = 0.0, rng.uniform(0, 2)
        for action, seconds in script:
            phase = rng.random()
            times = np.arange(round(seconds * fps)) / fps
            way = -1 if action.backwards else 1
            rounds = phase + way * times * self.speed / action.seconds
            points = joints(self.body, action.move(self.body, rounds % 1))
            passed = travelled + rounds * action.travels
            walked = travelled + rounds * action.crosses
            for i, time in enumerate(times):
                now = {name: point[i] for name, point in points.items()}
                yield self._draw(
                    action, now, rounds[i] % 1, began + way * time, passed[i], walked[i], rng
                )
            began += seconds

    def _draw(
        self,
        action: Action,
        at: dict[str, Points],
        phase: float,
        time: float,
        passed: float,
        walked: float,
        rng: np.random.Generator,
    ) -> Picture:
        side = self.background.shape[0]
        facing = action.facing + self.turn
        if self.mirrored:
            facing = -facing
        x, y = self.position
        if action.crosses:  # the picture is 1 wide, and what lies beside it belongs to the way
            x = 0.5 + np.sign(facing) * (walked * self.size % WAY - WAY / 2)
        camera = _Camera(facing, self.pitch, self.size * side, (x, y), side)
        sweep, rate, start = self.pan
        shift = sweep * np.sin(2 * np.pi * (rate * time + start))
        shift += passed * self.size * np.sin(facing)
        columns = (np.arange(side) + round(shift * side)) % self.background.shape[1]
        image = Image.fromarray(self.background[:, columns])
        big = image.resize((side * SUPERSAMPLING,) * 2, Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(big)
        if self.passer is not None:
            origin, speed, size, colour = self.passer
            x = ((origin + speed * time) % 1.4 - 0.2) * side
            extent = size * side
            _blob(draw, x, side * self.position[1] - extent, extent, colour)
        if action.present:
            self._draw_things(draw, camera, action.prop, at, phase)
        if self.occluder is not None:
            left, width, colour = self.occluder
            box = np.array([left, 0, left + width, 1]) * side * SUPERSAMPLING
            draw.rectangle(list(box), colour)
        picture = big.reduce(SUPERSAMPLING)
        if self.blur > 0:
            picture = picture.filter(ImageFilter.BoxBlur(self.blur * side / 112))
        light = np.array(self.light, np.float32) * (1 + self.flicker * rng.standard_normal())
        lit = np.asarray(picture, np.float32) * light.astype(np.float32)
        lit += rng.standard_normal((side, side, 1), np.float32) * np.float32(self.noise)
        return np.clip(lit, 0, 255).astype(np.uint8)

    def _draw_things(
        self,
        draw: ImageDraw.ImageDraw,
        camera: "_Camera",
        prop: str | None,
        at: dict[str, Points],
        phase: float,
    ) -> None:
        """Draw limbs, head and prop, the farthest first."""
        things: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        for start, end, width, cloth in LIMBS:
            (a, da), (b, db) = camera.see(at[start]), camera.see(at[end])
            width *= self.body.girth * camera.scale
            things.append(((da + db) / 2, _limb, (draw, a, b, width, self.clothes[cloth])))
        head, depth = camera.see(at["head"])
        radius = self.body.head * camera.scale
        things.append((depth, _face, (draw, head, radius, self.clothes["skin"])))
        things.append((depth - 0.01, _face, (draw, head - [0, radius * 0.35], radius * 1.05,
                                             self.clothes["hair"])))  # fmt: skip
        colour = self.clothes["prop"]
        for middle, points in _prop(prop, at, phase, self.body):
            seen = [camera.see(point)[0] for point in points]
            things.append((camera.see(middle)[1], _surface, (draw, seen, colour)))
        for _, paint, arguments in sorted(things, key=lambda thing: thing[0]):
            paint(*arguments)


@dataclass(frozen=True)
class _Camera:
    """Parallel projection; ``scale`` is a body height in supersampled pixels."""

    facing: float
    pitch: float
    height: float
    position: tuple[float, float]
    side: int

    @property
    def scale(self) -> float:
        return self.height * SUPERSAMPLING

    def see(self, point: Points) -> tuple[NDArray[np.float64], float]:
        """Return a point in the picture (x, y), and how near it is."""
        x, y, z = point
        right = x * np.sin(self.facing) + y * np.cos(self.facing)
        near = x * np.cos(self.facing) - y * np.sin(self.facing)
        up = z * np.cos(self.pitch) - near * np.sin(self.pitch)
        ground = np.array(self.position) * self.side * SUPERSAMPLING
        return ground + np.array([right, -up]) * self.scale, near


def _limb(
    draw: ImageDraw.ImageDraw,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    width: float,
    colour: Colour,
) -> None:
    draw.line([*a, *b], colour, max(1, round(width)))
    for x, y in (a, b):
        r = width / 2
        draw.ellipse([x - r, y - r, x + r, y + r], colour)


def _face(
    draw: ImageDraw.ImageDraw, centre: NDArray[np.float64], radius: float, colour: Colour
) -> None:
    x, y = centre
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], colour)


def _surface(
    draw: ImageDraw.ImageDraw, points: Sequence[NDArray[np.float64]], colour: Colour
) -> None:
    corners = [tuple(point) for point in points]
    edge = tuple(channel * 2 // 3 for channel in colour)
    draw.polygon(corners, colour)
    draw.line([*corners, corners[0]], edge, SUPERSAMPLING)


def _blob(draw: ImageDraw.ImageDraw, x: float, y: float, extent: float, colour: Colour) -> None:
    box = np.array([x, y, x + extent * 0.6, y + extent]) * SUPERSAMPLING
    draw.rounded_rectangle(list(box), extent * 0.2 * SUPERSAMPLING, colour)


def _prop(
    prop: str | None, at: dict[str, Points], phase: float, body: Body
) -> list[tuple[Points, list[Points]]]:
    """Return the surfaces of a prop as (a point that tells its depth, corners)."""
    if prop == "chair":
        top = body.shin - 0.02
        seat = _cuboid((-0.33, -0.1, top - 0.04), (-0.09, 0.1, top))
        back = _cuboid((-0.36, -0.1, top), (-0.33, 0.1, top + 0.28))
        legs = [
            _cuboid((x, y, 0), (x + 0.025, y + 0.02, top))
            for x in (-0.33, -0.12)
            for y in (-0.1, 0.08)
        ]
        return [surface for part in (seat, back, *legs) for surface in part]
    if prop == "box":
        return _cuboid((0.21, -0.15, 0.0), (0.52, 0.15, 0.62))
    if prop == "thing":
        middle = (at["left_wrist"] + at["right_wrist"]) / 2
        if phase < 0.5:  # still on the floor
            middle = np.array([FLOOR[0], 0, 0.05])
        return _cuboid(middle - 0.05, middle + 0.05)
    return []


def _cuboid(
    low: Sequence[float] | Points, high: Sequence[float] | Points
) -> list[tuple[Points, list[Points]]]:
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    surfaces = []
    for axis in range(3):
        others = [i for i in range(3) if i != axis]
        for end in (low, high):
            corners = []
            for i, j in ((0, 0), (0, 1), (1, 1), (1, 0)):
                corner = end.copy()
                corner[others[0]] = (low, high)[i][others[0]]
                corner[others[1]] = (low, high)[j][others[1]]
                corners.append(corner)
            surfaces.append((np.mean(corners, axis=0), corners))
    return surfaces


def _colour(rng: np.random.Generator, low: int = 20, high: int = 235) -> Colour:
    r, g, b = rng.integers(low, high, 3)
    return int(r), int(g), int(b)


def _clothes(rng: np.random.Generator, behind: NDArray[np.float64]) -> dict[str, Colour]:
    """Draw colours; shirt and trousers of those that stand out most from the background."""

    def distinct() -> Colour:
        drawn = [_colour(rng) for _ in range(4)]
        return max(drawn, key=lambda colour: float(np.abs(np.array(colour) - behind).sum()))

    dark = _colour(rng, 10, 90)
    return {
        "shirt": distinct(),
        "trousers": distinct(),
        "skin": SKIN[rng.integers(len(SKIN))],
        "hair": dark,
        "shoes": _colour(rng, 10, 250),
        "prop": distinct(),
    }


def _background(rng: np.random.Generator, side: int) -> Picture:
    """Wall and floor with textures that go round, uint8 [side, 2 side, 3]."""
    height, width = side, 2 * side
    horizon = round(height * rng.uniform(0.6, 0.85))
    picture = np.empty((height, width, 3), np.float32)
    for rows in pairwise((0, horizon, height)):
        colour = rng.uniform(50, 205, 3)
        texture = _texture(rng, rows[1] - rows[0], width) * rng.uniform(5, 32)
        tint = rng.uniform(0.5, 1.0, 3)
        picture[rows[0] : rows[1]] = colour + texture[..., None] * tint
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 6)):  # windows, pictures, furniture
        x, y = rng.uniform(0, width), rng.uniform(0, horizon)
        w, h = rng.uniform(0.05, 0.35, 2) * side
        shape = draw.rectangle if rng.random() < 0.7 else draw.ellipse
        shape([x, y, x + w, y + h], _colour(rng, 50, 205))
    return np.asarray(image)


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Smooth noise of several sizes, or stripes; about -1 to 1."""
    if rng.random() < 0.3:
        rounds = rng.integers(4, 24)
        slant = rng.uniform(-1, 1)
        x = np.arange(width)[None] / width + slant * np.arange(height)[:, None] / width
        return np.sign(np.sin(2 * np.pi * rounds * x)).astype(np.float32)
    total = np.zeros((height, width), np.float32)
    for cells in (4, 12, 36):
        coarse = rng.standard_normal((max(2, cells * height // width), cells)).astype(np.float32)
        image = Image.fromarray(np.concatenate([coarse, coarse[:, :1]], axis=1))
        total += np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return total * np.float32(0.5)
