"""Rendered images → batches of crops, each turned, scaled and exposed in a way of its own."""

import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from gpu.images import normalise
from gpu.pretraining.scenes import SIDE, render

_SIZES = {128: 0.7, 192: 0.2, 256: 0.1}  # pixels of a crop's side → share of the batches; each batch as many pixels
_FINEST = 0.7  # pixels of the image per pixel of a crop; the coarsest takes in the whole image
_LEVELS = 3  # copies of an image at 1, 1/2 and 1/4 of its side, so that no crop skips pixels


def render_images(count: int, seed: int, path: Path, progress: Callable[[int, int], None]) -> npt.NDArray[np.uint8]:
    """`count` images (count, 512, 512, 3), rendered on all processors into the .npy file, or read if it is there.

    The name appears when the file is whole. No two values of `seed` share an image. progress gets (done, count).
    """
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        images = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (count, SIDE, SIDE, 3))
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            seeds = [(seed << 32) + number for number in range(count)]
            for number, image in enumerate(pool.map(render, seeds, chunksize=8)):
                images[number] = image
                progress(number + 1, count)
        images.flush()
        unfinished.rename(path)
    return np.lib.format.open_memmap(path, "c")  # torch wants to be allowed to write


class Crops:
    """Batches by number: the same for the same seed and number, so that an interrupted training goes on as if not."""

    def __init__(self, images: npt.NDArray[np.uint8], seed: int, batch: int, device: torch.device) -> None:
        """images (N, n, n, 3) uint8; `batch` is the number of crops of 128 pixels, fewer where they are larger."""
        self._seed, self._batch, self._device = seed, batch, device
        self._levels = [torch.from_numpy(images)]
        for _ in range(_LEVELS - 1):
            self._levels.append(torch.cat([_halve(part) for part in torch.split(self._levels[-1], 64)]))
        if device.type == "cuda":
            self._levels = [level.to(device) for level in self._levels]

    def batch(self, number: int, exposure: int = 0) -> Tensor:
        """(B, 3, h, h) float32 on the device, normalised as a backbone expects, channels last.

        Another exposure shows the same crops in other light.
        """
        rng = np.random.default_rng((self._seed, number))
        size = int(rng.choice(list(_SIZES), p=list(_SIZES.values())))
        count = max(2, self._batch * 128**2 // size**2)
        side = self._levels[0].shape[1]
        scales = np.exp(rng.uniform(math.log(_FINEST), math.log(side / size), count))
        levels = np.clip(np.round(np.log2(scales)), 0, _LEVELS - 1).astype(int)
        owners = rng.integers(len(self._levels[0]), size=count)
        affine = torch.from_numpy(np.stack([_affine(rng, scale * size / side) for scale in scales]))
        crops = torch.empty(count, 3, size, size, device=self._device)
        for level in range(_LEVELS):
            chosen = np.flatnonzero(levels == level)
            if len(chosen):
                images = self._levels[level][owners[chosen]].to(self._device).permute(0, 3, 1, 2).float()
                grid = functional.affine_grid(affine[chosen], [len(chosen), 3, size, size], align_corners=False)
                crops[chosen] = functional.grid_sample(
                    images, grid.to(self._device), mode="bilinear", padding_mode="reflection", align_corners=False
                )
        return normalise(_expose(crops, np.random.default_rng((self._seed, number, exposure))))


def _halve(images: Tensor) -> Tensor:
    """uint8 (N, n, n, 3) → (N, n/2, n/2, 3), each pixel the mean of four."""
    n = images.shape[1] // 2
    return images.view(len(images), n, 2, n, 2, 3).float().mean((2, 4)).round_().to(torch.uint8)


def _affine(rng: np.random.Generator, share: float) -> npt.NDArray[np.float32]:
    """(2, 3) for affine_grid: a window of this share of the image's side, turned, mirrored, stretched a little."""
    angle = rng.integers(4) * math.pi / 2 + (rng.normal() * 0.4 if rng.random() < 0.5 else 0.0)
    stretch = math.exp(rng.normal() * 0.1)
    mirror = rng.choice([-1, 1])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.diag([share * stretch * mirror, share / stretch])
    centre = rng.uniform(-1, 1, 2) * (1 - share)
    return np.concatenate([matrix, centre[:, None]], axis=1).astype(np.float32)


def _expose(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops 0 to 255, each with contrast, brightness, order of colours, negative and noise of its own."""
    count = len(crops)

    def each(values: npt.NDArray[np.floating], on: float) -> Tensor:
        """The values for a share `on` of the crops and 0 for the others, (B, 1, 1, 1)."""
        return (
            torch.from_numpy((values * (rng.random(count) < on)).astype(np.float32)).view(-1, 1, 1, 1).to(crops.device)
        )

    colours = np.stack([rng.permutation(3) if rng.random() < 0.3 else np.arange(3) for _ in range(count)])
    crops = crops.gather(1, torch.from_numpy(colours).to(crops.device)[:, :, None, None].expand_as(crops))
    contrast, brightness = each(rng.uniform(-0.7, 0.6, count), 0.5), each(rng.uniform(-64, 64, count), 0.5)
    crops = (crops - 127.5) * (1 + contrast) + 127.5 + brightness
    negative = each(np.ones(count), 0.15)
    crops = crops * (1 - 2 * negative) + 255 * negative
    sigma = each(np.exp(rng.uniform(math.log(0.5), math.log(10), count)), 0.3)
    noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    return (crops + noise.to(crops.device) * sigma).clamp_(0, 255)
