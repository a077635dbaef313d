"""Machined plates, rendered: a small set of images of parts, some with defects, for a demonstration without a camera.

Each plate lies a little differently, in a little different light, and no two surfaces are alike: as on a real line,
what is normal varies, and a defect is what does not belong to that variation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy  # its parts are loaded when they are used: not for commands that draw nothing
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 320, 240
_HALF = (128.0, 84.0)
_HOLES = ((-96.0, -54.0), (96.0, -54.0), (-96.0, 54.0), (96.0, 54.0))
_HOLE_RADIUS = 13.0

Field = NDArray[np.float64]
Region = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """A rendered part. `mask` shows the defect in white; None for a part without one."""

    image: Image.Image
    defect: str | None
    mask: Image.Image | None


@dataclass
class _Scene:
    """What is drawn on: coordinates on the part for each pixel, the light, and the picture so far."""

    random: np.random.Generator
    x: Field
    y: Field
    light: tuple[float, float]
    picture: Field
    mask: Region

    def shade(self, amount: Field) -> None:
        """Make the picture lighter (positive) or darker."""
        self.picture += amount[..., None]

    def spot(self) -> tuple[float, float]:
        """A place on the plate's face, off the holes and the slot."""
        while True:
            u, v = self.random.uniform(-105, 105), self.random.uniform(-62, 62)
            off_holes = all(np.hypot(u - x, v - y) > 34 for x, y in _HOLES)
            if off_holes and _slot(np.array(u), np.array(v)) > 16:
                return float(u), float(v)


def render_part(random: np.random.Generator, defect: str | None = None) -> Part:
    """Render one plate; `defect` is one of DEFECTS."""
    scene = _scene(random)
    holes = list(_HOLES)
    chosen = random.integers(len(holes))  # drawn for every part, so that a seed gives the same plate with any defect
    missing = holes.pop(chosen) if defect == "missinghole" else None
    _plate(scene)
    bores = [np.hypot(scene.x - x, scene.y - y) - _HOLE_RADIUS for x, y in holes]
    _bore(scene, np.minimum.reduce([*bores, _slot(scene.x, scene.y)]))
    if missing is not None:
        scene.mask = np.hypot(scene.x - missing[0], scene.y - missing[1]) - _HOLE_RADIUS - 2 < 0
    elif defect is not None:
        DEFECTS[defect](scene)
    blurred = scipy.ndimage.gaussian_filter(scene.picture, (0.5, 0.5, 0))
    noisy = blurred + random.normal(0, 0.008, blurred.shape)
    image = Image.fromarray((noisy.clip(0, 1) * 255).round().astype(np.uint8))
    mask = Image.fromarray(scene.mask.astype(np.uint8) * 255) if defect else None
    return Part(image, defect, mask)


def write_parts(folder: Path, *, seed: int, train: tuple[int, int] = (36, 18), test: tuple[int, int] = (8, 8)) -> None:
    """Write a data set in the layout of MVTec AD; `train` and `test` are numbers of normal and anomalous parts."""
    random = np.random.default_rng(seed)
    number = 0
    for part, (normal, anomalous) in (("train", train), ("test", test)):
        defects = [None] * normal + [list(DEFECTS)[n % len(DEFECTS)] for n in range(anomalous)]
        for defect in defects:
            number += 1
            rendered = render_part(random, defect)
            image = folder / part / (defect or "good") / f"plate-{number:03d}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            rendered.image.save(image)
            if rendered.mask is not None:
                mask = folder / "ground_truth" / str(defect) / f"{image.stem}_mask.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                rendered.mask.save(mask)


def _scene(random: np.random.Generator) -> _Scene:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    angle = np.radians(random.normal(0, 1.2))
    x, y = columns - WIDTH / 2 - random.uniform(-4, 4), rows - HEIGHT / 2 - random.uniform(-4, 4)
    turned = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    direction = np.radians(random.normal(-125, 10))
    ground = scipy.ndimage.gaussian_filter(random.normal(0, 1, (HEIGHT, WIDTH)), 1.2) * 0.018
    picture = np.array((0.105, 0.115, 0.13)) + ground[..., None] - 0.0001 * (rows - HEIGHT / 2)[..., None]
    light = float(np.cos(direction)), float(np.sin(direction))
    return _Scene(random, *turned, light, picture, np.zeros((HEIGHT, WIDTH), bool))


def _plate(scene: _Scene) -> None:
    random = scene.random
    outline = _rounded(scene.x, scene.y, _HALF, 16)
    shadow = scipy.ndimage.gaussian_filter(_cover(outline), 5)
    scene.shade(-0.1 * np.roll(shadow, (5, 4), (0, 1)))
    # Brushed metal: noise drawn out along the part, then turned with it.
    brushed = scipy.ndimage.gaussian_filter(random.normal(0, 1, (HEIGHT + 60, WIDTH + 80)), (0.7, 22))
    brushed = scipy.ndimage.map_coordinates(
        brushed / brushed.std(), (scene.y + HEIGHT / 2 + 30, scene.x + WIDTH / 2 + 40)
    )
    clouds = scipy.ndimage.gaussian_filter(random.normal(0, 1, (HEIGHT, WIDTH)), 30)
    slope = (scene.x * scene.light[0] + scene.y * scene.light[1]) / 160
    sheen = np.exp(-(((scene.y * 0.9 + scene.x * 0.35) / 70 - random.uniform(-0.35, 0.35)) ** 2))
    level = 0.5 + random.uniform(-0.03, 0.03) + 0.07 * slope + 0.12 * sheen
    level += 0.026 * brushed + 0.012 * clouds / clouds.std()
    metal = level[..., None] * np.array((0.97, 1.0, 1.035))
    cover = _cover(outline)[..., None]
    scene.picture = scene.picture * (1 - cover) + metal * cover
    _rim(scene, outline, 3.5, 0.2)


