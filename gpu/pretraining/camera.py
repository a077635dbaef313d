"""What a camera makes of a scene: perspective, uneven light, blur, noise, compression."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from gpu.pretraining.textures import coordinates, log_uniform


def photograph(rng: np.random.Generator, picture: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """picture (n, n, 3), about 0 to 1 → uint8 (n, n, 3), each of a camera's effects on some of the draws."""
    n = len(picture)
    if rng.random() < 0.6:
        picture = picture * _light(rng, n)[..., None]
    if rng.random() < 0.3:
        picture = picture.mean(-1, keepdims=True).repeat(3, -1)
    if rng.random() < 0.25:
        picture = np.clip(picture, 0, 1) ** log_uniform(rng, 0.5, 2)
    if rng.random() < 0.4:
        sigma = log_uniform(rng, 0.4, 2.0)
        picture = ndimage.gaussian_filter(picture, (sigma, sigma, 0))
    if rng.random() < 0.6:
        noise = rng.standard_normal((n, n, 1 if rng.random() < 0.5 else 3), dtype=np.float32)
        picture = picture + noise * log_uniform(rng, 0.002, 0.06)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
    if rng.random() < 0.3:
        corners = np.array([(0, 0), (0, n), (n, n), (n, 0)]) + rng.uniform(0, 0.15, (4, 2)) * n * _INWARDS
        image = image.transform((n, n), Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BICUBIC)
    if rng.random() < 0.3:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(35, 96)))
        image = Image.open(file)
    return np.asarray(image, dtype=np.uint8)


_INWARDS = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])


def _light(rng: np.random.Generator, n: int) -> npt.NDArray[np.float32]:
    """(n, n) gains: a gradient, a bright spot and dark corners."""
    y, x = coordinates(n)
    v, u = y / n - 0.5, x / n - 0.5
    gain = 1 + rng.uniform(-0.7, 0.7) * u + rng.uniform(-0.7, 0.7) * v
    if rng.random() < 0.3:
        spot = rng.uniform(-0.5, 0.5, 2)
        gain = gain + rng.uniform(0, 1) * np.exp(-((u - spot[0]) ** 2 + (v - spot[1]) ** 2) / rng.uniform(0.01, 0.3))
    if rng.random() < 0.3:
        gain = gain * (1 - rng.uniform(0, 0.8) * (u**2 + v**2))
    return np.asarray(gain, dtype=np.float32)
