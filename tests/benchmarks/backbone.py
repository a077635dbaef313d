"""`make bench-backbone`: what each backbone is worth to plain PatchCore, and what it costs. Writes docs/backbone.md.

Plain PatchCore is a memory bank of 1 % of the patches by farthest-first selection and the largest patch distance as
the image's score; every backbone gets the same images, input size, grid and bank.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import torchvision
import typer
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.metrics import precision_recall_curve, roc_auc_score
from torch import Tensor

from gpu.anomaly_map import anomaly_map
from gpu.backbone import STAGES, Backbone, load_backbone, read_backbone
from gpu.images import input_size, normalise, probe
from gpu.patch_embedding import Embedding
from gpu.patchcore import PatchCore
from gpu.pixel_histogram import PixelHistogram
from gpu.pretraining.scenes import render
from gpu.weights import PACKAGED
from tests.benchmarks.arrangement import prepared, truth_masks
from tests.benchmarks.datasets import DataSet, read_data_sets
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.page import rewrite
from tests.benchmarks.photographs import LIMITS

SHEET = "rendered-images.jpg"
MARK = "<!-- measured: everything below is written by `make bench-backbone` -->"
_LAYERS = {"strides 8 and 16": 1, "all three": 0}  # the first stage that is used
_BATCH = 16
_RATIO, _MOST_NORMALS, _SHARE = 0.01, 100, 0.8  # of the training images, where there are not many more than 100
_CALLS = 20  # of each round of the timing; the backbones take turns


@dataclass(frozen=True)
class Figures:
    """Of one backbone, choice of layers and data set: one figure a seed; pixel AUROC is empty without masks."""

    auroc: list[float]
    f1: list[float]
    pixel_auroc: list[float]


app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder of data sets in MVTec's layout.")],
    weights: Annotated[Path, typer.Option(help="Folder with ResNet-18's weights.")],
    report: Annotated[Path, typer.Option(help="The page whose measured part is rewritten.")],
    again: Annotated[list[str] | None, typer.Option(help="NAME=FILE: other weights of vigil-s or vigil-m.")] = None,
    seeds: int = 3,
    size: int = 256,
    rounds: Annotated[int, typer.Option(help="Of the timing.")] = 7,
) -> None:
    """Measure every backbone on every data set and rewrite the report."""
    candidates = {
        "random ResNet-18": _random_resnet18(),
        "ResNet-18": load_backbone("resnet18", weights, layers=STAGES),
    }
    candidates |= {name: load_backbone(name, layers=STAGES) for name in sorted(PACKAGED, reverse=True)}
    others: dict[str, Backbone] = {}
    for entry in again or []:
        name, _, path = entry.partition("=")
        others[f"{name}, {Path(path).stem}"] = read_backbone(name, Path(path), layers=STAGES)
    parts = [_table(found, candidates | others, seeds, size) for found in read_data_sets(data)]
    parts.append(_timing(candidates, rounds))
    _contact_sheet(report.parent / SHEET)
    about = f"Measured on {describe_machine()}; {seeds} seeds, mean ± standard deviation."
    rewrite(report, MARK, "", [about, *parts, _provenance()])


def _table(data: DataSet, candidates: dict[str, Backbone], seeds: int, size: int) -> str:
    photos = [*data.train, *data.good, *data.bad]
    shapes = {(header.width, header.height) for header in (probe(photo.path.read_bytes(), LIMITS) for photo in photos)}
    shape = input_size(*next(iter(shapes)), size) if len(shapes) == 1 else (size, size)
    images, masks = prepared(photos, shape), truth_masks([*data.good, *data.bad], shape)
    count = min(_MOST_NORMALS, round(_SHARE * len(data.train)))
    truth = [photo.defect is not None for photo in (*data.good, *data.bad)]
    rows = [
        f"### {data.name}\n",
        f"{shape[1]} × {shape[0]} pixels; {count} of {len(data.train)} normal training images a seed; "
        f"{len(data.good)} good and {len(data.bad)} bad test images.\n",
        "| backbone | layers | image AUROC | F1 in hindsight | pixel AUROC |",
        "|---|---|---|---|---|",
    ]
    learned = [
        torch.randperm(len(data.train), generator=torch.Generator().manual_seed(n))[:count] for n in range(seeds)
    ]
    for name, backbone in candidates.items():
        patches = Embedding(backbone).embed_all(torch.split(images, _BATCH), len(images))
        channels = [feature_map.shape[1] for feature_map in backbone(torch.zeros(1, 3, 64, 64))]
        for called, first in _LAYERS.items():
            found = _judge(patches[..., sum(channels[:first]) :], masks, truth, learned)
            cells = " | ".join(_spread(values) for values in (found.auroc, found.f1, found.pixel_auroc))
            rows.append(f"| {name} | {called} | {cells} |")
            print(data.name, rows[-1], flush=True)  # noqa: T201 - a command's output
    return "\n".join(rows)


def _judge(
    patches: Tensor, masks: Sequence[Tensor | None], truth: Sequence[bool], learned: Sequence[Tensor]
) -> Figures:
    """Patch embeddings of the images to learn from, then of those to judge; masks and truth are of the latter.

    learned: for each seed, the indices of the images that it learns from.
    """
    train = len(patches) - len(truth)
    figures = Figures([], [], [])
    for seed, chosen in enumerate(learned):
        detector = PatchCore(_RATIO, seed)
        detector.fit(patches, chosen)
        patch_scores = torch.cat([detector.score(part) for part in torch.split(patches[train:], _BATCH)])
        scores = patch_scores.flatten(1).amax(dim=1).numpy()
        precision, recall, _ = precision_recall_curve(truth, scores)
        figures.auroc.append(float(roc_auc_score(truth, scores)))
        figures.f1.append(float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-9))))
        histogram = PixelHistogram()
        for scored, mask in zip(patch_scores, masks, strict=True):
            if mask is not None:  # a bad part of which nobody drew a mask says nothing about its pixels
                histogram.add(anomaly_map(scored[None], (mask.shape[0], mask.shape[1])), mask[None])
        pixel_auroc = histogram.auroc()
        if pixel_auroc is not None:
            figures.pixel_auroc.append(pixel_auroc)
    return figures


def _random_resnet18() -> Backbone:
    """ResNet-18 as it is initialised: what the architecture is worth without any learning."""
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18.safetensors"
        save_file(torchvision.models.resnet18().state_dict(), path)
        return read_backbone("resnet18", path, layers=STAGES)


def _timing(candidates: dict[str, Backbone], rounds: int) -> str:
    """Milliseconds of one image through all three stages, the backbones taking turns."""
    image = normalise(torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8))
    spent: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, backbone in candidates.items():
            backbone(image)
            started = time.perf_counter()
            for _ in range(_CALLS):
                backbone(image)
            spent[name].append((time.perf_counter() - started) / _CALLS * 1000)
    rows = [
        "### Speed\n",
        "| backbone | parameters | ms per image, 256 × 256, CPU | as fast as ResNet-18 |",
        "|---|---|---|---|",
    ]
    reference = spent["ResNet-18"]
    for name, backbone in candidates.items():
        ratio = median(r / s for r, s in zip(reference, spent[name], strict=True))
        size = sum(p.numel() for p in backbone.parameters()) / 1e6
        rows.append(f"| {name} | {size:.2f} M | {median(spent[name]):.1f} | {ratio:.2f} × |")
    return "\n".join(rows)


def _contact_sheet(path: Path) -> None:
    """Forty of the images that vigil-m learned from."""
    side, columns, rows = 160, 8, 5
    sheet = Image.new("RGB", (columns * side, rows * side))
    for number in range(columns * rows):
        tile = Image.fromarray(render(number)).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, (number % columns * side, number // columns * side))
    sheet.save(path, quality=85)


def _provenance() -> str:
    """What the headers of the packaged files say."""
    parts = ["### What the packaged files say of themselves"]
    for name, path in sorted(PACKAGED.items(), reverse=True):
        with safe_open(path, "np") as file:
            header = file.metadata() or {}
        parts.append(
            "\n".join(
                [f"`{name}`, {path.stat().st_size / 1e6:.1f} MB\n", *(f"- {k}: {v}" for k, v in sorted(header.items()))]
            )
        )
    return "\n\n".join(parts)


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {np.std(values):.3f}" if values else "–"


if __name__ == "__main__":
    app()
