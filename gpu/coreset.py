"""Coreset selection: the few patch embeddings that cover all the others (PatchCore §3.2, algorithm 1)."""

from collections.abc import Callable

import torch
from torch import Tensor

from gpu.products import products

_GROUP, _PER_ROOT = 8192, 20  # candidates kept up to date at a time: so many, or so many times the root of all points
_PART = 1024  # candidates brought up to date by one product; those that missed about as many picks are together
_CENTRES = 1024  # picks in one product on a CPU: its 4 MiB stay in the cache
_TILE = 256  # what the number of picks in a product is rounded to, because each number costs a CPU a set-up
_THIN_OUT = 16  # picks after which candidates that cannot be picked in this round are dropped
_REPLAYED = 32  # picks that a CUDA graph makes without the host
_DIMENSIONS = 128
_LONGEST = 2040  # of a projected point: its whole numbers have squared distances under 2^24
_ROWS = 1 << 13  # of which a copy is made at a time


@torch.no_grad()
def farthest_first(
    points: Tensor, picks: int, *, seed: int = 0, progress: Callable[[float], None] | None = None
) -> Tensor:
    """points (N, D) float32 → indices (picks,) int64 of the greedy k-centre selection, in the order picked.

    Exactly the plain loop's picks from a seeded start, of points equally far the first: a point keeps a stale upper
    bound of its distance to the nearest pick; distances only shrink, so only points whose bound reaches tau can be the
    farthest, and only those are updated. Where float32 holds the squared distances exactly, as it does those of
    project(), every device picks the same. Raises ValueError unless 1 ≤ picks ≤ N. progress gets the fraction done.
    """
    n = len(points)
    if not 1 <= picks <= n:
        raise ValueError(f"cannot pick {picks} of {n} points")
    selection = _Selection(points, picks, int(torch.randint(n, (1,), generator=torch.Generator().manual_seed(seed))))
    advance = _Replay(selection) if _on_cuda(points) else selection.advance
    while selection.count < picks:
        candidates, tau = selection.candidates()
        advance(candidates, tau)
        if progress is not None:
            progress(selection.count / picks)
    return selection.chosen


def _on_cuda(points: Tensor) -> bool:
    return points.is_cuda


