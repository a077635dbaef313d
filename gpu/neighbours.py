"""Nearest neighbour in a memory bank."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gpu.products import products

_TILE = 256
_CANDIDATES = 2  # of the products of half precision, of which the nearest is found in single
_ELEMENTS_OF_CUDA = 1 << 27
_ROWS, _COLUMNS = 1024, 1024  # of a product on a CPU: its 4 MiB stay in the cache, and cost no fresh pages


@torch.no_grad()
def nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """queries (N, D), bank (M, D) → Euclidean distance (N,) to the nearest row of the bank, and its index (N,).

    |a − b|² = |a|² + |b|² − 2ab finds candidates; their distances are then taken from the vectors themselves, so that
    identical vectors are exactly 0 apart and the product's rounding reaches no result. Raises ValueError for an empty
    bank.
    """
    if not len(bank):
        raise ValueError("there is no nearest row in an empty bank")
    norms = torch.linalg.vecdot(bank, bank)  # |a|² is the same for all of them, so it decides nothing
    distances = queries.new_empty(len(queries))
    indices = torch.empty(len(queries), dtype=torch.int64, device=queries.device)
    rows, find = _on_cuda(bank, norms) if bank.is_cuda else _on_cpu(bank, norms)
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        candidates = find(part)
        exact = torch.linalg.vector_norm(part.unsqueeze(1) - bank[candidates], dim=2)
        least, which = exact.min(dim=1)
        distances[start : start + rows] = least
        indices[start : start + rows] = candidates.gather(1, which.unsqueeze(1)).squeeze(1)
    return distances, indices


Find = Callable[[Tensor], Tensor]  # queries (n, D) → the rows of the bank that may be nearest to each, (n, candidates)


def _on_cuda(bank: Tensor, norms: Tensor) -> tuple[int, Find]:
    """How many queries at a time, and products of half precision, summed in single: what is nearest, not how near."""
    halves = bank.half()
    rows = max(1, min(_ELEMENTS_OF_CUDA // len(bank), _ELEMENTS_OF_CUDA // (_CANDIDATES * bank.shape[1])))

    def find(part: Tensor) -> Tensor:
        partial = torch.addmm(norms.unsqueeze(0), part.half(), halves.T, out_dtype=torch.float32, alpha=-2)
        return partial.topk(min(_CANDIDATES, len(bank)), largest=False).indices

    return rows, find


def _on_cpu(bank: Tensor, norms: Tensor) -> tuple[int, Find]:
    """How many queries at a time, and ab − |b|²/2 in parts of the bank, which is greatest where |a − b|² is least."""
    closest = [
        _whole_tiles(*part) for part in zip(torch.split(bank, _COLUMNS), torch.split(norms / -2, _COLUMNS), strict=True)
    ]

    def find(part: Tensor) -> Tensor:
        best = part.new_full((len(part), 1), -torch.inf)
        found = torch.zeros(len(part), 1, dtype=torch.int64)
        for number, (columns, offset) in enumerate(closest):
            values = products(part, columns, offset)
            column = _greatest(values)
            value = values.gather(1, column)
            nearer = value > best
            best, found = torch.where(nearer, value, best), torch.where(nearer, column + number * _COLUMNS, found)
        return found

    return _ROWS, find


def _whole_tiles(columns: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Rows added up to a whole number of tiles, which are never nearest."""
    lacking = -len(columns) % _TILE
    if not lacking:
        return columns, offset  # padding by nothing copies
    return functional.pad(columns, (0, 0, 0, lacking)), functional.pad(offset, (0, lacking), value=-torch.inf)


def _greatest(values: Tensor) -> Tensor:
    """values (N, M), M whole tiles → the column of each row's greatest value, (N, 1).

    The greatest of each tile, then where it is in the tile that has it: a plain argmax takes several times as long.
    """
    tiles = values.view(len(values), -1, _TILE)
    best = tiles.amax(dim=2).argmax(dim=1).view(-1, 1)
    inside = tiles.gather(1, best.unsqueeze(2).expand(-1, 1, _TILE)).squeeze(1).argmax(dim=1, keepdim=True)
    return best * _TILE + inside
