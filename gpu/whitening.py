"""Partial whitening: patch embeddings in which the directions that hardly vary in good parts count for more."""

import torch
from torch import Tensor

_POWER = 0.25  # of the inverse covariance: half of what makes all directions vary alike, which counts noise too much
_SAMPLED = 50_000  # patches from which the covariance is estimated
_FLOOR = 1e-6  # of the largest variance: what varies less is rounding


def partial_whitening(patches: Tensor, images: Tensor, seed: int) -> Tensor:
    """Patches (n, P, D) of the normal images (indices) → covariance^(−1/4), (D, D), that keeps their total variance.

    Images that are to be scored must not be among them: what varies little in few images varies more in others.
    """
    cells, width = patches.shape[1:]
    chosen = torch.randperm(len(images) * cells, generator=torch.Generator().manual_seed(seed))[:_SAMPLED]
    sample = patches[images[chosen // cells], chosen % cells].double()
    covariance = torch.cov(sample.T).reshape(width, width)
    variances, directions = torch.linalg.eigh(covariance)
    variances = variances.clamp_min(max(_FLOOR * float(variances.max()), torch.finfo(torch.float32).tiny))
    strengths = variances**-_POWER
    scale = torch.sqrt(variances.sum() / (variances * strengths.square()).sum())
    whitening: Tensor = (directions * (scale * strengths)) @ directions.T
    return whitening.float()
