"""The decision rule: its threshold, its probabilities, and the pixels it marks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gpu.calibration import Calibration, calibrate, calibrate_pixels
from gpu.pixel_histogram import PixelHistogram

scores = st.floats(1e-3, 1e3)


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
def test_any_scores_give_a_usable_rule(normal: list[float], anomalous: list[float]) -> None:
    threshold, slope = calibrate(normal, anomalous)
    assert all(math.isfinite(value) and value > 0 for value in (threshold, slope))
    # Whatever the known anomalies score, the next normal image has but this chance to exceed the threshold's limit.
    logs, chance = np.log(normal), max(stats.norm.sf(3), 0.3 / len(anomalous))
    tail = float(stats.t.isf(chance, len(normal) - 1)) * max(float(logs.std(ddof=1)), 0.02)
    assert math.log(threshold) <= logs.mean() + tail * math.sqrt(1 + 1 / len(normal)) + 1e-9


@pytest.mark.parametrize("more", [1, 10])
def test_overlapping_kinds_part_where_both_are_equally_likely(more: int) -> None:
    """However many more normal images there are: two Gaussians of equal width part halfway."""
    generator = np.random.default_rng(0)
    normal = np.exp(generator.normal(0.0, 0.3, 300 * more))
    anomalous = np.exp(generator.normal(0.6, 0.3, 300))
    threshold, slope = calibrate(normal.tolist(), anomalous.tolist())
    assert math.log(threshold) == pytest.approx(0.3, abs=0.05)
    assert slope == pytest.approx(0.6 / 0.3**2, rel=0.2)
    rates = (normal > threshold).mean(), (anomalous <= threshold).mean()
    assert rates[0] == pytest.approx(rates[1], abs=0.04)


def test_few_anomalies_part_from_many_normal_images_halfway_too() -> None:
    generator, middles, slopes = np.random.default_rng(0), [], []
    for _ in range(300):
        normal, anomalous = (np.exp(generator.normal(mean, 0.3, count)) for mean, count in ((0.0, 100), (0.6, 10)))
        threshold, slope = calibrate(normal.tolist(), anomalous.tolist())
        middles.append(math.log(threshold))
        slopes.append(slope)
    assert float(np.mean(middles)) == pytest.approx(0.3, abs=0.03)
    assert float(np.median(slopes)) == pytest.approx(0.6 / 0.3**2, rel=0.2)


@pytest.mark.parametrize("alarms", [0.005, 0.05, 0.2])
def test_the_share_of_false_alarms_is_the_one_asked_for(alarms: float) -> None:
    """Over many plants: each sets its threshold from fifty normal images of its own, and sees one part more."""
    generator = np.random.default_rng(0)
    reported = 0
    for _ in range(2000):
        scores = np.exp(generator.normal(1.0, 0.2, 50))
        threshold, _ = calibrate(scores.tolist(), [], alarms)
        reported += math.exp(generator.normal(1.0, 0.2)) > threshold
    low, high = stats.binom.interval(0.999, 2000, alarms)
    assert low <= reported <= high


@pytest.mark.parametrize(("alarms", "images"), [(0.05, 50), (0.2, 50), (0.005, 400)])
def test_the_share_holds_for_scores_with_heavy_tails(alarms: float, images: int) -> None:
    generator = np.random.default_rng(0)
    reported = 0
    for _ in range(2000):
        *normal, fresh = np.exp(0.2 * generator.standard_t(2, images + 1)).tolist()
        reported += fresh > calibrate(normal, [], alarms)[0]
    low, high = stats.binom.interval(0.999, 2000, alarms)
    assert low <= reported <= high


def test_a_share_too_small_to_be_counted_has_its_threshold_above_all_scores() -> None:
    normal = np.exp(np.random.default_rng(0).normal(0.0, 0.1, 100)).tolist()
    found = [calibrate(normal, [], alarms)[0] for alarms in (0.2, 0.05, 0.02, 0.005, 0.001)]
    assert found == sorted(found)
    assert found[-1] > max(normal)


@pytest.mark.parametrize("odd", [2.0, 5.0, 1000.0])
def test_an_odd_image_among_the_normal_ones_hardly_moves_the_threshold(odd: float) -> None:
    normal = np.exp(np.random.default_rng(0).normal(0.0, 0.1, 30)).tolist()
    without, _ = calibrate(normal, [])
    assert without < calibrate([*normal, odd], [])[0] < 1.1 * without
    assert calibrate([*normal, odd], [])[0] == pytest.approx(calibrate([*normal, 2.0], [])[0])


def test_anomalies_do_not_move_a_threshold_that_false_alarms_set() -> None:
    normal = [1.0, 1.1, 1.2, 1.1, 1.0, 1.2, 1.1, 1.0]
    without, _ = calibrate(normal, [], 0.01)
    for anomalous in ([1.3, 1.4, 1.5], [80.0, 90.0, 200.0]):
        threshold, slope = calibrate(normal, anomalous, 0.01)
        assert threshold == without
        assert slope > 0


def test_far_anomalies_do_not_hide_near_ones() -> None:
    normal = [1.0, 1.1, 1.2, 1.1, 1.0, 1.2, 1.1, 1.0]
    threshold, slope = calibrate(normal, [80.0, 90.0, 200.0])
    assert max(normal) < threshold < 2
    calibration = Calibration(threshold, slope, 1.0)
    assert calibration.probability(np.array([1.0]))[0] < 0.5 < calibration.probability(np.array([20.0]))[0]


def test_far_anomalies_raise_the_threshold_with_their_number() -> None:
    normal = np.exp(np.random.default_rng(0).normal(0.0, 0.1, 100)).tolist()
    found = [calibrate(normal, [80.0] * known)[0] for known in (0, 3, 10, 60, 250, 900)]
    assert found[0] == pytest.approx(found[1])
    assert found[1] < found[2] < found[3] < found[4]
    assert found[4] == pytest.approx(found[5])


def test_scores_that_tell_nothing_leave_the_threshold_to_the_normal_images() -> None:
    normal, lower = [2.0, 2.2, 2.4, 2.1, 2.3], [1.0, 1.1, 1.2]
    assert calibrate(normal, lower) == calibrate(normal, [])


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
    assert alarms / trials == pytest.approx(0.1, abs=0.01)


def test_few_normal_images_widen_the_limit() -> None:
    many = calibrate([1.0, 1.1, 1.2] * 20, [])[0]
    few = calibrate([1.0, 1.1, 1.2], [])[0]
    assert few > 1.1 * many


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
