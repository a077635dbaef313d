"""Masks of things that lie on surfaces: parts, holes, scratches, tracks, print.

Each function takes a generator and a side n in pixels and returns (n, n), float32, 0 outside and 1 inside.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import special

from gpu.pretraining.textures import Field, coordinates, log_uniform, spectrum

_SIGNS = "ABCDEFGHKLMNPRSTUVXYZabcdeghkmnprstuy0123456789-./:+%°Ω#"


def _mask(image: Image.Image, blur: float = 0.0) -> Field:
    soft = image.filter(ImageFilter.GaussianBlur(blur)) if blur else image
    return np.asarray(soft, dtype=np.float32) / np.float32(255)


def _canvas(n: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (n, n))
    return image, ImageDraw.Draw(image)


def _place(rng: np.random.Generator, n: int) -> tuple[float, float, float]:
    """A centre (x, y) and a size."""
    x, y = rng.random(2) * n
    return float(x), float(y), log_uniform(rng, 4, n / 2)


def ellipse(rng: np.random.Generator, n: int) -> Field:
    """A disc or an oval; a ring for a third of the draws."""
    image, draw = _canvas(n)
    x, y, size = _place(rng, n)
    flat = rng.uniform(0.3, 1) if rng.random() < 0.5 else 1.0
    draw.ellipse((x - size, y - size * flat, x + size, y + size * flat), fill=255)
    if rng.random() < 0.35:
        hole = size * rng.uniform(0.2, 0.9)
        draw.ellipse((x - hole, y - hole * flat, x + hole, y + hole * flat), fill=0)
    return _mask(image.rotate(rng.uniform(0, 180), center=(x, y)))


def polygon(rng: np.random.Generator, n: int) -> Field:
    """Three to eight corners around a centre."""
    image, draw = _canvas(n)
    x, y, size = _place(rng, n)
    angles = np.sort(rng.random(rng.integers(3, 9))) * 2 * np.pi
    radii = size * rng.uniform(0.5, 1, len(angles))
    draw.polygon([(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)], fill=255)
    return _mask(image)


def gear(rng: np.random.Generator, n: int) -> Field:
    """A wheel with teeth, or a nut with six sides, with a hole."""
    image, draw = _canvas(n)
    x, y, size = _place(rng, n)
    teeth = int(rng.integers(5, 30))
    radii = np.tile([1, 1, rng.uniform(0.7, 0.95), rng.uniform(0.7, 0.95)], teeth) if rng.random() < 0.7 else np.ones(6)
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + rng.uniform(0, 6)
    draw.polygon(
        [(x + size * r * np.cos(a), y + size * r * np.sin(a)) for r, a in zip(radii, angles, strict=True)], fill=255
    )
    hole = size * rng.uniform(0.1, 0.6)
    draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    return _mask(image)


def bar(rng: np.random.Generator, n: int) -> Field:
    """A rectangle, sharp or with round corners, upright or turned."""
    image, draw = _canvas(n)
    x, y, size = _place(rng, n)
    height = size * log_uniform(rng, 0.05, 1)
    radius = min(size, height) * rng.choice([0, rng.uniform(0, 1)])
    draw.rounded_rectangle((x - size, y - height, x + size, y + height), radius, fill=255)
    turned = rng.choice([0, 90, rng.uniform(0, 180)])
    return _mask(image.rotate(turned, center=(x, y)))


def stroke(rng: np.random.Generator, n: int) -> Field:
    """A broken line of one width: wire, gap, edge."""
    image, draw = _canvas(n)
    x, y, size = _place(rng, n)
    points = [(x, y)]
    for _ in range(rng.integers(1, 6)):
        points.append((points[-1][0] + rng.normal() * size, points[-1][1] + rng.normal() * size))
    draw.line(points, fill=255, width=int(rng.integers(1, 10)), joint="curve")
    return _mask(image)


def scratch(rng: np.random.Generator, n: int) -> Field:
    """A hair-thin curve that comes and goes, alone or with companions."""
    image, draw = _canvas(n)
    for _ in range(int(log_uniform(rng, 1, 8))):
        x, y, length = _place(rng, n)
        angle, turn_by = rng.uniform(0, 2 * np.pi), rng.normal() * 0.06
        for _ in range(int(length) // 3):
            step = x + 3 * np.cos(angle), y + 3 * np.sin(angle)
            if rng.random() < 0.95:
                draw.line((x, y, *step), fill=int(rng.integers(90, 256)), width=int(rng.integers(1, 3)))
            (x, y), angle = step, angle + turn_by + rng.normal() * 0.05
    return _mask(image, rng.uniform(0, 0.8))


def blot(rng: np.random.Generator, n: int) -> Field:
    """A patch with a ragged edge: stain, chip, corrosion, glue."""
    y, x = coordinates(n)
    cx, cy, size = _place(rng, n)
    rough = spectrum(rng, n, rng.uniform(1.0, 2.0)) * rng.uniform(0.1, 0.6)
    reach = 1 - np.hypot((x - cx) * rng.uniform(0.5, 1), y - cy) / size + rough
    return np.asarray(special.expit(reach * log_uniform(rng, 3, 60)), dtype=np.float32)


def tracks(rng: np.random.Generator, n: int) -> Field:
    """Conductors that run straight and at 45°, side by side, with round pads at their ends."""
    image, draw = _canvas(n)
    pitch, width = int(log_uniform(rng, 6, 40)), 0
    for _ in range(int(log_uniform(rng, 2, 40))):
        x, y = (rng.integers(0, n // pitch + 1, 2) * pitch).tolist()
        width = max(1, int(pitch * rng.uniform(0.15, 0.5)))
        heading = int(rng.integers(4)) * 2
        lanes = int(rng.integers(1, 5))
        points = [(x, y)]
        for _ in range(rng.integers(1, 6)):
            heading = (heading + int(rng.integers(-1, 2))) % 8
            reach = pitch * int(rng.integers(1, 12))
            dx, dy = round(np.cos(heading * np.pi / 4)), round(np.sin(heading * np.pi / 4))
            points.append((points[-1][0] + dx * reach, points[-1][1] + dy * reach))
        for lane in range(lanes):
            moved = [(px + lane * pitch, py + lane * pitch * (heading % 4 == 0)) for px, py in points]
            draw.line(moved, fill=255, width=width, joint="curve")
            _pads(draw, (moved[0], moved[-1]), width * rng.uniform(0.8, 1.6), drilled=rng.random() < 0.5)
    return _mask(image)


def pads(rng: np.random.Generator, n: int) -> Field:
    """Rows of equal pads, round or square: pins, rivets, holes, keys."""
    image, draw = _canvas(n)
    x, y, size = _place(rng, n)
    pitch, (columns, rows) = log_uniform(rng, 6, 60), rng.integers(1, 14, 2).tolist()
    half = (pitch * rng.uniform(0.15, 0.45), pitch * rng.uniform(0.15, 0.45))
    square = rng.random() < 0.5
    for i in range(columns):
        for j in range(rows):
            box = (x + i * pitch - half[0], y + j * pitch - half[1], x + i * pitch + half[0], y + j * pitch + half[1])
            if square:
                draw.rectangle(box, fill=255)
            else:
                draw.ellipse(box, fill=255)
    return _mask(image.rotate(rng.choice([0, 90, rng.uniform(0, 180)]), center=(x + size, y)))


def _pads(draw: ImageDraw.ImageDraw, places: Sequence[tuple[float, float]], radius: float, *, drilled: bool) -> None:
    for x, y in places:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if drilled:
            hole = radius * 0.45
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)


def lettering(rng: np.random.Generator, n: int) -> Field:
    """Lines of signs without sense, or a bar code."""
    image, draw = _canvas(n)
    x, y, size = _place(rng, n)
    if rng.random() < 0.2:
        height, left = size * rng.uniform(0.3, 1), x
        for _ in range(rng.integers(10, 60)):
            bar_width = float(rng.integers(1, 5)) * max(1.0, size / 120)
            draw.rectangle((left, y, left + bar_width, y + height), fill=255)
            left += bar_width + float(rng.integers(1, 5)) * max(1.0, size / 120)
    else:
        font = ImageFont.load_default(size=max(7.0, min(size * 0.5, n / 6)))
        lines = ["".join(rng.choice(list(_SIGNS), rng.integers(1, 14))) for _ in range(rng.integers(1, 6))]
        draw.multiline_text((x - size, y - size), "\n".join(lines), fill=255, font=font)
    return _mask(image.rotate(rng.choice([0, 0, 90, rng.uniform(0, 360)]), center=(x, y)))


SHAPES: tuple[Callable[[np.random.Generator, int], Field], ...] = (
    ellipse,
    polygon,
    gear,
    bar,
    stroke,
    scratch,
    blot,
    tracks,
    pads,
    lettering,
)