class _Selection:
    """What is known so far: the picks, and for each point an upper bound of its squared distance to them."""

    def __init__(self, points: Tensor, picks: int, first: int) -> None:
        self.points, self.picks, self.count = points, picks, 1
        self.group = max(_GROUP, int(_PER_ROOT * len(points) ** 0.5))
        # In parts, because the squares would take as much memory as the points do.
        self.norms = torch.cat([part.square().sum(1) for part in torch.split(points, _ROWS)])
        self.chosen = torch.zeros(picks, dtype=torch.int64, device=points.device)
        rounded = -(-picks // _TILE) * _TILE
        self.at_once = rounded if _on_cuda(points) else _CENTRES
        self.centres = points.new_zeros(rounded, points.shape[1])
        self.offsets = points.new_full((rounded,), -torch.inf)  # −|centre|²/2; a pick that is still missing is farthest
        self.bound = torch.addmv(self.norms + self.norms[first], points, points[first], alpha=-2).clamp_min_(0)
        self.bound[first] = -1
        self.folded = torch.ones(len(points), dtype=torch.int32, device=points.device)  # picks known to each bound
        self.record(0, torch.tensor([first], device=points.device))

    def candidates(self) -> tuple[Tensor, float]:
        """Indices, ascending, of the points that may be the farthest, now up to date, and the tau they reach."""
        n = len(self.points)
        tau = float(torch.kthvalue(self.bound, n - self.group + 1).values) if n > self.group else -1.0
        near = (self.bound >= tau).nonzero().squeeze(1)
        stale = near[(self.folded[near] < self.count) & (self.bound[near] > 0)]
        for part in torch.split(stale[self.folded[stale].argsort()], _PART):
            if not len(part):
                continue  # an empty tensor is split into one empty part
            low, high = int(self.folded[part[0]]) // _TILE * _TILE, -(-self.count // _TILE) * _TILE
            points, closest = self.points[part], self.points.new_full((len(part),), -torch.inf)
            for start in range(low, high, self.at_once):
                missed = slice(start, min(start + self.at_once, high))
                values = products(points, self.centres[missed], self.offsets[missed])  # ab − |b|²/2
                torch.maximum(closest, values.amax(1), out=closest)
            squares = closest.mul_(-2).add_(self.norms[part]).clamp_min_(0)
            self.bound[part] = torch.minimum(self.bound[part], squares)
        self.folded[near] = self.count
        return near, tau

    def advance(self, near: Tensor, tau: float) -> None:
        """Pick among the candidates until none of them reaches tau."""
        bound, points, norms = self.bound[near], self.points[near], self.norms[near]
        while self.count < self.picks:
            largest, where = bound.max(0)
            if float(largest) < tau:
                break
            at = int(where)
            self.record(self.count, near[at : at + 1])
            distances = torch.addmv(norms, points, points[at], alpha=-2).add_(norms[at]).clamp_min_(0)
            torch.minimum(bound, distances, out=bound)
            bound[at] = -1
            self.count += 1
            if self.count % _THIN_OUT == 0:
                kept = bound >= tau
                self.keep(near[~kept], bound[~kept])
                near, bound, points, norms = near[kept], bound[kept], points[kept], norms[kept]
                if not len(near):
                    return
        self.keep(near, bound)

    def keep(self, near: Tensor, bound: Tensor) -> None:
        """The bounds of these points know all picks so far."""
        self.bound[near], self.folded[near] = bound, self.count

    def record(self, start: int, chosen: Tensor) -> None:
        """These points are the picks from the one of number `start`."""
        part = slice(start, start + len(chosen))
        self.chosen[part], self.centres[part], self.offsets[part] = chosen, self.points[chosen], self.norms[chosen] / -2


class _Replay:
    """A round on CUDA: 32 picks are one graph, so that the host neither launches kernels nor waits for each pick.

    Its steps ask the host nothing: after the round's last pick they change nothing.
    """

    def __init__(self, selection: _Selection) -> None:
        self._selection, points = selection, selection.points
        most = min(len(points), 2 * selection.group)
        self._index = torch.zeros(most, dtype=torch.int64, device=points.device)
        self._points, self._norms = points.new_zeros(most, points.shape[1]), points.new_zeros(most)
        self._bound, self._tau = points.new_full((most,), -1.0), points.new_zeros(1)
        self._count = torch.zeros(1, dtype=torch.int64, device=points.device)
        self._chosen = torch.zeros(selection.picks + 1, dtype=torch.int64, device=points.device)  # the last is no pick
        self._replay = self._capture() if points.is_cuda else self._steps

    def __call__(self, near: Tensor, tau: float) -> None:
        selection, size = self._selection, len(near)
        if size > len(self._bound):  # more points than usual are exactly as far
            selection.advance(near, tau)
            return
        self._bound.fill_(-1)
        self._index[:size], self._bound[:size] = near, selection.bound[near]
        self._points[:size], self._norms[:size] = selection.points[near], selection.norms[near]
        self._tau.fill_(max(tau, 0.0))
        self._count.fill_(selection.count)
        before = have = selection.count
        while True:
            self._replay()
            now = int(self._count)
            if now < have + _REPLAYED:
                break
            have = now
        selection.record(before, self._chosen[before:now])
        selection.count = now
        selection.keep(near, self._bound[:size])

    def _capture(self) -> Callable[[], None]:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._steps()  # loads all that a capture must not load
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._steps()
        return graph.replay

    def _steps(self) -> None:
        for _ in range(_REPLAYED):
            at = self._bound.argmax().view(1)
            going = (self._bound[at] >= self._tau) & (self._count < self._selection.picks)
            product = self._points @ self._points[at].squeeze(0)
            distances = (self._norms + self._norms[at] - 2 * product).clamp_min_(0)
            moved = torch.minimum(self._bound, distances).index_fill_(0, at, -1)
            self._bound.copy_(torch.where(going, moved, self._bound))
            slot = torch.where(going, self._count, self._selection.picks)
            self._chosen.index_copy_(0, slot, self._index[at])
            self._count.add_(going)


@torch.no_grad()
def project(
    patches: Tensor,
    images: Tensor | None = None,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    whitening: Tensor | None = None,
) -> Tensor:
    """patches (n, P, D) or (N, D), or those of some of the n images → (n · P, 128) float32 of whole numbers.

    A whitening (D, D), where there is one, is multiplied with the patches first.

    A seeded Gaussian random projection: distances survive up to a factor of 1 ± ε with O(log N / ε²) dimensions
    (Johnson and Lindenstrauss 1984), and the selection costs less than half. Where D is no larger nothing is projected.
    The points are then shifted and scaled to whole numbers whose squared distances float32 holds exactly; that moves a
    distance by less than 1 % and makes a selection independent of the order in which a machine adds. The matrix is
    drawn on the CPU, so that every device has the same.
    """
    rows = patches.unsqueeze(1) if patches.dim() == 2 else patches
    images = torch.arange(len(rows)) if images is None else images
    cells, width = rows.shape[1:]
    device = patches.device if device is None else torch.device(device)
    matrix = None if whitening is None else whitening.to(device)
    if width > _DIMENSIONS:
        drawn = torch.randn(width, _DIMENSIONS, generator=torch.Generator().manual_seed(seed))
        drawn = drawn.div_(_DIMENSIONS**0.5).to(device)
        matrix = drawn if matrix is None else matrix @ drawn
    points = torch.empty(len(images) * cells, min(width, _DIMENSIONS), device=device)
    done = 0
    for part in torch.split(images, max(1, _ROWS // cells)):
        taken = rows[part].flatten(0, 1).to(device).float()
        points[done : done + len(taken)] = taken if matrix is None else products(taken, matrix.T)
        done += len(taken)
    points.sub_(points.mean(0))
    longest = float(torch.linalg.vector_norm(points, dim=1).max()) if done else 0.0
    return points.mul_(_LONGEST / longest).round_() if longest else points
