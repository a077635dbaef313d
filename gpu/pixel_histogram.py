"""How anomaly maps and masks agree, pixel by pixel, in memory that does not grow with the number of images."""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

_MOST_FALSE = 0.3  # of the normal pixels: where the per-region overlap stops to count (Bergmann et al. 2021, §6.1)


class PixelHistogram:
    """Counts of anomaly map values inside and outside the masks, over log-spaced bins."""

    _LOW, _HIGH, _BINS = math.log(1e-6), math.log(1e6), 4096  # a bin is 0.7 % wide

    def __init__(self) -> None:
        self.inside = torch.zeros(self._BINS, dtype=torch.int64)
        self.outside = torch.zeros(self._BINS, dtype=torch.int64)
        self._regions = torch.zeros(self._BINS, dtype=torch.float64)  # of each region its share in the bin, summed
        self._count = 0

    def add(self, maps: Tensor, masks: Tensor | None = None) -> None:
        """maps (B, H, W); masks (B, H, W), above 0 inside a defect, None where all is outside."""
        logs = maps.cpu().double().clamp_min(1e-6).log()
        bins = ((logs - self._LOW) * (self._BINS / (self._HIGH - self._LOW))).long().clamp(0, self._BINS - 1)
        within = torch.zeros_like(bins, dtype=torch.bool) if masks is None else masks.cpu() > 0
        self.inside += torch.bincount(bins[within], minlength=self._BINS)
        self.outside += torch.bincount(bins[~within], minlength=self._BINS)
        for image, mask in zip(bins, within, strict=True):
            self._add_regions(image, mask)

    def edge(self, index: int) -> float:
        """The lower edge of a bin, as a map value."""
        return math.exp(self._LOW + index * (self._HIGH - self._LOW) / self._BINS)

    def auroc(self) -> float | None:
        """The chance that a pixel inside a mask has a higher value than one outside; None without either kind."""
        if not int(self.inside.sum()) or not int(self.outside.sum()):
            return None
        return float(torch.trapezoid(_from_above(self.inside), _from_above(self.outside)))

    def aupro(self) -> float | None:
        """Mean overlap of the connected regions of the masks, over false positive rates up to 0.3; None without masks.

        Bergmann et al., "The MVTec Anomaly Detection Dataset" (IJCV 2021), §6.1.
        """
        if not self._count or not int(self.outside.sum()):
            return None
        rates, overlaps = _from_above(self.outside).numpy(), _from_above(self._regions).numpy()
        inner = rates < _MOST_FALSE
        rates = np.append(rates[inner], _MOST_FALSE)
        overlaps = np.append(overlaps[inner], np.interp(_MOST_FALSE, _from_above(self.outside).numpy(), overlaps))
        return float(np.trapezoid(overlaps, rates)) / _MOST_FALSE

    def _add_regions(self, bins: Tensor, mask: Tensor) -> None:
        if not bool(mask.any()):
            return
        regions, count = ndimage.label(mask.numpy(), structure=np.ones((3, 3)))
        numbers, areas = torch.from_numpy(regions[mask.numpy()]).long() - 1, np.bincount(regions.ravel())[1:]
        shares = 1 / torch.from_numpy(areas).double()
        self._regions += torch.bincount(bins[mask], weights=shares[numbers], minlength=self._BINS)
        self._count += count


def _from_above(counts: Tensor) -> Tensor:
    """The share of all at or above each bin, from the highest bin to the lowest, beginning with 0."""
    total = counts.double().flip(0).cumsum(0)
    return torch.cat((torch.zeros(1, dtype=torch.float64), total / total[-1]))
