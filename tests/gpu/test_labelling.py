"""Regions of an anomaly map and the defects they are named after."""

import torch
from torch import Tensor

from gpu.labelling import DefectBank

COLOURS = {"crack": "#ff0000", "dent": "#00ff00"}


def scene() -> tuple[Tensor, Tensor]:
    """Patches (1, 8, 8, 2): channel 0 marks cracks, channel 1 dents; masks (1, 64, 64)."""
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 0:16, 0:24], masks[0, 40:64, 40:56] = 1, 2
    cells = masks[:, 4::8, 4::8]
    return torch.stack(((cells == 1).float(), (cells == 2).float()), dim=3), masks


def test_patches_belong_to_the_label_that_covers_them() -> None:
    patches, masks = scene()
    bank = DefectBank.build(patches, masks, COLOURS)
    assert bank.names == ("crack", "dent")
    assert bank.colours == ("#ff0000", "#00ff00")
    assert bank.labels.tolist() == [1] * 6 + [2] * 6
    assert bank.embeddings.tolist() == [[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 6


def test_a_thin_defect_has_a_patch_too() -> None:
    patches, masks = torch.rand(1, 8, 8, 2), torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 20, 16:24] = 1
    bank = DefectBank.build(patches, masks, COLOURS)
    assert torch.equal(bank.embeddings, patches[0, 2, 2].unsqueeze(0))


def test_a_label_keeps_two_thousand_patches_by_seed() -> None:
    patches, masks = torch.rand(50, 8, 8, 2), torch.ones(50, 64, 64, dtype=torch.uint8)
    banks = [DefectBank.build(patches, masks, COLOURS, seed) for seed in (0, 0, 1)]
    assert len(banks[0].labels) == 2000
    assert torch.equal(banks[0].embeddings, banks[1].embeddings)
    assert not torch.equal(banks[0].embeddings, banks[2].embeddings)


def test_each_region_takes_the_label_of_most_of_its_patches() -> None:
    patches, masks = scene()
    bank = DefectBank.build(patches, masks, COLOURS)
    patches[0, 0, 0] = torch.tensor([0.0, 1.0])  # one patch of the crack looks like a dent
    found = bank.label_regions(patches[0], (masks[0] > 0).float() * 5, 3.0)
    assert found.dtype == torch.uint8
    assert torch.equal(found, masks[0])


def test_a_region_without_a_patch_centre_asks_the_patch_under_it() -> None:
    patches, masks = scene()
    bank = DefectBank.build(patches, masks, COLOURS)
    values = torch.zeros(64, 64)
    values[1:3, 1:3], values[41:43, 41:43] = 5, 6
    found = bank.label_regions(patches[0], values, 3.0)
    assert int(found[1, 1]) == 1
    assert int(found[42, 42]) == 2
    assert int((found > 0).sum()) == 8


def test_nothing_over_the_threshold_is_all_background() -> None:
    patches, masks = scene()
    bank = DefectBank.build(patches, masks, COLOURS)
    assert int(bank.label_regions(patches[0], torch.ones(64, 64), 3.0).max()) == 0
