"""Images of nothing in particular: textured ground, things on it, light, and a camera. Drawn from a seed."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from gpu.pretraining.camera import photograph
from gpu.pretraining.shapes import SHAPES, bar, lettering, pads, scratch, tracks
from gpu.pretraining.textures import Field, log_uniform, spectrum, texture

SIDE = 512  # pixels of a rendered image, on both axes

Picture = npt.NDArray[np.float32]  # (n, n, 3), linear, about 0 to 1


def render(seed: int, n: int = SIDE) -> npt.NDArray[np.uint8]:
    """One image, uint8 (n, n, 3): the same for the same seed, whatever was rendered before."""
    rng = np.random.default_rng(seed)
    kind = rng.random()
    if kind < 0.3:
        picture = _surface(rng, n)
    elif kind < 0.75:
        picture = _things(rng, n)
    elif kind < 0.9:
        picture = _board(rng, n)
    else:
        picture = _array(rng, n)
    return photograph(rng, picture)


def _surface(rng: np.random.Generator, n: int) -> Picture:
    """One material, with now and then a scratch, a stain or print on it."""
    field = texture(rng, n)
    picture = _coloured(rng, field)
    if rng.random() < 0.4:
        picture = _lit(rng, picture, field * np.float32(log_uniform(rng, 0.1, 3)))
    for _ in range(rng.integers(0, 4)):
        _lay(rng, picture, SHAPES[rng.integers(len(SHAPES))](rng, n), _tone(rng), relief=0)
    return picture


def _things(rng: np.random.Generator, n: int) -> Picture:
    """Shapes of several materials over each other, some raised, some with a shadow."""
    materials = [_coloured(rng, texture(rng, n)) for _ in range(3)]
    picture = materials[0].copy() if rng.random() < 0.7 else np.full((n, n, 3), _tone(rng), np.float32)
    for _ in range(int(log_uniform(rng, 2, 40))):
        mask = SHAPES[rng.integers(len(SHAPES))](rng, n)
        fill = materials[rng.integers(3)] if rng.random() < 0.5 else _tone(rng)
        if rng.random() < 0.25:
            _shade(rng, picture, mask)
        _lay(rng, picture, mask, fill, relief=0.35)
    return picture


def _board(rng: np.random.Generator, n: int) -> Picture:
    """Tracks, pads, blocks with pins and print on a coloured ground."""
    grain = 1 + np.float32(0.04 * rng.random()) * spectrum(rng, n, rng.uniform(0.2, 1.5))
    picture = _tone(rng) * grain[..., None]
    _lay(rng, picture, tracks(rng, n), picture * np.float32(rng.uniform(0.6, 1.6)) + _tone(rng) * 0.1, relief=0.3)
    for _ in range(int(log_uniform(rng, 3, 20))):
        _lay(rng, picture, (pads, pads, bar, bar, tracks, lettering)[rng.integers(6)](rng, n), _tone(rng), relief=0.5)
    _lay(rng, picture, lettering(rng, n), _tone(rng), relief=0)
    return picture


def _array(rng: np.random.Generator, n: int) -> Picture:
    """One small scene again and again, each copy a little unlike the others: trays, chips, knurled parts."""
    copies = int(rng.integers(2, 9))
    side = -(-n // copies)
    tile = _things(rng, max(side, 48))[:side, :side]
    gains = (1 + rng.normal(size=(copies, copies)) * rng.uniform(0, 0.15)).astype(np.float32)
    picture = np.tile(tile, (copies, copies, 1))[:n, :n] * np.kron(gains, np.ones_like(tile[..., 0]))[:n, :n, None]
    _lay(rng, picture, scratch(rng, n), _tone(rng), relief=0)
    return picture


def _tone(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A colour (3,): grey for a third of the draws, muted for another."""
    colour = rng.random(3)
    colourless = (1.0, rng.uniform(0.5, 1.0), 0.0)[rng.integers(3)]
    return np.asarray(colour * (1 - colourless) + colour.mean() * colourless, dtype=np.float32)


def _coloured(rng: np.random.Generator, field: Field) -> Picture:
    """A field as a material: its values run from one colour to another, softly or in steps."""
    ends = np.stack([_tone(rng), _tone(rng)])
    if rng.random() < 0.5:  # most materials are one colour with lighter and darker parts
        ends[1] = np.clip(ends[0] * rng.uniform(0.3, 1.7) + rng.uniform(-0.1, 0.1), 0, 1)
    share = special.expit(field * np.float32(log_uniform(rng, 0.3, 5)))[..., None]
    return np.asarray(ends[0] + share * (ends[1] - ends[0]), dtype=np.float32)


def _lit(rng: np.random.Generator, picture: Picture, height: Field) -> Picture:
    """The picture on a relief (n, n) in pixels, under one lamp: Lambert's law and Phong's highlight."""
    slope_y, slope_x = np.gradient(height)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    azimuth, altitude = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.3)
    lamp = np.cos(azimuth) * np.cos(altitude), np.sin(azimuth) * np.cos(altitude), np.sin(altitude)
    facing = np.clip((lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) / length, 0, None)
    mirrored = np.clip(2 * facing / length - lamp[2], 0, 1) ** log_uniform(rng, 3, 60)
    ambient, gloss = rng.uniform(0.1, 0.6), rng.choice([0, rng.uniform(0, 1.2)])
    bright = ambient + (1 - ambient) * facing / max(lamp[2], 0.2)
    lit = picture * bright[..., None] + np.float32(gloss) * mirrored[..., None]
    return np.asarray(lit, dtype=np.float32)


def _lay(rng: np.random.Generator, picture: Picture, mask: Field, fill: Picture, *, relief: float) -> None:
    """Put the fill, a picture or a colour (3,), where the mask is: opaque or not, raised for a share `relief`."""
    box = _box(mask)
    if box is None:
        return
    part, alpha = picture[box], mask[box][..., None] * np.float32(1 if rng.random() < 0.6 else rng.uniform(0.2, 1))
    material = np.broadcast_to(fill if fill.ndim == 1 else fill[box], part.shape)
    if rng.random() < 0.3:  # a gradient of its own
        gain = (np.linspace(-0.5, 0.5, length) * rng.normal() for length in part.shape[:2])
        down, across = (values.astype(np.float32) for values in gain)
        material = material * (1 + down[:, None] + across)[..., None]
    if rng.random() < relief:
        edge = ndimage.gaussian_filter(mask[box], log_uniform(rng, 0.7, 8))
        material = _lit(rng, material, edge * np.float32(log_uniform(rng, 2, 40)))
    part += alpha * (material - part)


def _shade(rng: np.random.Generator, picture: Picture, mask: Field) -> None:
    """Darken the picture where a thing of this shape throws a soft shadow."""
    down, right = (round(step) for step in rng.normal(size=2) * log_uniform(rng, 1, 12))
    shadow = ndimage.gaussian_filter(np.roll(mask, (down, right), (0, 1)), rng.uniform(0.5, 6))
    picture *= (1 - shadow * np.float32(rng.uniform(0.2, 0.8)))[..., None]


def _box(mask: Field) -> tuple[slice, slice] | None:
    """The rows and columns in which the mask has anything, None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows) or min(rows[-1] - rows[0], columns[-1] - columns[0]) < 1:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
