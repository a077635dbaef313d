"""Nearest neighbours in a memory bank."""

import torch
from torch import Tensor

_ELEMENTS_OF_CUDA = 1 << 27
_ELEMENTS = 1 << 20  # of the distances held at a time: 4 MiB stay in the cache, and cost no fresh pages from the system


@torch.no_grad()
def nearest(queries: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """queries (N, D), bank (M, D) → Euclidean distances (N, k), ascending, and bank indices (N, k).

    |a − b|² = |a|² + |b|² − 2ab finds candidates; their distances are then taken from the vectors themselves, so that
    identical vectors are exactly 0 apart and the product's rounding reaches no result. Raises ValueError if k > M.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"cannot find {k} neighbours in a bank of {len(bank)}")
    norms = torch.linalg.vecdot(bank, bank).unsqueeze(0)
    halves = bank.half() if bank.is_cuda else None
    distances = queries.new_empty(len(queries), k)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    elements = _ELEMENTS_OF_CUDA if bank.is_cuda else _ELEMENTS
    rows = max(1, min(elements // len(bank), elements // ((k + 1) * bank.shape[1])))
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        # |a|² is the same along a row, so it decides nothing
        if halves is not None:  # products of half precision, summed in single: which is nearest, not how near
            partial = torch.addmm(norms, part.half(), halves.T, out_dtype=torch.float32, alpha=-2)
        else:
            partial = torch.addmm(norms, part, bank.T, alpha=-2)
        if k == 1 and halves is None:
            candidates = partial.argmin(dim=1, keepdim=True)
        else:
            candidates = partial.topk(min(k + 1, len(bank)), largest=False).indices
        exact = torch.linalg.vector_norm(part.unsqueeze(1) - bank[candidates], dim=2)
        order = exact.argsort(dim=1, stable=True)[:, :k]
        distances[start : start + rows] = exact.gather(1, order)
        indices[start : start + rows] = candidates.gather(1, order)
    return distances, indices
