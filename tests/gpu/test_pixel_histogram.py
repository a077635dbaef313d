"""Pixel figures in constant memory, against the same figures from all pixels at once."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from gpu.pixel_histogram import PixelHistogram


def maps_and_masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Six maps (64, 64); the masks of the last four hold two squares of different size, seen more or less well."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(6, 64, 64, dtype=torch.uint8)
    for number in range(2, 6):
        masks[number, 5:25, 5:25] = 1
        masks[number, 40 : 42 + number, 40:44] = 2
    noise = torch.randn(masks.shape, generator=generator).mul(0.4).exp()
    return noise * (1 + masks), masks


def filled(maps: torch.Tensor, masks: torch.Tensor, batch: int) -> PixelHistogram:
    histogram = PixelHistogram()
    for part, truth in zip(maps.split(batch), masks.split(batch), strict=True):
        histogram.add(part, truth)
    return histogram


def test_auroc_is_that_of_all_pixels() -> None:
    maps, masks = maps_and_masks()
    expected = roc_auc_score((masks > 0).flatten(), maps.flatten())
    assert filled(maps, masks, 4).auroc() == pytest.approx(expected, abs=2e-3)


def test_aupro_is_that_of_all_regions() -> None:
    maps, masks = maps_and_masks()
    normal = np.sort(maps[masks == 0].numpy())[::-1]
    regions = []
    for image, mask in zip(maps.numpy(), masks.numpy(), strict=True):
        numbered, count = ndimage.label(mask > 0, structure=np.ones((3, 3)))
        regions += [image[numbered == number] for number in range(1, count + 1)]
    rates = np.linspace(0, 0.3, 301)
    thresholds = normal[np.minimum((rates * len(normal)).astype(int), len(normal) - 1)]
    overlaps = [np.mean([(region >= threshold).mean() for region in regions]) for threshold in thresholds]
    expected = np.trapezoid(overlaps, rates) / 0.3
    assert filled(maps, masks, 1).aupro() == pytest.approx(expected, abs=5e-3)
    assert filled(maps, masks, 6).aupro() == pytest.approx(filled(maps, masks, 1).aupro())


def test_perfect_and_useless_maps() -> None:
    _, masks = maps_and_masks()
    perfect, flat = filled((masks > 0).float() + 1, masks, 6), filled(torch.ones(masks.shape), masks, 6)
    assert (perfect.auroc(), perfect.aupro()) == (1.0, pytest.approx(1.0))
    assert flat.auroc() == 0.5
    assert flat.aupro() == pytest.approx(0.15)  # the diagonal up to 0.3


def test_without_masks_there_are_no_figures() -> None:
    histogram = PixelHistogram()
    histogram.add(torch.ones(1, 8, 8))
    assert (histogram.auroc(), histogram.aupro()) == (None, None)
