"""Patch scores → anomaly map at the size of the network's input."""

from functools import lru_cache

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

SIGMA = 4.0  # pixels of the network's input; PatchCore §4.1


@torch.no_grad()
def anomaly_map(patch_scores: Tensor, size: tuple[int, int]) -> Tensor:
    """patch_scores (B, h, w) → (B, H, W) for size (H, W): bilinear upsampling, then a Gaussian of σ = 4 pixels.

    Both steps are linear and separable, so together they are one small matrix per axis. PatchCore §4.1.
    """
    down, across = (
        _smoothing(cells, pixels, patch_scores.device)
        for cells, pixels in zip(patch_scores.shape[1:], size, strict=True)
    )
    return down @ patch_scores @ across.T


@lru_cache(maxsize=32)
def _smoothing(cells: int, pixels: int, device: torch.device) -> Tensor:
    """(pixels, cells): column c is what a score of 1 in cell c alone becomes along one axis."""
    upsampled = functional.interpolate(torch.eye(cells).double().unsqueeze(0), pixels, mode="linear").squeeze(0)
    blurred = ndimage.gaussian_filter1d(upsampled.numpy(), SIGMA, axis=1, mode="reflect")
    return torch.from_numpy(blurred).T.float().contiguous().to(device)
