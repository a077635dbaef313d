"""The figures against numbers worked out by hand, and the files against AWS's shapes."""

import json
from datetime import UTC, datetime

import pytest
import torch

from storage.manifest import parse_line
from tests.trainer.plant import labels_of, line
from trainer.dataset import Sample
from trainer.evaluation import Judged, PixelCounts, evaluation_manifest, evaluation_result, metrics, performance

ENDED = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
ARN = "arn:aws:lookoutvision:us-east-1:000000000000:model/press/2"


def judged(anomalous: bool, score: float, found: bool, reference: str = "s3://plant/a.png") -> Judged:
    content = parse_line(line(reference, "anomaly" if anomalous else "normal")).content
    return Judged(Sample(reference, anomalous, None, content), score, 0.75 if found else 0.25, found)


# scores 4 3 2 1 of anomaly, normal, anomaly, normal; the first two are called anomalous
FOUR = [judged(True, 4, True), judged(False, 3, True), judged(True, 2, False), judged(False, 1, False)]


def test_figures() -> None:
    assert metrics(FOUR) == {
        "ROCAUC": 0.75,  # 3 of the 4 pairs are in order
        "AveragePrecision": pytest.approx(0.5 * 1 + 0.5 * 2 / 3),
        "Precision": 0.5,
        "Recall": 0.5,
        "F1Score": 0.5,
    }
    assert performance(metrics(FOUR)).f1 == 0.5


@pytest.mark.parametrize(
    ("only", "expected"),
    [([judged(False, 1, False)] * 3, (0.5, 0, 0, 0, 0)), ([judged(True, 1, True)] * 3, (0.5, 1, 1, 1, 1))],
)
def test_one_class_only(only: list[Judged], expected: tuple[float, ...]) -> None:
    assert tuple(metrics(only).values()) == expected


def test_pixels() -> None:
    counts = PixelCounts(["dent", "scratch"])
    truth = torch.tensor([[1, 1, 0, 0], [2, 2, 0, 0]], dtype=torch.uint8)
    found = torch.tensor([[1, 0, 1, 0], [2, 2, 2, 0]], dtype=torch.uint8)
    counts.add(found, truth)
    counts.add(torch.zeros(2, 4, dtype=torch.uint8), torch.tensor([[1, 0, 0, 0]] * 2, dtype=torch.uint8))
    counts.add(torch.tensor([[2, 0, 0, 0]] * 2, dtype=torch.uint8), torch.full((2, 4), 3, dtype=torch.uint8))
    dent, scratch = counts.metrics()
    assert dent == {
        "Precision": 0.5,
        "Recall": 0.25,
        "F1Score": pytest.approx(2 / 6),
        "AIOU": pytest.approx((1 / 3 + 0) / 2),
        "ClassName": "dent",
    }
    assert scratch["Precision"] == pytest.approx(2 / 5)
    assert scratch["AIOU"] == pytest.approx(2 / 3)


def test_label_that_no_test_image_has() -> None:
    row = PixelCounts(["dent"]).metrics()[0]
    assert row == {"Precision": 0, "Recall": 0, "F1Score": 0, "AIOU": 0, "ClassName": "dent"}


def test_result_of_a_classification_has_scalars_in_awss_order() -> None:
    text = evaluation_result(ARN, ENDED, 66, 34, metrics(FOUR), None, {"Intervals": {}})
    content = json.loads(text)
    assert list(content) == ["Version", "EvaluationDetails", "AggregatedEvaluationResults", "VigilEvaluation"]
    assert content["VigilEvaluation"] == {"Intervals": {}}
    assert content["Version"] == 1
    assert content["EvaluationDetails"] == {
        "ModelArn": ARN,
        "EvaluationEndTimestamp": "2024-05-06T07:08:09.123456",
        "NumberOfTrainingImages": 66,
        "NumberOfTestingImages": 34,
    }
    figures = content["AggregatedEvaluationResults"]["Metrics"]
    assert list(figures) == ["ROCAUC", "AveragePrecision", "Precision", "Recall", "F1Score"]
    assert all(isinstance(value, float) for value in figures.values())


def test_result_of_a_segmentation_adds_its_classes() -> None:
    content = json.loads(evaluation_result(ARN, ENDED, 6, 4, metrics(FOUR), PixelCounts(["dent"]), {}))
    row = content["AggregatedEvaluationResults"]["Metrics"]["PixelAnomalyClassMetrics"][0]
    assert list(row) == ["Precision", "Recall", "F1Score", "AIOU", "ClassName"]


def test_manifest_has_a_line_per_test_image() -> None:
    lines = labels_of(evaluation_manifest(FOUR, ARN, "press", 2, ENDED))
    assert len(lines) == 4
    assert list(lines[2]) == [
        "source-ref",
        "source-ref-metadata",
        "anomaly-label",
        "anomaly-label-metadata",
        "anomaly-label-detected",
        "anomaly-label-detected-metadata",
    ]
    assert (lines[2]["anomaly-label"], lines[2]["anomaly-label-detected"]) == (1, 0)
    assert lines[2]["anomaly-label-detected-metadata"] == {
        "class-name": "normal",
        "confidence": 0.75,
        "type": "groundtruth/image-classification",
        "human-annotated": "no",
        "creation-date": "2024-05-06T07:08:09.123456",
        "job-name": "training-job/press-2",
        "model-arn": ARN,
        "project-name": "press",
        "model-version": "2",
    }
    assert lines[0]["source-ref-metadata"] == {"creation-date": "2024-05-06T07:08:09.000"}
