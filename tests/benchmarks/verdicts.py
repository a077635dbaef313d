"""What a detector says about the photographs to judge, and how good that is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from sklearn.metrics import precision_recall_curve
from torch import Tensor
from torch.nn import functional

from gpu.pixel_histogram import PixelHistogram
from trainer.dataset import Sample
from trainer.evaluation import Judged, metrics


@dataclass(frozen=True)
class Verdicts:
    """Scores and anomaly maps (H, W) in the order of the photographs; `threshold` is the one chosen without them.

    `chosen` is what the training settled on, in words, where it had a choice; `probabilities` are those of an anomaly,
    where the detector tells them.
    """

    scores: Sequence[float]
    decisions: Sequence[bool]
    threshold: float
    maps: Sequence[Tensor]
    train_seconds: float
    input_size: tuple[int, int]
    chosen: str = ""
    probabilities: Sequence[float] = ()


@dataclass(frozen=True)
class Figures:
    """Of one run. The pixel figures are None where no mask is there to compare with."""

    auroc: float
    average_precision: float
    f1: float
    f1_in_hindsight: float
    precision: float
    recall: float
    pixel_auroc: float | None
    aupro: float | None
    train_seconds: float


NAMES = {
    "auroc": "image AUROC",
    "average_precision": "average precision",
    "f1": "F1, own threshold",
    "f1_in_hindsight": "F1, best threshold in hindsight",
    "precision": "precision",
    "recall": "recall",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "train_seconds": "train s",
}
assert list(NAMES) == [field.name for field in fields(Figures)]


def judge(verdicts: Verdicts, truth: Sequence[bool], masks: Sequence[Tensor | None]) -> Figures:
    """truth: which photographs are bad; masks uint8 (H, W), all of one size: where, None where that is not known.

    The figures of images are those of a model's own evaluation; precision, recall and F1 at its own threshold.
    """
    judged = [
        Judged(Sample(str(number), bad, None, {}), score, 0.0, decision)
        for number, (bad, score, decision) in enumerate(zip(truth, verdicts.scores, verdicts.decisions, strict=True))
    ]
    found = metrics(judged)
    precision, recall, _ = precision_recall_curve(np.array(truth), np.array(verdicts.scores))
    hindsight = float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))
    histogram = PixelHistogram()
    if any(mask is not None and bool(mask.any()) for mask in masks):
        for values, mask in zip(verdicts.maps, masks, strict=True):
            if mask is not None:
                histogram.add(_at(values, (mask.shape[0], mask.shape[1]))[None], mask[None])
    return Figures(
        found["ROCAUC"],
        found["AveragePrecision"],
        found["F1Score"],
        hindsight,
        found["Precision"],
        found["Recall"],
        histogram.auroc(),
        histogram.aupro(),
        verdicts.train_seconds,
    )


def _at(values: Tensor, size: tuple[int, int]) -> Tensor:
    if values.shape == size:
        return values
    return functional.interpolate(values[None, None].float(), size, mode="bilinear")[0, 0]
