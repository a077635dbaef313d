"""The decision rule: its threshold, its probabilities, and the pixels it marks."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu.calibration import Calibration, PixelHistogram, calibrate, calibrate_pixels

scores = st.floats(1e-3, 1e3)


def f1(normal: list[float], anomalous: list[float], threshold: float) -> float:
    hits, alarms = sum(s > threshold for s in anomalous), sum(s > threshold for s in normal)
    return 2 * hits / (hits + alarms + len(anomalous))


@given(scores, st.floats(0.1, 100), st.lists(scores, min_size=2))
def test_probability_is_a_half_at_the_threshold_and_rises(threshold: float, slope: float, values: list[float]) -> None:
    calibration = Calibration(threshold, slope, 1.0)
    assert calibration.probability(np.array([threshold]))[0] == 0.5
    found = calibration.probability(np.sort(values))
    assert bool((np.diff(found) >= 0).all())
    assert bool(((found >= 0) & (found <= 1)).all())
    as_tensor = calibration.probability(torch.tensor(sorted(values), dtype=torch.float64))
    np.testing.assert_allclose(found, as_tensor, atol=1e-12)
    assert not calibration.is_anomalous(threshold)
    assert calibration.is_anomalous(math.nextafter(threshold, math.inf))


def test_probability_keeps_type_and_bears_zero() -> None:
    calibration = Calibration(2.0, 50.0, 1.0)
    found = calibration.probability(torch.tensor([0.0, 2.0]))
    assert found.dtype == torch.float32
    assert found.tolist() == [0.0, 0.5]
    assert calibration.probability(np.zeros(1, dtype=np.float32)).dtype == np.float32


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_a_calibration_is_positive_and_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        Calibration(bad, 1.0, 1.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(scores, min_size=2, max_size=30), st.lists(scores, min_size=3, max_size=30))
def test_the_threshold_has_the_best_f1_of_those_that_separate_anything(
    normal: list[float], anomalous: list[float]
) -> None:
    threshold, slope = calibrate(normal, anomalous)
    values = sorted({*normal, *anomalous})
    gaps = [math.sqrt(a * b) for a, b in pairwise(values) if b / a > 1 + 1e-9]
    best = max((f1(normal, anomalous, t) for t in gaps), default=0.0)
    assert f1(normal, anomalous, threshold) >= best - 1e-12
    assert math.isfinite(slope)
    assert slope > 0


def test_separable_scores_part_in_the_middle_of_their_gap() -> None:
    threshold, slope = calibrate([1.0, 1.1, 2.0], [8.0, 9.0, 20.0])
    assert threshold == pytest.approx(4.0)
    assert 1 < slope < 100
    calibration = Calibration(threshold, slope, 1.0)
    assert calibration.probability(np.array([1.0]))[0] < 0.2
    assert calibration.probability(np.array([20.0]))[0] > 0.8


def test_without_anomalies_the_threshold_is_a_prediction_limit() -> None:
    generator = np.random.default_rng(0)
    alarms = trials = 0
    for _ in range(300):
        normal = np.exp(generator.normal(1.0, 0.2, 21))
        threshold, slope = calibrate(normal.tolist(), [])
        alarms += int((np.exp(generator.normal(1.0, 0.2, 1000)) > threshold).sum())
        trials += 1000
        typical = Calibration(threshold, slope, 1.0).probability(np.array([np.median(normal)]))
        assert typical[0] == pytest.approx(0.01)
    assert 0.0005 < alarms / trials < 0.003


def test_few_normal_images_widen_the_limit() -> None:
    many = calibrate([1.0, 1.1, 1.2] * 20, [])[0]
    few = calibrate([1.0, 1.1, 1.2], [])[0]
    assert few > 1.5 * many


def test_one_or_two_anomalies_do_not_set_the_threshold() -> None:
    normal = [1.0, 1.1, 1.2, 1.3, 1.4]
    assert calibrate(normal, [0.5, 0.6]) == calibrate(normal, [])


@pytest.mark.parametrize("normal", [[0.0] * 5, [1.0] * 5])
@pytest.mark.parametrize("anomalous", [[], [1.0] * 3])
def test_scores_without_spread_calibrate(normal: list[float], anomalous: list[float]) -> None:
    threshold, slope = calibrate(normal, anomalous)
    assert Calibration(threshold, slope, 1.0).is_anomalous(max(normal)) is False


def test_one_normal_score_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two normal images"):
        calibrate([1.0], [])


def test_the_pixel_threshold_has_the_best_iou() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(4, 64, 64, dtype=torch.uint8)
    masks[:, 10:30, 10:40] = 2
    maps = torch.rand(4, 64, 64, generator=generator).exp() + 1.5 * (masks > 0) * torch.rand(
        4, 64, 64, generator=generator
    )
    histogram = PixelHistogram()
    for one, mask in zip(maps.split(1), masks.split(1), strict=True):
        histogram.add(one, mask)
    threshold = calibrate_pixels(histogram)

    def iou(t: float) -> float:
        over, inside = maps > t, masks > 0
        return float((over & inside).sum() / (over | inside).sum())

    assert iou(threshold) > max(iou(t) for t in torch.linspace(1, 4, 300).tolist()) - 0.005


def test_without_masks_one_normal_pixel_in_a_thousand_exceeds_the_pixel_threshold() -> None:
    maps = torch.randn(20, 64, 64, generator=torch.Generator().manual_seed(0)).exp()
    histogram = PixelHistogram()
    histogram.add(maps)
    assert 0.0003 < float((maps > calibrate_pixels(histogram)).float().mean()) <= 0.003


def test_an_empty_histogram_is_refused() -> None:
    with pytest.raises(ValueError, match="no anomaly map"):
        calibrate_pixels(PixelHistogram())
