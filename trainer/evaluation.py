"""How good a model is on images it never saw, and the two files in which AWS told it.

AWS, Lookout for Vision developer guide, "Improving your model" (metrics) and "Viewing performance metrics" (files).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score
from torch import Tensor

from storage.manifest import CLASSIFICATION
from storage.records import Performance
from trainer.dataset import Sample

SCHEMA_VERSION = 1
_UNDEFINED_AUC = 0.5  # of a test set with one class only: what a detector that knows nothing would reach


@dataclass(frozen=True)
class Judged:
    """A test sample and what the model says about it."""

    sample: Sample
    score: float
    probability: float
    is_anomalous: bool


class PixelCounts:
    """Pixels of each anomaly label, right and wrong, over the test images: memory does not grow with their number."""

    def __init__(self, labels: Iterable[str]) -> None:
        self._labels = tuple(labels)
        size = len(self._labels) + 1
        self._both, self._found, self._true = (np.zeros(size, np.int64) for _ in range(3))
        self._overlaps: list[list[float]] = [[] for _ in range(size)]

    def add(self, found: Tensor, truth: Tensor) -> None:
        """One image: label ids (H, W), found and true; true ids beyond the model's labels count as wrong ones."""
        size = len(self._labels) + 1
        mine, right = found.numpy().ravel(), np.minimum(truth.numpy().ravel(), size)
        both = np.bincount(mine[mine == right], minlength=size)[:size]
        marked, true = np.bincount(mine, minlength=size)[:size], np.bincount(right, minlength=size)[:size]
        for label in np.flatnonzero(true[1:]) + 1:
            self._overlaps[label].append(float(both[label] / (marked[label] + true[label] - both[label])))
        self._both, self._found, self._true = self._both + both, self._found + marked, self._true + true

    def metrics(self) -> list[dict[str, Any]]:
        """AWS's PixelAnomalyClassMetrics. AIOU is the mean, over the images with the label, of the masks' overlap."""
        rows = []
        for label, name in enumerate(self._labels, 1):
            both = int(self._both[label])
            precision, recall = _ratio(both, int(self._found[label])), _ratio(both, int(self._true[label]))
            overlaps = self._overlaps[label]
            rows.append(
                {
                    "Precision": precision,
                    "Recall": recall,
                    "F1Score": _ratio(2 * both, int(self._found[label] + self._true[label])),
                    "AIOU": float(np.mean(overlaps)) if overlaps else 0.0,
                    "ClassName": name,
                }
            )
        return rows


def metrics(judged: Iterable[Judged]) -> dict[str, float]:
    """AWS's Metrics of a classification; positive is anomalous. What is 0/0 counts as 0, an undefined ROCAUC as 0.5."""
    judged = list(judged)
    truth = np.array([item.sample.anomalous for item in judged])
    scores = np.array([item.score for item in judged])
    decisions = np.array([item.is_anomalous for item in judged])
    precision, recall, f1, _ = precision_recall_fscore_support(truth, decisions, average="binary", zero_division=0.0)
    both_classes = truth.any() and not truth.all()
    return {
        "ROCAUC": float(roc_auc_score(truth, scores)) if both_classes else _UNDEFINED_AUC,
        "AveragePrecision": float(average_precision_score(truth, scores)) if truth.any() else 0.0,
        "Precision": float(precision),
        "Recall": float(recall),
        "F1Score": float(f1),
    }


def performance(figures: Mapping[str, float]) -> Performance:
    """The part of the metrics that DescribeModel reports."""
    return Performance(figures["F1Score"], figures["Precision"], figures["Recall"])


def evaluation_result(
    arn: str,
    ended: datetime,
    training_images: int,
    test_images: int,
    figures: Mapping[str, float],
    pixels: PixelCounts | None,
    trust: Mapping[str, Any],
) -> bytes:
    """The EvaluationResult file; a classification's Metrics hold scalars only, as AWS's own SDK expects.

    `trust` is what AWS did not tell, and stands under a name of its own.
    """
    aggregated: dict[str, Any] = dict(figures)
    if pixels is not None:
        aggregated["PixelAnomalyClassMetrics"] = pixels.metrics()
    content = {
        "Version": SCHEMA_VERSION,
        "EvaluationDetails": {
            "ModelArn": arn,
            "EvaluationEndTimestamp": timestamp(ended),
            "NumberOfTrainingImages": training_images,
            "NumberOfTestingImages": test_images,
        },
        "AggregatedEvaluationResults": {"Metrics": aggregated},
        "VigilEvaluation": dict(trust),
    }
    return json.dumps(content).encode()


def evaluation_manifest(judged: Iterable[Judged], arn: str, project: str, version: int, ended: datetime) -> bytes:
    """The EvaluationManifest file: a JSON line per test image with its label and what was detected."""
    lines = (_line(item, arn, project, version, timestamp(ended)) for item in judged)
    return "".join(f"{json.dumps(line, separators=(',', ':'), ensure_ascii=False)}\n" for line in lines).encode()


def timestamp(moment: datetime) -> str:
    """UTC without an offset, as AWS wrote it."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def _line(item: Judged, arn: str, project: str, version: int, ended: str) -> dict[str, Any]:
    given = next(
        (v for v in item.sample.content.values() if isinstance(v, dict) and v.get("type") == CLASSIFICATION), {}
    )
    created = str(given.get("creation-date", ended))
    return {
        "source-ref": item.sample.reference,
        "source-ref-metadata": {"creation-date": created},
        "anomaly-label": int(item.sample.anomalous),
        "anomaly-label-metadata": {
            "class-name": _class(item.sample.anomalous),
            "type": CLASSIFICATION,
            "human-annotated": given.get("human-annotated", "yes"),
            "creation-date": created,
            "job-name": str(given.get("job-name", "labeling-job/anomaly-label")),
        },
        "anomaly-label-detected": int(item.is_anomalous),
        "anomaly-label-detected-metadata": {
            "class-name": _class(item.is_anomalous),
            "confidence": item.probability if item.is_anomalous else 1 - item.probability,
            "type": CLASSIFICATION,
            "human-annotated": "no",
            "creation-date": ended,
            "job-name": f"training-job/{project}-{version}",
            "model-arn": arn,
            "project-name": project,
            "model-version": str(version),
        },
    }


def _class(anomalous: bool) -> str:
    return "anomaly" if anomalous else "normal"


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
