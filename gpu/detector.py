"""What a detector is, and the detectors there are."""

from collections.abc import Callable, Mapping
from typing import Protocol, Self

import torch
from torch import Tensor

from gpu.ensemble import Ensemble
from gpu.padim import PaDiM
from gpu.patchcore import PatchCore


class Detector(Protocol):
    """Learns what normal patch embeddings look like, and scores how far others are from that.

    Its state is tensors and its configuration is numbers, so that both can be stored without code.
    """

    @property
    def name(self) -> str:
        """The name in DETECTORS."""
        ...

    def fit(
        self, patches: Tensor, images: Tensor | None = None, progress: Callable[[float], None] | None = None
    ) -> None:
        """Learn from the normal patch embeddings (n, h, w, D), or only from those of the images (indices) given."""
        ...

    def score(self, patches: Tensor) -> Tensor:
        """patches (B, h, w, D) → patch scores (B, h, w), distances without a unit."""
        ...

    def trace(self, patches: Tensor) -> Tensor | None:
        """patches (k, D) → where the nearest remembered normal patch of each comes from, (k, 2) on the CPU.

        The position of its image among those that fit learned from, and its cell there, counted row by row. None where
        the detector remembers no single patches.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """What fit learned."""
        ...

    def config(self) -> dict[str, float]:
        """What was asked for."""
        ...

    @classmethod
    def restore(cls, config: Mapping[str, float], state: Mapping[str, Tensor]) -> Self:
        """The detector of which config() and state() gave these. Raises KeyError where a part is missing."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move state and computation to the device; returns itself."""
        ...


DETECTORS: dict[str, type[PatchCore] | type[PaDiM] | type[Ensemble]] = {
    one.name: one for one in (PatchCore, PaDiM, Ensemble)
}


def create_detector(name: str, *, coreset_ratio: float, seed: int, whitened: bool = False) -> Detector:
    """A detector by its name, to be fitted; PaDiM takes the seed alone, and only PatchCore can be whitened.

    Raises ValueError for an unknown name or a ratio outside 0 to 1.
    """
    if name == PatchCore.name:
        return PatchCore(coreset_ratio, seed, whitened=whitened)
    if name == PaDiM.name:
        return PaDiM(seed)
    if name == Ensemble.name:
        return Ensemble(coreset_ratio, seed)
    raise ValueError(f"There is no detector {name!r}; there are {', '.join(DETECTORS)}.")


def keeps_bank(name: str) -> bool:
    """Whether a detector of that name keeps a memory bank, which takes memory and is searched for every patch."""
    return name != PaDiM.name


def restore_detector(name: str, config: Mapping[str, float], state: Mapping[str, Tensor]) -> Detector:
    """The detector that was stored under that name. Raises KeyError for an unknown name or missing parts."""
    return DETECTORS[name].restore(config, state)
