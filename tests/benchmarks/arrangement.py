"""Which photographs a run learns from and which it is judged by: the same for every detector."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu.images import prepare, probe, resize
from tests.benchmarks.datasets import DataSet, Photo
from tests.benchmarks.photographs import LIMITS, read_mask
from trainer.dataset import network_input


@dataclass(frozen=True)
class Arrangement:
    """Good photographs to learn from, bad ones that may be shown with their labels, and those to judge.

    `labelled` is in the order in which it is drawn from: a run with ten labelled anomalies gets the first ten. None of
    it is in `test`, however many a run gets, so that all figures of a data set are of the same photographs.
    """

    train: tuple[Photo, ...]
    labelled: tuple[Photo, ...]
    test: tuple[Photo, ...]

    @property
    def truth(self) -> list[bool]:
        """Which of the photographs to judge are bad."""
        return [photo.defect is not None for photo in self.test]


def counts_for(data: DataSet, counts: Sequence[int]) -> list[int]:
    """The numbers of labelled anomalies that leave at least half of the bad photographs to judge; else only 0."""
    return [count for count in sorted(set(counts)) if count <= len(data.bad) // 2] or [0]


def arrange(data: DataSet, seed: int, most_labelled: int, limit: int | None = None) -> Arrangement:
    """Draw by the seed: the labelled anomalies, and with a limit at most so many of each kind of photograph."""
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    bad = draw.sample(data.bad, len(data.bad))
    train, good = (_some(photos, limit, draw) for photos in (data.train, data.good))
    return Arrangement(train, tuple(bad[:most_labelled]), (*good, *bad[most_labelled:][:limit]))


def shared_size(arrangement: Arrangement, image_size: int) -> tuple[int, int]:
    """(H, W) of the input that a training with this image size gives its network; the baseline gets the same."""
    headers = [probe(photo.path.read_bytes(), LIMITS) for photo in arrangement.train]
    return network_input([(header.width, header.height) for header in headers], image_size)


def prepared(photos: Sequence[Photo], size: tuple[int, int]) -> Tensor:
    """The photographs uint8 (n, 3, H, W), at this size."""
    if not photos:
        return torch.empty(0, 3, *size)
    return torch.stack([prepare(photo.path.read_bytes(), size, LIMITS)[0] for photo in photos])


def truth_masks(photos: Sequence[Photo], size: tuple[int, int]) -> list[Tensor | None]:
    """Of each photograph where its defect is, uint8 (H, W); None for a bad one of which nobody drew a mask."""
    found: list[Tensor | None] = []
    for photo in photos:
        if photo.mask is None:
            found.append(torch.zeros(size, dtype=torch.uint8) if photo.defect is None else None)
        else:
            marked = torch.from_numpy(read_mask(photo.mask).astype("uint8") * 255).expand(3, -1, -1)
            found.append((resize(marked.contiguous(), size)[0] > 127).to(torch.uint8))
    return found


def _some(photos: tuple[Photo, ...], limit: int | None, draw: random.Random) -> tuple[Photo, ...]:
    if limit is None or len(photos) <= limit:
        return photos
    return tuple(photos[index] for index in sorted(draw.sample(range(len(photos)), limit)))
