"""PatchCore and PaDiM together: a patch is odd if it is unlike all normal ones, and unlike those at its place."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from gpu.padim import PaDiM
from gpu.patchcore import PatchCore


class Ensemble:
    """The product of both patch scores, in which neither's unit matters.

    PaDiM is the better of the two where all parts lie alike before the camera, and far the worse where they do not;
    the product is never as far behind, and ahead of both where each finds what the other does not.
    """

    name: ClassVar[str] = "ensemble"

    def __init__(self, coreset_ratio: float = 0.01, seed: int = 0) -> None:
        self.members: tuple[PatchCore, PaDiM] = PatchCore(coreset_ratio, seed), PaDiM(seed)

    def fit(
        self, patches: Tensor, images: Tensor | None = None, progress: Callable[[float], None] | None = None
    ) -> None:
        """Both learn from the same patches (n, h, w, D). Raises ValueError for fewer than two images."""
        bank, gaussians = self.members
        gaussians.fit(patches, images)
        bank.fit(patches, images, progress)

    @torch.no_grad()
    def score(self, patches: Tensor) -> Tensor:
        """patches (B, h, w, D) → patch scores (B, h, w). Raises ValueError for another grid than fit's."""
        bank, gaussians = self.members
        return bank.score(patches) * gaussians.score(patches)

    def trace(self, patches: Tensor) -> Tensor:
        """patches (k, D) → (k, 2): the image and cell of the nearest row of PatchCore's bank."""
        return self.members[0].trace(patches)

    def state(self) -> dict[str, Tensor]:
        """Bank and Gaussians; no name occurs in both, since the bank is not whitened."""
        return self.members[0].state() | self.members[1].state()

    def config(self) -> dict[str, float]:
        """The coreset ratio, the number of channels, and the seed of both."""
        return self.members[0].config() | self.members[1].config()

    @classmethod
    def restore(cls, config: Mapping[str, float], state: Mapping[str, Tensor]) -> Self:
        """The detector whose config() and state() these are. Raises KeyError where a part is missing."""
        detector = cls()
        detector.members = PatchCore.restore(config, state), PaDiM.restore(config, state)
        return detector

    def to(self, device: torch.device | str) -> Self:
        """Move both, and with them all computation, to the device."""
        for member in self.members:
            member.to(device)
        return self
