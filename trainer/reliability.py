"""How far the figures of a model can be trusted: their intervals, and whether its confidence is what it says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu.pixel_histogram import PixelHistogram
from trainer.evaluation import Judged

_DRAWS = 2000
_COVERAGE = 0.95
_BINS = 10

Bools = npt.NDArray[np.bool_]


def trust(judged: Sequence[Judged], pixels: PixelHistogram | None) -> dict[str, Any]:
    """What the evaluation result tells beyond AWS's figures; of pixels only where there are masks."""
    found: dict[str, Any] = {"Intervals": intervals(judged), **reliability(judged)}
    if pixels is not None:
        found |= {"PixelROCAUC": pixels.auroc(), "PixelAUPRO": pixels.aupro()}
    return found


def intervals(judged: Sequence[Judged]) -> dict[str, list[float]]:
    """The 95 % intervals [low, high] of precision, recall and F1 for as many images of each kind. Reproducible.

    A bootstrap that draws the share found of each kind from its Jeffreys posterior (Brown, Cai and DasGupta 2001, §4):
    drawing the images themselves again would call six of six a certainty.
    """
    truth, found = np.array([item.sample.anomalous for item in judged]), np.array([i.is_anomalous for i in judged])
    random = np.random.default_rng(0)
    hits, alarms = _drawn(random, found[truth]), _drawn(random, found[~truth])
    total = int(truth.sum())
    drawn = {
        "Precision": hits / (hits + alarms),
        "Recall": hits / max(total, 1),
        "F1Score": 2 * hits / (hits + alarms + total),
    }
    ends = ((1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2)
    return {name: [float(end) for end in np.quantile(values, ends)] for name, values in drawn.items()}


def reliability(judged: Sequence[Judged]) -> dict[str, Any]:
    """The reliability diagram of the probability of an anomaly, and its expected calibration error.

    Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), §2: ten bins of equal width, each with its
    number of images, their mean probability and the share of them that is anomalous; the error is the mean difference
    of the two, weighted by the number of images.
    """
    truth = np.array([item.sample.anomalous for item in judged])
    probability = np.array([item.probability for item in judged])
    bins = np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
    diagram, error = [], 0.0
    for number in range(_BINS):
        members = bins == number
        row: dict[str, Any] = {"From": number / _BINS, "To": (number + 1) / _BINS, "Images": int(members.sum())}
        if members.any():
            row["MeanProbability"] = float(probability[members].mean())
            row["AnomalousShare"] = float(truth[members].mean())
            error += abs(row["MeanProbability"] - row["AnomalousShare"]) * row["Images"] / len(truth)
        diagram.append(row)
    return {"ExpectedCalibrationError": error, "ReliabilityDiagram": diagram}


def _drawn(random: np.random.Generator, found: Bools) -> npt.NDArray[np.float64]:
    """How many of as many images are found, by shares drawn from the posterior; tiny, not 0, where there are none."""
    hits = int(found.sum())
    return len(found) * random.beta(hits + 0.5, len(found) - hits + 0.5, _DRAWS) + np.finfo(np.float64).tiny
