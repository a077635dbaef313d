"""A small texture rendered here, so that every test has images of its own."""

from pathlib import Path

import torch
from torch import Tensor

SIZE = (96, 128)
SHARED = Path(__file__).resolve().parents[3] / "shared"


def render(count: int, seed: int, *, spot: bool = False) -> tuple[Tensor, Tensor]:
    """Woven stripes with noise, (count, 3, 96, 128) uint8, and masks (count, 96, 128); a dark spot where asked."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    images, masks = [], []
    for _ in range(count):
        shift, place = torch.rand(2, generator=generator) * 8, torch.rand(2, generator=generator)
        weave = 128 + 40 * torch.sin((rows + shift[0]) / 2) + 40 * torch.sin((columns + shift[1]) / 3)
        inside = (rows - 20 - 50 * place[0]) ** 2 + (columns - 20 - 80 * place[1]) ** 2 < 8**2
        if spot:
            weave = torch.where(inside, 25.0, weave)
        noise = torch.randn(3, *SIZE, generator=generator) * 4
        images.append((weave + noise).clamp(0, 255).to(torch.uint8))
        masks.append(inside.to(torch.uint8) if spot else torch.zeros(SIZE, dtype=torch.uint8))
    return torch.stack(images), torch.stack(masks)
