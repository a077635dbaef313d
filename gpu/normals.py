"""The normal images of a training: their patch embeddings, as far as memory holds them, and their folds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from gpu.coreset import farthest_first, project
from gpu.memory_plan import MOST_JUDGED, MemoryPlan, Shape, rows_of_part
from gpu.patch_embedding import Embedding

FOLDS = 5


@dataclass(frozen=True)
class Part:
    """A coreset of a fold's patches: rows (k, D) in half precision, and their origins (k, 2), image and cell."""

    rows: Tensor
    origins: Tensor


@dataclass(frozen=True)
class Normals:
    """Patch embeddings (held, h, w, D), in half precision on the CPU, of `images` (held,) among all.

    `judged` are the positions in `patches`, ascending, of the images that are scored by detectors which never saw them:
    all, or a thousand of them at random. `fold` (n,) is the fold of every image. Where not all are held, `parts` may
    have a coreset of each fold's patches ("merge and reduce", Har-Peled and Mazumdar 2004): a bank of the merged
    coresets covers all n images.
    """

    patches: Tensor
    images: Tensor
    judged: Tensor
    fold: Tensor
    parts: tuple[Part, ...] = ()

    @classmethod
    def whole(cls, patches: Tensor, seed: int) -> Self:
        """All images (n, h, w, D) are held. Raises ValueError for fewer than two."""
        order = _order(len(patches), seed)
        return cls(patches, torch.arange(len(patches)), order[:MOST_JUDGED].sort().values, _folds(order))

    @classmethod
    @torch.no_grad()
    def gather(
        cls,
        embedding: Embedding,
        batches: Iterable[Tensor],
        count: int,
        planned: Callable[[Shape], MemoryPlan],
        ratio: float,
        seed: int,
    ) -> Self:
        """Embed batches uint8 (B, 3, H, W), count images in all, into one buffer that the plan bounds.

        `planned` is asked once, when the shape of an image's embeddings is known. Raises what it raises, and ValueError
        where count is not met or under two.
        """
        order = _order(count, seed)
        gathering: _Gathering | None = None
        for batch in batches:
            patches = embedding.embed(batch)
            if gathering is None:
                plan = planned(Shape(patches.shape[1] * patches.shape[2], patches.shape[3]))
                gathering = _Gathering(plan, patches, order, ratio, seed)
            gathering.add(patches)
        if gathering is None or gathering.done < count:
            raise ValueError(f"{gathering.done if gathering else 0} images where {count} were announced")
        images = gathering.images
        judged = torch.isin(images, order[:MOST_JUDGED]).nonzero().squeeze(1)
        return cls(gathering.held, images, judged, gathering.fold, gathering.finish())

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.fold.max()) + 1

    def kept(self, without: int | None) -> Tensor:
        """Positions in `patches` of the images of all folds but that."""
        return (self.fold[self.images] != (-1 if without is None else without)).nonzero().squeeze(1)


class _Gathering:
    """The one buffer of a training's normal images while it fills; what is not held is reduced part by part."""

    def __init__(self, plan: MemoryPlan, like: Tensor, order: Tensor, ratio: float, seed: int) -> None:
        self._device, self._ratio, self._seed = like.device, ratio, seed
        self.fold, self.images, self.done = _folds(order), order[: plan.held].sort().values, 0
        self._slot = torch.full((len(order),), -1)
        self._slot[self.images] = torch.arange(plan.held)
        buffer = torch.empty(plan.held + plan.block, *like.shape[1:], dtype=torch.float16)
        self.held, self._block = buffer[: plan.held], buffer[plan.held :]
        self._parts: list[list[Part]] = [[] for _ in range(int(self.fold.max()) + 1)]
        self._from = 0  # the first image in the block

    def add(self, patches: Tensor) -> None:
        """The next images' patch embeddings (B, h, w, D)."""
        if self.done + len(patches) > len(self.fold):
            raise ValueError(f"more than the {len(self.fold)} images that were announced")
        halves = patches.half().cpu()
        slots = self._slot[self.done : self.done + len(halves)]
        self.held[slots[slots >= 0]] = halves[slots >= 0]
        for one in halves if len(self._block) else ():
            self._block[self.done - self._from] = one
            self.done += 1
            if self.done - self._from == len(self._block):
                self._reduce()
        if not len(self._block):
            self.done += len(halves)

    def finish(self) -> tuple[Part, ...]:
        """The coreset of each fold; none where all images are held."""
        if not len(self._block):
            return ()
        self._reduce()
        return tuple(
            Part(torch.cat([p.rows for p in parts]), torch.cat([p.origins for p in parts])) for parts in self._parts
        )

    def _reduce(self) -> None:
        """The images in the block go into the coresets of their folds, and make room."""
        folds = self.fold[self._from : self.done]
        for fold in sorted(set(folds.tolist())):
            members = (folds == fold).nonzero().squeeze(1)
            cells = self._block.shape[1] * self._block.shape[2]
            picks = max(1, round(rows_of_part(self._ratio, cells) * len(members)))
            points = project(self._block.flatten(1, 2), members, seed=self._seed, device=self._device)
            chosen = farthest_first(points, picks, seed=self._seed).cpu()
            images, places = members[chosen // cells], chosen % cells
            rows = self._block.flatten(1, 2)[images, places]
            self._parts[fold].append(Part(rows, torch.stack((self._from + images, places), dim=1)))
        self._from = self.done


def _order(count: int, seed: int) -> Tensor:
    """The images in a random order, which deals them to the folds and says which are held where not all can be."""
    if count < 2:
        raise ValueError(f"Training needs at least two normal images, not {count}.")
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _folds(order: Tensor) -> Tensor:
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(order)) % min(len(order), FOLDS)
    return fold
