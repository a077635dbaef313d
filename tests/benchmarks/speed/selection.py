"""The coreset of real patch embeddings: ours, the plain loop that it has to agree with, and anomalib's."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpu.backbone import load_backbone
from gpu.coreset import farthest_first, project
from gpu.patch_embedding import Embedding
from tests.benchmarks.arrangement import arrange, prepared
from tests.benchmarks.datasets import Photo
from tests.benchmarks.speed.context import Context
from tests.benchmarks.speed.processes import run_baseline, run_own
from tests.benchmarks.usage import memory

RATIOS = (0.01, 0.1)
_BATCH, _WARM, _SEED = 16, 5, 0


def measure(context: Context) -> dict[str, Any]:
    """Both ratios; ours and anomalib's selection take turns."""
    scale = context.scale
    points = context.work / "points.safetensors"
    photos = arrange(context.data, _SEED, 0, scale.selection_images).train
    embedded = run_own(
        "embed",
        {
            "photos": [str(photo.path) for photo in photos],
            "weights": str(context.weights),
            "size": context.size,
            "points": str(points),
        },
    )
    banks = []
    for ratio in RATIOS:
        job = {"points": str(points), "ratio": ratio, "seed": _SEED}
        ours, theirs = [], []
        for _ in range(scale.rounds):
            ours.append(run_own("select", job))
            if context.anomalib:
                wanted = {"warm": _WARM, "picks": scale.baseline_picks}
                theirs.append(run_baseline(context.anomalib, "selection", job | wanted))
        most = ours[0]["picks"] if ratio == RATIOS[0] else min(scale.compared_picks, ours[0]["picks"])
        plain = run_own("plain", job | {"compared": most})
        banks.append(
            {
                "ratio": ratio,
                "picks": ours[0]["picks"],
                "ours_ms": [1000 * one["seconds"] / one["picks"] for one in ours],
                "ours_projection_s": median(one["projection"] for one in ours),
                "ours_peak": max(one["peak"] for one in ours),
                "baseline_ms": [1000 * one["seconds"] / one["picks"] for one in theirs],
                "baseline_picks": scale.baseline_picks,
                "baseline_dimensions": theirs[0]["dimensions"] if theirs else None,
                "versions": theirs[0]["versions"] if theirs else {},
                "plain_ms": 1000 * plain["seconds"] / plain["compared"],
                "compared": plain["compared"],
                "agreed": plain["agreed"],
            }
        )
    points.unlink()
    return embedded | {"banks": banks}


def embed_photographs(job: dict[str, Any]) -> dict[str, Any]:
    """Patch embeddings of photographs, layers 2 and 3 of ResNet-18, as one file (N, D)."""
    backbone = load_backbone("resnet18", Path(job["weights"]))
    photos, size = [Photo(Path(path)) for path in job["photos"]], job["size"]
    batches = (prepared(photos[i : i + _BATCH], (size, size)) for i in range(0, len(photos), _BATCH))
    patches = Embedding(backbone).embed_all(batches, len(photos)).flatten(0, 2).float()
    save_file({"points": patches}, job["points"])
    return {"images": len(photos), "points": len(patches), "dimensions": patches.shape[1]}


def select(job: dict[str, Any]) -> dict[str, Any]:
    """Our selection, to the end."""
    points, projection = _projected(job)
    picks = max(1, round(job["ratio"] * len(points)))
    started = time.perf_counter()
    farthest_first(points, picks, seed=job["seed"])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "picks": picks, "projection": projection, "peak": memory("VmHWM")}


def compare_with_plain_loop(job: dict[str, Any]) -> dict[str, Any]:
    """How many of the first picks agree with those of algorithm 1 as it is written, before one differs."""
    points, _ = _projected(job)
    compared = job["compared"]
    ours = farthest_first(points, compared, seed=job["seed"])
    started = time.perf_counter()
    plain = plain_loop(points, compared, int(ours[0]))
    seconds = time.perf_counter() - started
    different = (ours != plain).nonzero().flatten()
    return {"compared": compared, "agreed": int(different[0]) if len(different) else compared, "seconds": seconds}


@torch.no_grad()
def plain_loop(points: Tensor, picks: int, first: int) -> Tensor:
    """points (N, D) → indices (picks,): one pass over all points for every pick (PatchCore, algorithm 1)."""
    norms, chosen = (points * points).sum(1), [first]
    nearest = torch.full((len(points),), torch.inf)
    while len(chosen) < picks:
        last = chosen[-1]
        distances = (norms + norms[last] - 2 * (points @ points[last])).clamp_min_(0)
        torch.minimum(nearest, distances, out=nearest)
        nearest[last] = -1
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def _projected(job: dict[str, Any]) -> tuple[Tensor, float]:
    points = load_file(job["points"])["points"]
    started = time.perf_counter()
    return project(points, seed=job["seed"]), time.perf_counter() - started
