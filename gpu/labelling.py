"""Which defect it is: connected regions of an anomaly map, named after the most similar labelled patches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from gpu.neighbours import nearest

_PER_LABEL = 2000  # patch embeddings kept of each label
_COVERED = 0.5  # share of a patch's pixels that must carry the label


@dataclass(frozen=True)
class DefectBank:
    """Labelled patch embeddings (K, D) and their label ids (K,) uint8; id i is names[i − 1] in colours[i − 1]."""

    embeddings: Tensor
    labels: Tensor
    names: tuple[str, ...]
    colours: tuple[str, ...]

    @classmethod
    def build(cls, patches: Tensor, masks: Tensor, colours: Mapping[str, str], seed: int = 0) -> Self:
        """From patch embeddings (m, h, w, D) and masks of label ids (m, H, W); at most 2,000 patches per label, seeded.

        A patch has a label if that covers half of it; in an image where no patch is covered so far, the most covered.
        """
        generator = torch.Generator().manual_seed(seed)
        embeddings, labels = [], []
        for label in range(1, len(colours) + 1):
            cells = torch.cat(
                [
                    covered_cells(mask == label, (patches.shape[1], patches.shape[2]), i)
                    for i, mask in enumerate(masks.cpu())
                ]
            )
            kept = cells[torch.randperm(len(cells), generator=generator)[:_PER_LABEL].sort().values]
            embeddings.append(patches.cpu()[kept[:, 0], kept[:, 1], kept[:, 2]].float())
            labels.append(torch.full((len(kept),), label, dtype=torch.uint8))
        return cls(torch.cat(embeddings), torch.cat(labels), tuple(colours), tuple(colours.values()))

    def to(self, device: torch.device | str) -> "DefectBank":
        """The same bank on the device."""
        return DefectBank(self.embeddings.to(device), self.labels.to(device), self.names, self.colours)

    def label_regions(self, patches: Tensor, anomaly_map: Tensor, pixel_threshold: float) -> Tensor:
        """patches (h, w, D), map (H, W) → label ids (H, W) uint8 on the CPU, 0 where the map is not over the threshold.

        Each connected region takes the label that most of its patches are nearest to; a region too small to hold the
        centre of a patch asks the patch under its peak.
        """
        values = anomaly_map.cpu().numpy()
        regions, count = ndimage.label(values > pixel_threshold, structure=np.ones((3, 3)))
        if not count or not len(self.labels):
            return torch.zeros(values.shape, dtype=torch.uint8)
        (height, width), (rows, columns) = values.shape, patches.shape[:2]
        at_centre = regions[np.ix_(_centres(rows, height), _centres(columns, width))]  # (h, w) region ids
        inner = at_centre[at_centre > 0]
        bare = np.setdiff1d(np.arange(1, count + 1), inner)
        peaks = np.array(ndimage.maximum_position(values, regions, bare), dtype=np.int64).reshape(-1, 2)
        cells = np.concatenate((np.argwhere(at_centre > 0), peaks * (rows, columns) // (height, width)))
        where = torch.from_numpy(cells).to(patches.device)
        _, closest = nearest(patches[where[:, 0], where[:, 1]], self.embeddings)
        votes = np.zeros((count + 1, len(self.names) + 1), dtype=np.int64)
        np.add.at(votes, (np.concatenate((inner, bare)), self.labels[closest].long().cpu().numpy()), 1)
        return torch.from_numpy(votes.argmax(axis=1).astype(np.uint8)[regions])


def covered_cells(inside: Tensor, grid: tuple[int, int], image: int) -> Tensor:
    """(k, 3) indices (image, row, column) of the patches that the mask (H, W) covers by half, else the most covered."""
    share = functional.adaptive_avg_pool2d(inside.float().unsqueeze(0), grid).squeeze(0)
    most = float(share.max())
    if most == 0:
        return torch.empty(0, 3, dtype=torch.int64)
    cells = (share >= min(_COVERED, most)).nonzero()
    return functional.pad(cells, (1, 0), value=image)


def _centres(cells: int, pixels: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return ((2 * np.arange(cells) + 1) * pixels // (2 * cells)).astype(np.int64)
