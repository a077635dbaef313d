"""Feature maps → patch embeddings (PatchCore §3.1)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gpu.backbone import Backbone
from gpu.images import normalise

STRIDE = 8  # pixels of the network's input per patch, on each axis, unless an embedding says otherwise
_PIXELS = 1 << 18  # of the images a CPU embeds at a time: the maps of more leave its caches, and cost fresh pages


@dataclass(frozen=True)
class Embedding:
    """How images become patch embeddings: the layers of a backbone, on a grid with a patch every `stride` pixels."""

    backbone: Backbone
    stride: int = STRIDE

    @property
    def device(self) -> torch.device:
        """Where the backbone is, and where embeddings are made."""
        return self.backbone.device

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → patch embeddings (B, H / stride, W / stride, D), float32, on the device.

        Each layer's map is averaged over 3 × 3 neighbourhoods and brought to one grid (finer maps averaged, coarser
        ones interpolated); the layers are concatenated along D. PatchCore §3.1, with averaging as its aggregation.
        """
        if self.device.type != "cpu":
            return self._embed(images)
        at_once = max(1, _PIXELS // (images.shape[2] * images.shape[3]))
        parts = [self._embed(part) for part in torch.split(images, at_once)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _embed(self, images: Tensor) -> Tensor:
        maps = self.backbone(normalise(images.to(self.device)))
        grid = images.shape[2] // self.stride, images.shape[3] // self.stride
        return torch.cat([to_grid(one, grid) for one in maps], dim=1).permute(0, 2, 3, 1).contiguous()

    def embed_all(self, batches: Iterable[Tensor], count: int) -> Tensor:
        """Batches uint8 (B, 3, H, W), count images in all → patch embeddings (count, h, w, D), float16, on the CPU.

        Raises ValueError if count is not met.
        """
        buffer: Tensor | None = None
        done = 0
        for batch in batches:
            patches = self.embed(batch)
            if buffer is None:
                buffer = torch.empty(count, *patches.shape[1:], dtype=torch.float16)
            if done + len(patches) > count:
                raise ValueError(f"more than the {count} images that were announced")
            buffer[done : done + len(patches)] = patches
            done += len(patches)
        if buffer is None or done < count:
            raise ValueError(f"{done} images where {count} were announced")
        return buffer


def to_grid(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """A layer's map (B, D, H, W) → its averages over 3 × 3 neighbourhoods on the grid (h, w): (B, D, h, w)."""
    # The zeros beyond the border count as in the paper's code: they damp the border's patches, whose features the
    # convolutions' own padding makes unlike all others. Averaging without them cost 0.10 AUROC on magnetic tiles.
    pooled = functional.avg_pool2d(feature_map, 3, 1, 1)
    if pooled.shape[2] > grid[0] or pooled.shape[3] > grid[1]:
        return functional.adaptive_avg_pool2d(pooled, grid)
    if pooled.shape[2:] == grid:
        return pooled
    return functional.interpolate(pooled, grid, mode="bilinear")
