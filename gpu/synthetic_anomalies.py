"""Defects drawn into images of good parts, for data sets that have too few real ones to compare detectors by."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_KINDS = ("spot", "scratch", "piece")
_SMALLEST, _LARGEST = 0.02, 0.25  # extent of a defect, as a share of the image's shorter side
_BORDER = 0.1  # share of each side within which no defect has its centre
_FAINTEST = 0.25  # opacity of a defect
_SHADE = 2.5  # of a spot or scratch against the image, in standard deviations of its pixels
_LEAST_CONTRAST = 12.0  # grey levels taken for that deviation where the image is even


def spoil(images: Tensor, copies: int, seed: int) -> Tensor:
    """uint8 (n, 3, H, W) of good parts → uint8 (n · copies, 3, H, W): copies of each in turn, with one defect each.

    A third are spots, a third scratches, lighter or darker or of another texture, a third pieces from elsewhere. All
    sizes count alike, from what is just visible to a quarter of the part, and so do faint and clear ones: detectors are
    told apart by what is hard for some. The pieces are those of CutPaste (Li et al., CVPR 2021), the outlines are
    disturbed by smooth noise as in DRAEM (Zavrtanik et al., ICCV 2021).
    """
    random = torch.Generator().manual_seed(seed)
    return torch.stack([_spoiled(image, images, random) for image in images for _ in range(copies)])


def _spoiled(image: Tensor, donors: Tensor, random: torch.Generator) -> Tensor:
    height, width = image.shape[1:]
    side = min(height, width)
    extent = side * math.exp(_between(random, math.log(_SMALLEST), math.log(_LARGEST)))
    kind = _KINDS[_one_of(random, len(_KINDS))]
    cover = _outline(height, width, extent, scratch=kind == "scratch", random=random)
    pixels = image.float()
    if kind != "piece" and _between(random, 0, 1) < 0.6:
        contrast = pixels.flatten(1).std(dim=1).clamp_min(_LEAST_CONTRAST).view(3, 1, 1)
        tint = torch.rand(3, 1, 1, generator=random) * 0.3 + 0.7
        defect = pixels + (_SHADE if _between(random, 0, 1) < 0.4 else -_SHADE) * contrast * tint
    else:
        moved = _one_of(random, height), _one_of(random, width)
        defect = torch.roll(donors[_one_of(random, len(donors))].float(), moved, (1, 2)) + _between(random, -25, 25)
        if _one_of(random, 2):
            defect = defect.flip(1 + _one_of(random, 2))
    cover = cover * _between(random, _FAINTEST, 1)
    return (pixels + cover * (defect - pixels)).round().clamp(0, 255).to(torch.uint8)


def _outline(height: int, width: int, extent: float, *, scratch: bool, random: torch.Generator) -> Tensor:
    """(H, W) from 0 outside the defect to 1 inside: an ellipse, turned and disturbed, with a soft edge."""
    side = min(height, width)
    centre = [_between(random, _BORDER, 1 - _BORDER) * length for length in (height, width)]
    turned = _between(random, 0, math.pi)
    y, x = torch.meshgrid(torch.arange(height) - centre[0], torch.arange(width) - centre[1], indexing="ij")
    along, across = x * math.cos(turned) + y * math.sin(turned), y * math.cos(turned) - x * math.sin(turned)
    slender = _between(random, 0.03, 0.15) if scratch else _between(random, 0.4, 1)
    minor = max(extent / 2 * slender, side / 360)  # a hair's breadth is still seen
    major = max(extent, 4 * minor) if scratch else extent / 2
    waves = torch.randn(1, 1, *[max(2, round(1.5 * length / extent)) for length in (height, width)], generator=random)
    noise = functional.interpolate(waves, (height, width), mode="bicubic", align_corners=True)[0, 0]
    distance = torch.sqrt((along / major) ** 2 + (across / minor) ** 2) + 0.35 * noise
    return ((1 - distance) / _between(random, 0.05, 0.5)).clamp(0, 1)


def _between(random: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def _one_of(random: torch.Generator, count: int) -> int:
    return int(torch.randint(count, (), generator=random))
