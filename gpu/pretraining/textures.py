"""Scalar fields with the regularities that surfaces have: grain, brushing, weave, cells, dots, stripes, cracks.

Each function takes a generator and a side n in pixels and returns (n, n), float32, zero mean and unit deviation.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft, ndimage
from scipy.spatial import cKDTree

Field = npt.NDArray[np.float32]


def standardise(field: npt.NDArray[np.floating]) -> Field:
    """The field with its mean removed and divided by its deviation; zeros where it is flat."""
    centred = np.asarray(field - field.mean(dtype=np.float64), dtype=np.float32)
    return centred / np.float32(max(float(centred.std(dtype=np.float64)), 1e-6))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform: every octave between low and high is as likely."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def coordinates(n: int) -> tuple[Field, Field]:
    """Rows and columns of an (n, n) grid, in pixels."""
    y, x = np.mgrid[:n, :n].astype(np.float32)
    return y, x


def spectrum(rng: np.random.Generator, n: int, slope: float, stretch: float = 1.0, angle: float = 0.0) -> Field:
    """Random phases under a power-law amplitude: clouds, stains, grain; brushed where stretched along the angle."""
    fy, fx = np.meshgrid(fft.fftfreq(n), fft.rfftfreq(n), indexing="ij")
    u, v = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    amplitude = (np.hypot(u * stretch, v) + 1e-3).astype(np.float32) ** np.float32(-slope)
    phases = np.exp(np.complex64(2j * np.pi) * rng.random(amplitude.shape, dtype=np.float32))
    return standardise(fft.irfft2(amplitude * phases, (n, n)))


def clouds(rng: np.random.Generator, n: int) -> Field:
    """An isotropic spectrum, from fine grain to broad stains."""
    return spectrum(rng, n, rng.uniform(0.3, 2.2))


def brushed(rng: np.random.Generator, n: int) -> Field:
    """Streaks in one direction: rolled sheet, ground metal, wood."""
    return spectrum(rng, n, rng.uniform(0.3, 1.6), log_uniform(rng, 3, 60), rng.uniform(0, np.pi))


def turned(rng: np.random.Generator, n: int) -> Field:
    """Rings around a centre, as a lathe leaves them."""
    y, x = coordinates(n)
    centre_y, centre_x = rng.uniform(-0.5, 1.5, 2).tolist()
    radius = np.hypot(y - centre_y * n, x - centre_x * n) * log_uniform(rng, 0.2, 2)
    profile = standardise(ndimage.gaussian_filter1d(rng.standard_normal(int(radius.max()) + 2), rng.uniform(0.5, 4)))
    low = radius.astype(int)
    part = radius - low
    return standardise(profile[low] * (1 - part) + profile[low + 1] * part)


def stripes(rng: np.random.Generator, n: int) -> Field:
    """One to three gratings, sinusoidal or square, straight or bent."""
    y, x = coordinates(n)
    out = np.zeros((n, n), np.float32)
    for _ in range(rng.integers(1, 4)):
        angle, pitch = rng.uniform(0, np.pi), log_uniform(rng, 5, n / 4)
        bend = rng.uniform(0, 1.5) * np.sin(2 * np.pi * rng.uniform(0.5, 4) * (y + x * rng.uniform(-1, 1)) / n)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / pitch + rng.uniform(0, 6) + bend)
        out += np.tanh(wave * rng.uniform(3, 20)) if rng.random() < 0.4 else wave
    return standardise(out)


def dots(rng: np.random.Generator, n: int) -> Field:
    """Round or oval spots on a square or shifted grid: perforation, printing screens, knurls."""
    pitch, (y, x) = log_uniform(rng, 6, 70), turn(rng, n)
    shift = np.floor(y / pitch) % 2 * pitch * rng.choice([0, 0.5])
    dx, dy = (x + shift) % pitch - pitch / 2, (y % pitch - pitch / 2) * rng.uniform(0.6, 1.6)
    return standardise(np.tanh((pitch * rng.uniform(0.15, 0.45) - np.hypot(dx, dy)) / rng.uniform(0.5, 3)))


def weave(rng: np.random.Generator, n: int) -> Field:
    """Warp over weft, plain, twill or satin, each thread round and a little unlike the next; wire mesh with gaps."""
    y, x = turn(rng, n)
    wander = spectrum(rng, n, 1.8) * rng.uniform(0, 2.5)
    pitch = log_uniform(rng, 5, 40), log_uniform(rng, 5, 40)
    pitch = (pitch[0], pitch[0]) if rng.random() < 0.6 else pitch
    u, v = (x + wander) / pitch[0], (y + np.roll(wander, n // 3, 0)) / pitch[1]
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    period, step = ((2, 1), (3, 1), (4, 1), (5, 2), (8, 3))[rng.integers(5)]
    warp_on_top = (column + row * step) % period < max(1, period // rng.integers(1, 3) - 1)
    thickness = rng.uniform(0.6, 1.0)
    across = [np.sqrt(np.clip(1 - ((t - np.floor(t) - 0.5) * 2 / thickness) ** 2, 0, 1)) for t in (u, v)]
    along = [0.75 + 0.25 * np.sin(np.pi * (t - np.floor(t))) for t in (v, u)]
    tones = np.asarray(rng.standard_normal((2, 997)) * rng.uniform(0, 0.3))  # of the threads, over and over
    contrast = rng.uniform(0, 1)
    warp = across[0] * along[0] * (1 + tones[0][column % 997])
    weft = across[1] * along[1] * (1 + tones[1][row % 997]) - contrast
    other = np.where(warp_on_top, weft, warp) * 0.5
    top = np.where(warp_on_top, warp, weft)
    return standardise(np.where(np.where(warp_on_top, across[0], across[1]) > 0, top, other))


def cells(rng: np.random.Generator, n: int) -> Field:
    """Polygons around random points, with tones of their own or dark joints: grains, mosaics, crackled glaze."""
    count, step = int(log_uniform(rng, 10, 800)), 3
    side = -(-n // step)
    y, x = coordinates(side)
    points = rng.random((count, 2)) * n
    found = cKDTree(points).query(np.stack([y, x], -1).reshape(-1, 2) * step, k=2)
    distance, owner = np.asarray(found[0]), np.asarray(found[1])
    edge = (distance[:, 1] - distance[:, 0]).reshape(side, side)
    tone = rng.standard_normal(count)[owner[:, 0]].reshape(side, side)
    coarse = tone * rng.uniform(0, 1.5) + np.tanh(edge / log_uniform(rng, 1, 12)) * rng.uniform(0.3, 2)
    smooth = Image.Resampling.BICUBIC if rng.random() < 0.6 else Image.Resampling.NEAREST
    return standardise(np.asarray(Image.fromarray(coarse.astype(np.float32)).resize((n, n), smooth)))


def veins(rng: np.random.Generator, n: int) -> Field:
    """Thin ridges that wander: cracks, marble, leather."""
    ridges = -np.abs(spectrum(rng, n, rng.uniform(1.2, 2.2))) - 0.5 * np.abs(spectrum(rng, n, rng.uniform(0.8, 1.6)))
    return standardise(np.exp(ridges * log_uniform(rng, 2, 20)))


def speckle(rng: np.random.Generator, n: int) -> Field:
    """Spots of many sizes scattered at random: cast iron, dust, pores, terrazzo."""
    field = spectrum(rng, n, rng.uniform(0.2, 1.4))
    return standardise(np.tanh((field - rng.uniform(0.5, 2.2)) * rng.uniform(1, 8)))


def turn(rng: np.random.Generator, n: int) -> tuple[Field, Field]:
    """Rows and columns of a grid turned by a random angle, upright for half of the draws."""
    y, x = coordinates(n)
    angle = 0.0 if rng.random() < 0.5 else rng.uniform(0, np.pi)
    return y * np.cos(angle) + x * np.sin(angle) + n, x * np.cos(angle) - y * np.sin(angle) + n


TEXTURES: tuple[Callable[[np.random.Generator, int], Field], ...] = (
    clouds,
    brushed,
    turned,
    stripes,
    dots,
    weave,
    cells,
    veins,
    speckle,
)


def texture(rng: np.random.Generator, n: int) -> Field:
    """A texture of a random kind, half of the time under grain of its own strength."""
    field = TEXTURES[rng.integers(len(TEXTURES))](rng, n)
    if rng.random() < 0.5:
        field = standardise(field + log_uniform(rng, 0.1, 1) * spectrum(rng, n, rng.uniform(0.2, 2)))
    return field
