"""Nearest neighbour in a memory bank."""

from collections.abc import Callable

import torch
from torch import Tensor

_TILE = 256
_CANDIDATES = 2  # of the products of half precision, of which the nearest is found in single
_ELEMENTS_OF_CUDA = 1 << 27
_ELEMENTS = 1 << 20  # of the distances held at a time: 4 MiB stay in the cache, and cost no fresh pages from the system


@torch.no_grad()
def nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """queries (N, D), bank (M, D) → Euclidean distance (N,) to the nearest row of the bank, and its index (N,).

    |a − b|² = |a|² + |b|² − 2ab finds candidates; their distances are then taken from the vectors themselves, so that
    identical vectors are exactly 0 apart and the product's rounding reaches no result. Raises ValueError for an empty
    bank.
    """
    if not len(bank):
        raise ValueError("there is no nearest row in an empty bank")
    norms = torch.linalg.vecdot(bank, bank).unsqueeze(0)  # |a|² is the same for all of them, so it decides nothing
    distances = queries.new_empty(len(queries))
    indices = torch.empty(len(queries), dtype=torch.int64, device=queries.device)
    elements = _ELEMENTS_OF_CUDA if bank.is_cuda else _ELEMENTS
    rows = max(1, min(elements // len(bank), elements // (_CANDIDATES * bank.shape[1])))
    find = _on_cuda(bank, norms) if bank.is_cuda else _on_cpu(bank, norms, min(rows, len(queries)))
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        candidates = find(part)
        exact = torch.linalg.vector_norm(part.unsqueeze(1) - bank[candidates], dim=2)
        least, which = exact.min(dim=1)
        distances[start : start + rows] = least
        indices[start : start + rows] = candidates.gather(1, which.unsqueeze(1)).squeeze(1)
    return distances, indices


def _on_cuda(bank: Tensor, norms: Tensor) -> Callable[[Tensor], Tensor]:
    """Products of half precision, summed in single, which say what is nearest and not how near."""
    halves = bank.half()

    def find(part: Tensor) -> Tensor:
        partial = torch.addmm(norms, part.half(), halves.T, out_dtype=torch.float32, alpha=-2)
        return partial.topk(min(_CANDIDATES, len(bank)), largest=False).indices

    return find


def _on_cpu(bank: Tensor, norms: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    # Rounded up to whole tiles; what is beyond the bank is never nearest.
    held = bank.new_full((rows, -(-len(bank) // _TILE) * _TILE), torch.inf)

    def find(part: Tensor) -> Tensor:
        torch.addmm(norms, part, bank.T, alpha=-2, out=held[: len(part), : len(bank)])
        return _least(held[: len(part)])

    return find


def _least(values: Tensor) -> Tensor:
    """values (N, M), M whole tiles → the column of each row's least value, (N, 1).

    The least of each tile, then where it is in the least tile: a plain argmin takes several times as long.
    """
    tiles = values.view(len(values), -1, _TILE)
    best = tiles.amin(dim=2).argmin(dim=1).view(-1, 1)
    inside = tiles.gather(1, best.unsqueeze(2).expand(-1, 1, _TILE)).squeeze(1).argmin(dim=1, keepdim=True)
    return best * _TILE + inside
