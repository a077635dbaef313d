"""Coreset selection: the few patch embeddings that cover all the others (PatchCore §3.2, algorithm 1)."""

from collections.abc import Callable

import torch
from torch import Tensor

_GROUP = 4096  # candidates kept up to date at a time; 4,096 to 8,192 measured fastest


@torch.no_grad()
def farthest_first(
    points: Tensor, picks: int, *, seed: int = 0, progress: Callable[[float], None] | None = None
) -> Tensor:
    """points (N, D) float32 → indices (picks,) int64 of the greedy k-centre selection, in the order picked.

    Exactly the plain loop's picks from a seeded start: a point keeps a stale upper bound of its distance to the nearest
    pick; distances only shrink, so only points whose bound reaches tau can be the farthest, and only those are updated.
    Raises ValueError unless 1 ≤ picks ≤ N. progress gets the fraction done.
    """
    n, d = points.shape
    if not 1 <= picks <= n:
        raise ValueError(f"cannot pick {picks} of {n} points")
    first = int(torch.randint(n, (1,), generator=torch.Generator().manual_seed(seed)))
    norms = (points * points).sum(1)
    bound = (norms + norms[first] - 2 * (points @ points[first])).clamp_min_(0)
    bound[first] = -1
    seen = torch.ones(n, dtype=torch.int32, device=points.device)  # how many picks are folded into each bound
    chosen, centres, centre_norms = [first], points.new_empty(picks, d), points.new_empty(picks)
    centres[0], centre_norms[0] = points[first], norms[first]
    while len(chosen) < picks:
        tau = float(torch.kthvalue(bound, n - _GROUP + 1).values) if n > _GROUP else -1.0
        near = (bound >= tau).nonzero().squeeze(1)
        have = len(chosen)
        stale = near[(seen[near] < have) & (bound[near] > 0)]
        for start in range(0, len(stale), _GROUP):  # in parts, because ties can make `near` as large as N
            part = stale[start : start + _GROUP]
            low = int(seen[part].min())
            missed = torch.addmm(centre_norms[low:have].unsqueeze(0), points[part], centres[low:have].T, alpha=-2)
            bound[part] = torch.minimum(bound[part], (missed.amin(1) + norms[part]).clamp_min_(0))
        near_bound, near_points, near_norms = bound[near], points[near], norms[near]
        while len(chosen) < picks:
            farthest = int(near_bound.argmax())
            if float(near_bound[farthest]) < tau:
                break
            index, k = int(near[farthest]), len(chosen)
            centres[k], centre_norms[k] = points[index], norms[index]
            chosen.append(index)
            distances = (near_norms + norms[index] - 2 * (near_points @ points[index])).clamp_min_(0)
            torch.minimum(near_bound, distances, out=near_bound)
            near_bound[farthest] = -1
        bound[near], seen[near] = near_bound, len(chosen)
        if progress is not None:
            progress(len(chosen) / picks)
    return torch.tensor(chosen, device=points.device)


def project(points: Tensor, dimensions: int = 128, *, seed: int = 0) -> Tensor:
    """points (N, D) → (N, dimensions) by a seeded Gaussian random projection; unchanged where D is no larger.

    Distances survive up to a factor of 1 ± ε with dimensions = O(log N / ε²) (Johnson and Lindenstrauss 1984), and the
    selection costs less than half. The matrix is drawn on the CPU, so that every device selects the same.
    """
    width = points.shape[1]
    if width <= dimensions:
        return points
    matrix = torch.randn(width, dimensions, generator=torch.Generator().manual_seed(seed)).div_(dimensions**0.5)
    return points @ matrix.to(points.device)
