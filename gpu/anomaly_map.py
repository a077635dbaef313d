"""Patch scores → anomaly map at the size of the network's input, and the score of the image."""

from functools import lru_cache

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

SIGMA = 4.0  # pixels of the network's input; PatchCore §4.1
_BATCH = 32  # maps made at a time where only their peaks are wanted


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


def peak(maps: Tensor) -> Tensor:
    """Anomaly maps (B, H, W) → image scores (B,), the largest value of each.

    A map is smooth, so that one odd patch says less than two side by side. PatchCore §3.3 takes the largest patch score
    and re-weights it (eq. 7); on magnetic tiles, mosaics of them, cookies and toy figures, with two backbones, whitened
    or not, the peak of the map told good from bad better in every case, by 0.001 to 0.018 AUROC.
    """
    return maps.flatten(1).amax(dim=1)


@torch.no_grad()
def image_scores(patch_scores: Tensor, size: tuple[int, int]) -> Tensor:
    """patch_scores (n, h, w) → image scores (n,), where no maps of size (H, W) are kept."""
    return torch.cat([peak(anomaly_map(part, size)) for part in torch.split(patch_scores, _BATCH)])


@lru_cache(maxsize=32)
def _smoothing(cells: int, pixels: int, device: torch.device) -> Tensor:
    """(pixels, cells): column c is what a score of 1 in cell c alone becomes along one axis."""
    upsampled = functional.interpolate(torch.eye(cells).double().unsqueeze(0), pixels, mode="linear").squeeze(0)
    blurred = ndimage.gaussian_filter1d(upsampled.numpy(), SIGMA, axis=1, mode="reflect")
    return torch.from_numpy(blurred).T.float().contiguous().to(device)
