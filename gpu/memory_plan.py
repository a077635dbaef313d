"""What a training will hold in memory, decided before it holds it."""

from dataclasses import dataclass
from typing import Self

_SELECTED = 128 * 4  # bytes of a projected patch
_BOUNDS = 24  # bytes a patch of the selection's own: norm, bound, picks known, and a copy of the bounds to sort
_ORIGIN = 8  # bytes of where a bank row comes from
_HALF, _SINGLE = 2, 4  # bytes of a number
_OVERSAMPLING = 4  # rows of a part's coreset for each that the bank takes: the bank then covers 1 % worse on average
MOST_JUDGED = 1000  # images scored by detectors that never saw them: a threshold needs no more
_MOST_SELECTED = (
    1 << 20
)  # patches that a coreset is chosen from at once where there are twice as many: time is quadratic
_FEWEST_HELD, _FEWEST_REDUCED = 50, 10  # images


class MemoryNeeded(Exception):
    """The training needs more memory than it may take; the message says how much and what to do."""


@dataclass(frozen=True)
class Budget:
    """Bytes that a training may take: of the machine's memory, and of the GPU's, None where it computes on the CPU."""

    memory: int
    device_memory: int | None = None


@dataclass(frozen=True)
class Shape:
    """Patch embeddings of an image: `cells` of `width` numbers."""

    cells: int
    width: int

    @property
    def embedded(self) -> int:
        """Bytes of the embeddings, in half precision."""
        return self.cells * self.width * _HALF

    @property
    def selected(self) -> int:
        """Bytes that the selection of a coreset needs beside them."""
        return self.cells * (min(self.width * _SINGLE, _SELECTED) + _BOUNDS)


@dataclass(frozen=True)
class MemoryPlan:
    """How many of the normal images are `held`, with all their patches, and how many are reduced at a time.

    `block` is 0 where all are held, or where the detector learns from those held alone. `needed` are bytes of `budget`.
    """

    images: int
    held: int
    block: int
    needed: int
    budget: int

    def __str__(self) -> str:
        memory = f"{_size(self.needed)} of {_size(self.budget)} for patch embeddings"
        if self.held == self.images:
            return f"{memory}, all {self.images:,} normal images at once"
        if self.block:
            return f"{memory}, {self.images:,} normal images in parts of {self.block:,}"
        return f"{memory}, {self.held:,} of {self.images:,} normal images"

    @classmethod
    def of(cls, images: int, anomalies: int, shape: Shape, ratio: float | None, budget: Budget) -> Self:
        """The plan for so many normal images and anomalies, and a bank of `ratio` of the patches (None: no bank).

        All images are held where they fit and are not so many that selecting from all their patches takes long.
        Otherwise a bank is made of coresets of parts, and a detector without a bank learns from as many images as fit.
        Raises MemoryNeeded where that is too few.
        """
        per_row = (_SINGLE + _HALF) * shape.width + _ORIGIN
        bank = 0 if ratio is None else round(ratio * images * shape.cells) * per_row
        fixed = anomalies * shape.embedded + bank
        selected = 0 if ratio is None else shape.selected
        judged = MOST_JUDGED * shape.embedded if images > MOST_JUDGED else 0  # copied together
        whole = fixed + judged + images * (shape.embedded + selected)
        device = budget.memory if budget.device_memory is None else budget.device_memory
        device_left = device - bank
        at_once = cls(images, images, 0, whole, budget.memory)
        fits = whole <= budget.memory and images * selected <= device_left
        if fits and (ratio is None or images * shape.cells <= 2 * _MOST_SELECTED):
            return at_once
        if ratio is None:
            held = (budget.memory - fixed - judged) // shape.embedded
            if held < _FEWEST_HELD:
                raise _needed(whole, images, budget.memory)
            return cls(images, held, 0, fixed + judged + held * shape.embedded, budget.memory)
        parts = images * round(rows_of_part(ratio, shape.cells) * (shape.width * _HALF + shape.selected / shape.cells))
        left = budget.memory - fixed - parts
        held = min(images, MOST_JUDGED, left // 2 // shape.embedded)
        room = (left - held * shape.embedded) // (shape.embedded + selected)
        block = min(images, room, device_left // selected, max(_FEWEST_REDUCED, _MOST_SELECTED // shape.cells))
        if held < _FEWEST_HELD or block < _FEWEST_REDUCED:
            if fits:
                return at_once
            raise _needed(fixed + parts + 2 * _FEWEST_HELD * shape.embedded, images, budget.memory)
        needed = fixed + parts + held * shape.embedded + block * (shape.embedded + selected)
        return cls(images, held, block, needed, budget.memory)


def rows_of_part(ratio: float, cells: int) -> float:
    """How many patches of an image, on average, stay in the coreset of its part."""
    return min(1.0, _OVERSAMPLING * ratio) * cells


def _needed(needed: int, images: int, budget: int) -> MemoryNeeded:
    return MemoryNeeded(
        f"Training on {images:,} normal images needs {_size(needed)} of memory for their patch embeddings; it may "
        f"take {_size(budget)}. Choose a smaller vigil:image-size or vigil:coreset-ratio, use fewer training images, "
        "or let it have more: VIGIL_TRAINING_MEMORY_GIB, or a machine with more memory."
    )


def _size(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{-(-size // 2**20):,} MiB"
