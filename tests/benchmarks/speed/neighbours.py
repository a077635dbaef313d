"""The search for the nearest rows of a bank, beside the obvious way with torch.cdist."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpu.neighbours import nearest
from tests.benchmarks.speed.context import Context
from tests.benchmarks.speed.processes import run_own

RATIOS = (0.01, 0.1)
_DIMENSIONS, _QUERIES, _SEED = 128, 1024, 0  # queries: the patches of one image of 256 × 256
_BATCHES = 8


def measure(context: Context) -> dict[str, Any]:
    """Banks of 1 % and 10 % of the points."""
    points = context.scale.points
    job = {"points": points, "rounds": context.scale.rounds}
    return {
        "points": points,
        "dimensions": _DIMENSIONS,
        "banks": [run_own("neighbours", job | {"rows": round(ratio * points)}) for ratio in RATIOS],
    }


def compare(job: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds per 1,000 queries of both ways in turn, of all rounds, and whether both find the same rows."""
    generator = torch.Generator().manual_seed(_SEED)
    points = torch.randn(job["points"], _DIMENSIONS, generator=generator)
    order = torch.randperm(len(points), generator=generator)
    bank = points[order[: job["rows"]]].clone()
    batches = points[order[-_QUERIES * _BATCHES :]].split(_QUERIES)
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ours": _ours, "cdist": _cdist}
    found = {name: way(batches[0], bank) for name, way in ways.items()}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(job["rounds"]):
        for name, way in ways.items():
            started = time.perf_counter()
            for batch in batches:
                way(batch, bank)
            spent[name].append((time.perf_counter() - started) * 1e6 / sum(len(batch) for batch in batches))
    same = int((found["ours"] == found["cdist"]).sum())
    return {"rows": len(bank), **spent, "compared": len(batches[0]), "same": same}


def _ours(queries: Tensor, bank: Tensor) -> Tensor:
    return nearest(queries, bank)[1]


def _cdist(queries: Tensor, bank: Tensor) -> Tensor:
    return torch.cdist(queries, bank).min(dim=1).indices
