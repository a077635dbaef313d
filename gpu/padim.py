"""PaDiM: a Gaussian of normal patch embeddings at each position (Defard et al., ICPR 2020 workshops)."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

_CHANNELS = 100  # §V.A: a random hundred of ResNet-18's channels loses almost nothing
_MOST_BYTES = 1 << 29  # of all whitening factors: beyond it, as for 1,024 pixels and more, fewer channels are used
_REGULARISATION = 0.01  # §III.B: ε of ε·I, which makes every covariance invertible
_POSITIONS = 64  # computed at a time, which bounds the float64 copies


class PaDiM:
    """Mean (P, C) and whitening factor (P, C, C) of each of P = h · w positions, in a random subset of C channels."""

    name: ClassVar[str] = "padim"

    def __init__(self, seed: int = 0, channels: int = _CHANNELS) -> None:
        self.seed, self.channels = seed, channels
        self.subset = torch.empty(0, dtype=torch.int64)  # (C,)
        self.mean = torch.empty(0, 0)
        self.whitening = torch.empty(0, 0, 0)  # L⁻¹ of the covariance's Cholesky factor L

    @torch.no_grad()
    def fit(
        self, patches: Tensor, images: Tensor | None = None, progress: Callable[[float], None] | None = None
    ) -> None:
        """patches (n, h, w, D) → a Gaussian per position, accumulated in float64 (§III.B).

        Raises ValueError for fewer than two images, from which no covariance follows.
        """
        device = self.mean.device
        images = torch.arange(len(patches)) if images is None else images
        if len(images) < 2:
            raise ValueError(f"PaDiM needs at least two normal images to learn how they vary, not {len(images)}")
        cells = patches.flatten(1, 2)  # (n, P, D)
        order = torch.randperm(patches.shape[3], generator=torch.Generator().manual_seed(self.seed))
        most = int((_MOST_BYTES / (4 * cells.shape[1])) ** 0.5)
        subset = order[: min(self.channels, max(1, most))].sort().values
        means, factors = [], []
        for start in range(0, cells.shape[1], _POSITIONS):
            part = cells[images, start : start + _POSITIONS][:, :, subset].to(device, torch.float64).transpose(0, 1)
            mean = part.mean(dim=1, keepdim=True)
            centred = part - mean  # (positions, n, C)
            covariance = centred.mT @ centred / (len(images) - 1)
            covariance.diagonal(dim1=1, dim2=2).add_(_REGULARISATION)
            identity = torch.eye(len(subset), device=device, dtype=torch.float64)
            factor = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), identity, upper=False)
            means.append(mean.squeeze(1).float())
            factors.append(factor.float())
            if progress is not None:
                progress(min(1.0, (start + _POSITIONS) / cells.shape[1]))
        self.subset, self.mean, self.whitening = subset.to(device), torch.cat(means), torch.cat(factors)

    @torch.no_grad()
    def score(self, patches: Tensor) -> Tensor:
        """patches (B, h, w, D) → patch scores (B, h, w): Mahalanobis distances.

        With Σ = LLᵀ, √((x − μ)ᵀ Σ⁻¹ (x − μ)) = |L⁻¹(x − μ)|. Raises ValueError for another grid than fit's.
        """
        if not len(self.subset):
            raise RuntimeError("score was called before fit or restore")
        if patches[0, :, :, 0].numel() != len(self.mean):
            raise ValueError(f"{patches[0, :, :, 0].numel()} positions where {len(self.mean)} were learned")
        chosen = patches.to(self.mean.device).flatten(1, 2)[:, :, self.subset].float()  # (B, P, C)
        centred = (chosen - self.mean).permute(1, 2, 0)  # (P, C, B)
        distances: Tensor = torch.linalg.vector_norm(self.whitening @ centred, dim=1).T  # (B, P)
        return distances.reshape(patches.shape[:3])

    def trace(self, patches: Tensor) -> None:
        """Nothing: a Gaussian is made of all images, and none of their patches is remembered."""

    def state(self) -> dict[str, Tensor]:
        """The channels used and the Gaussians."""
        return {"subset": self.subset, "mean": self.mean, "whitening": self.whitening}

    def config(self) -> dict[str, float]:
        """The seed and the number of channels."""
        return {"seed": self.seed, "channels": self.channels}

    @classmethod
    def restore(cls, config: Mapping[str, float], state: Mapping[str, Tensor]) -> Self:
        """The detector whose config() and state() these are. Raises KeyError where a part is missing."""
        detector = cls(int(config["seed"]), int(config["channels"]))
        detector.subset, detector.mean, detector.whitening = state["subset"], state["mean"], state["whitening"]
        return detector

    def to(self, device: torch.device | str) -> Self:
        """Move the Gaussians, and with them all computation, to the device."""
        self.subset, self.mean = self.subset.to(device), self.mean.to(device)
        self.whitening = self.whitening.to(device)
        return self
