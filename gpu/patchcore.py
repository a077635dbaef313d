"""PatchCore: distance to a memory bank of normal patch embeddings (Roth et al., CVPR 2022)."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from gpu.coreset import farthest_first, project
from gpu.neighbours import nearest
from gpu.products import products
from gpu.whitening import partial_whitening


class PatchCore:
    """A memory bank (M, D), a coreset of all normal patch embeddings: a patch scores its distance to the nearest row.

    Where it is whitened, distances are those of patches multiplied with a partial whitening (D, D), which is learned
    from the patches of the bank's own images, and the bank holds such patches.
    """

    name: ClassVar[str] = "patchcore"

    def __init__(self, coreset_ratio: float = 0.01, seed: int = 0, *, whitened: bool = False) -> None:
        if not 0 < coreset_ratio <= 1:
            raise ValueError(f"the coreset ratio must be above 0 and at most 1, not {coreset_ratio}")
        self.coreset_ratio, self.seed, self.whitened = coreset_ratio, seed, whitened
        self.bank = torch.empty(0, 0)  # (M, D)
        self.whitening: Tensor | None = None
        self.origins = torch.empty(0, 2, dtype=torch.int32)  # (M, 2): position of the image of each row, and its cell

    @torch.no_grad()
    def fit(
        self, patches: Tensor, images: Tensor | None = None, progress: Callable[[float], None] | None = None
    ) -> None:
        """patches (n, h, w, D) → memory bank of coreset_ratio · n · h · w rows, at least one (§3.2, algorithm 1)."""
        cells = patches.shape[1] * patches.shape[2]
        images = torch.arange(len(patches)) if images is None else images
        if not len(images):
            raise ValueError("PatchCore needs at least one normal image")
        self._learn_whitening(patches.flatten(1, 2), images)
        rows = self._select(patches.flatten(1, 2), images, self.bank_rows(len(images), cells), progress)
        self._keep(patches.flatten(1, 2)[images[rows // cells], rows % cells], rows // cells, rows % cells)

    @torch.no_grad()
    def merge(self, rows: Tensor, origins: Tensor, picks: int, progress: Callable[[float], None] | None = None) -> None:
        """Coresets of parts of the normal patches, rows (k, D) and their origins (k, 2) → memory bank of `picks` rows.

        What a bank of a coreset of coresets misses of the patches is at most the sum of what both miss.
        """
        self._learn_whitening(rows.unsqueeze(1), torch.arange(len(rows)))
        chosen = self._select(rows, torch.arange(len(rows)), min(picks, len(rows)), progress)
        self._keep(rows[chosen], *origins[chosen].unbind(1))

    def bank_rows(self, images: int, cells: int) -> int:
        """How many patches of so many images the bank keeps."""
        return max(1, round(self.coreset_ratio * images * cells))

    def _select(self, patches: Tensor, images: Tensor, picks: int, progress: Callable[[float], None] | None) -> Tensor:
        total = len(images) * (patches.shape[1] if patches.dim() == 3 else 1)
        if picks == total:
            return torch.arange(total)
        points = project(patches, images, seed=self.seed, device=self.bank.device, whitening=self.whitening)
        return farthest_first(points, picks, seed=self.seed, progress=progress).cpu()

    def _learn_whitening(self, patches: Tensor, images: Tensor) -> None:
        if self.whitened:
            self.whitening = partial_whitening(patches, images, self.seed).to(self.bank.device)

    def _whiten(self, patches: Tensor) -> Tensor:
        patches = patches.to(self.bank.device).float()
        if self.whitening is None:
            return patches
        return products(patches.flatten(0, -2), self.whitening.T).view(patches.shape)

    def _keep(self, bank: Tensor, images: Tensor, cells: Tensor) -> None:
        self.bank = self._whiten(bank)
        self.origins = torch.stack((images, cells), dim=1).to(torch.int32)

    @torch.no_grad()
    def score(self, patches: Tensor) -> Tensor:
        """patches (B, h, w, D) → patch scores (B, h, w), §3.3."""
        if not len(self.bank):
            raise RuntimeError("score was called before fit or restore")
        distances, _ = nearest(self._whiten(patches).flatten(0, 2), self.bank)
        return distances.view(patches.shape[:3])

    @torch.no_grad()
    def trace(self, patches: Tensor) -> Tensor:
        """patches (k, D) → (k, 2): the image and cell of the nearest bank row."""
        _, rows = nearest(self._whiten(patches), self.bank)
        return self.origins[rows.cpu()]

    def state(self) -> dict[str, Tensor]:
        """The memory bank, where its rows come from, and the whitening where there is one."""
        state = {"bank": self.bank, "origins": self.origins}
        return state if self.whitening is None else state | {"whitening": self.whitening}

    def config(self) -> dict[str, float]:
        """The coreset ratio, the seed, and whether patches are whitened (1) or not (0)."""
        return {"coreset_ratio": self.coreset_ratio, "seed": self.seed, "whitened": int(self.whitened)}

    @classmethod
    def restore(cls, config: Mapping[str, float], state: Mapping[str, Tensor]) -> Self:
        """The detector whose config() and state() these are. Raises KeyError where a part is missing."""
        detector = cls(float(config["coreset_ratio"]), int(config["seed"]), whitened=bool(config["whitened"]))
        detector.bank, detector.origins = state["bank"], state["origins"]
        detector.whitening = state["whitening"] if detector.whitened else None
        return detector

    def to(self, device: torch.device | str) -> Self:
        """Move the bank, and with it all computation, to the device."""
        self.bank = self.bank.to(device)
        self.whitening = None if self.whitening is None else self.whitening.to(device)
        return self