def _bore(scene: _Scene, outline: Field) -> None:
    """Countersunk holes: a bright and dark ring, and the dark ground with the shadow of the edge."""
    _rim(scene, outline - 4, 4, -0.22)
    depth = (-outline / 10).clip(0, 1)
    inside = np.array((0.075, 0.08, 0.09)) * (0.55 + 0.45 * depth)[..., None]
    cover = _cover(outline)[..., None]
    scene.picture = scene.picture * (1 - cover) + inside * cover


def _rim(scene: _Scene, outline: Field, width: float, strength: float) -> None:
    """Light on a bevelled edge inside an outline; a negative strength is an edge that falls inwards."""
    down, right = np.gradient(outline)
    facing = right * scene.light[0] + down * scene.light[1]
    scene.shade(strength * facing * _cover(outline) * (1 + outline / width).clip(0, 1))


def _scratch(scene: _Scene) -> None:
    random = scene.random
    (u, v), angle, length = scene.spot(), random.uniform(0, np.pi), random.uniform(45, 85)
    steps = np.linspace(-0.5, 0.5, 160)
    bend = random.uniform(-14, 14) * steps**2 * 4
    along, across = steps * length, bend + np.cumsum(random.normal(0, 0.08, steps.size))
    points = np.stack(
        (u + along * np.cos(angle) - across * np.sin(angle), v + along * np.sin(angle) + across * np.cos(angle))
    )
    near = np.full(scene.x.shape, np.inf)
    weight = np.zeros_like(near)
    for (x, y), step in zip(points.T, steps, strict=True):
        distance = np.hypot(scene.x - x, scene.y - y)
        weight = np.where(distance < near, 1 - 1.4 * abs(step), weight)
        near = np.minimum(near, distance)
    on_face = _face(scene)
    groove = np.exp(-((near / 1.3) ** 2)) * (0.55 + 0.45 * weight) * on_face
    burr = np.roll(np.exp(-((near / 1.7) ** 2)), (1, 2), (0, 1)) * on_face
    scene.shade(0.44 * groove - 0.25 * burr)
    scene.mask = (near < 3.2) & (on_face > 0.5)


def _dent(scene: _Scene) -> None:
    random = scene.random
    (u, v), angle = scene.spot(), random.uniform(0, np.pi)
    long, short = random.uniform(10, 15), random.uniform(7, 10)
    x, y = scene.x - u, scene.y - v
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radius = np.hypot(along / long, across / short)
    bowl = np.exp(-((radius * 1.3) ** 2))
    down, right = np.gradient(bowl)
    facing = (right * scene.light[0] + down * scene.light[1]) * short
    scene.shade((0.36 * facing - 0.09 * bowl) * _face(scene))
    scene.mask = (radius < 1.1) & (_face(scene) > 0.5)


def _stain(scene: _Scene) -> None:
    random = scene.random
    (u, v), radius = scene.spot(), random.uniform(13, 20)
    ripple = scipy.ndimage.gaussian_filter(random.normal(0, 1, scene.x.shape), 5)
    distance = np.hypot(scene.x - u, (scene.y - v) * random.uniform(1.0, 1.5)) / radius + 0.22 * ripple / ripple.std()
    amount = (1 / (1 + np.exp((distance - 0.85) * 9))) * _face(scene)
    edge = np.exp(-(((distance - 0.85) / 0.16) ** 2)) * _face(scene)
    grain = 1 + 0.25 * scipy.ndimage.gaussian_filter(random.normal(0, 1, scene.x.shape), 1.0)
    tint = np.array((0.62, 0.45, 0.3)) * random.uniform(0.9, 1.1)
    opacity = (0.55 * amount * grain + 0.25 * edge).clip(0, 0.85)[..., None]
    scene.picture = scene.picture * (1 - opacity) + scene.picture * tint * opacity
    scene.mask = amount > 0.4


DEFECTS: Mapping[str, Callable[[_Scene], None]] = {
    "scratch": _scratch,
    "dent": _dent,
    "stain": _stain,
    "missinghole": lambda _: None,  # made by leaving out a bore
}


def _face(scene: _Scene) -> Field:
    """1 on the metal, 0 in the holes and beside the plate."""
    face = _cover(_rounded(scene.x, scene.y, _HALF, 16)) * (1 - _cover(_slot(scene.x, scene.y)))
    for x, y in _HOLES:
        face = face * (1 - _cover(np.hypot(scene.x - x, scene.y - y) - _HOLE_RADIUS))
    return face


def _slot(x: Field, y: Field) -> Field:
    return _rounded(x, y, (42.0, 15.0), 15)


def _rounded(x: Field, y: Field, half: tuple[float, float], radius: float) -> Field:
    """Signed distance to a rounded rectangle, in pixels; negative inside."""
    across, down = np.abs(x) - half[0] + radius, np.abs(y) - half[1] + radius
    outside = np.hypot(across.clip(0), down.clip(0))
    return np.asarray(outside + np.minimum(np.maximum(across, down), 0) - radius)


def _cover(outline: Field) -> Field:
    """How much of each pixel is inside, for smooth edges."""
    return np.asarray((0.5 - outline).clip(0, 1))
