"""Why an image is anomalous: its regions, and the normal patch that each of them comes closest to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from gpu.detector import Detector

_MOST = 10  # regions explained: a person looks at no more, and a map at the edge of its threshold can have hundreds


class Box(NamedTuple):
    """Edges as fractions of the image's width (left, right) and height (top, bottom)."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Source:
    """A training image: what its owner calls it, and its size in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class NormalPatch:
    """A patch of a normal training image."""

    source: Source
    box: Box


@dataclass(frozen=True)
class Region:
    """A connected region over the threshold, the patch at its peak, and the remembered normal patch nearest to that.

    `nearest` is None where the detector remembers no single patches.
    """

    box: Box
    patch: Box
    nearest: NormalPatch | None


def explain(
    patches: Tensor, anomaly_map: Tensor, threshold: float, detector: Detector, sources: Sequence[Source]
) -> tuple[Region, ...]:
    """patches (h, w, D), map (H, W) of one image → its regions over the threshold, the strongest first, at most ten.

    sources: the training images in the order in which the detector was given them; without them no patch is traced.
    """
    values = anomaly_map.cpu().numpy()
    (height, width), grid = values.shape, (patches.shape[0], patches.shape[1])
    labelled, count = ndimage.label(values > threshold, structure=np.ones((3, 3)))
    if not count:
        return ()
    numbers = np.arange(1, count + 1)
    chosen = (1 + np.argsort(-ndimage.maximum(values, labelled, numbers), kind="stable"))[:_MOST]
    peaks = np.array(ndimage.maximum_position(values, labelled, chosen), dtype=np.int64)
    cells = torch.from_numpy(peaks * grid // (height, width)).to(patches.device)  # (k, 2) row, column
    origins = detector.trace(patches[cells[:, 0], cells[:, 1]]) if sources else None
    slices = ndimage.find_objects(labelled)
    regions = []
    for position, number in enumerate(chosen):
        down, across = slices[number - 1]
        box = Box(across.start / width, down.start / height, across.stop / width, down.stop / height)
        nearest = None
        if origins is not None:
            image, cell = origins[position].tolist()
            nearest = NormalPatch(sources[image], _cell_box(cell // grid[1], cell % grid[1], grid))
        row, column = cells[position].tolist()
        regions.append(Region(box, _cell_box(row, column, grid), nearest))
    return tuple(regions)


def _cell_box(row: int, column: int, grid: tuple[int, int]) -> Box:
    return Box(column / grid[1], row / grid[0], (column + 1) / grid[1], (row + 1) / grid[0])
