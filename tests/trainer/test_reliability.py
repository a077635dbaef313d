"""The intervals and the reliability diagram, against numbers worked out by hand and against chance itself."""

import numpy as np
import pytest
from scipy import stats

from trainer.dataset import Sample
from trainer.evaluation import Judged
from trainer.reliability import intervals, trust


def judged(anomalous: bool, probability: float) -> Judged:
    return Judged(Sample("s3://plant/a.png", anomalous, None, {}), probability, probability, probability > 0.5)


def test_recall_has_the_jeffreys_interval() -> None:
    low, high = intervals([judged(True, 0.9)] * 18 + [judged(True, 0.1)] * 2 + [judged(False, 0.1)] * 20)["Recall"]
    expected = stats.beta.ppf((0.025, 0.975), 18.5, 2.5)
    assert (low, high) == (pytest.approx(expected[0], abs=0.02), pytest.approx(expected[1], abs=0.02))


def test_six_of_six_is_no_certainty() -> None:
    found = intervals([judged(True, 0.9)] * 6 + [judged(False, 0.1)] * 6)
    for name, (low, high) in found.items():
        assert 0.5 < low < 0.95 < high <= 1, name


@pytest.mark.parametrize("only", [True, False])
def test_one_kind_only_has_intervals_too(only: bool) -> None:
    for low, high in intervals([judged(only, 0.9)] * 5).values():
        assert 0 <= low <= high <= 1


def test_reliability_diagram() -> None:
    items = [judged(False, 0.05), judged(False, 0.05), judged(True, 0.95), judged(False, 0.95), judged(True, 1.0)]
    found = trust(items, None)
    assert set(found) == {"Intervals", "ExpectedCalibrationError", "ReliabilityDiagram"}
    rows = found["ReliabilityDiagram"]
    assert [row["Images"] for row in rows] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert rows[9]["MeanProbability"] == pytest.approx((0.95 + 0.95 + 1) / 3)
    assert rows[9]["AnomalousShare"] == pytest.approx(2 / 3)
    assert "MeanProbability" not in rows[1]
    assert found["ExpectedCalibrationError"] == pytest.approx((2 * 0.05 + 3 * (2.9 / 3 - 2 / 3)) / 5)


def test_honest_probabilities_have_a_small_error() -> None:
    random = np.random.default_rng(0)
    items = [judged(bool(random.random() < p), float(p)) for p in random.random(5000)]
    assert trust(items, None)["ExpectedCalibrationError"] < 0.03
