"""How candidates are compared and chosen, on rendered textures."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from texture import render
from torch import Tensor

from gpu.backbone import STAGES, Backbone, load_backbone
from gpu.images import resize
from gpu.selection import FEWEST_ANOMALIES, Candidate, Comparison, Trial, candidates, choose, cost

GIB = 2**30


@pytest.fixture(scope="module")
def whole() -> Backbone:
    return load_backbone("vigil-s", layers=STAGES)


def at(size: int) -> tuple[int, int]:
    return size, round(size / 6) * 8


def compare(whole: Backbone, anomalies: Tensor, sizes: list[int], memory: int = GIB, count: int = 24) -> list[Trial]:
    comparison = Comparison(whole, render(count, 1)[0], anomalies, seed=0, memory=memory)
    return comparison.run(candidates(STAGES, sizes, synthetic=len(anomalies) < FEWEST_ANOMALIES), at, lambda _: None)


def test_synthetic_anomalies_stand_in_for_labelled_ones(whole: Backbone) -> None:
    few, fractions = render(9, 2, spot=True)[0], list[float]()
    comparison = Comparison(whole, render(12, 1)[0], few, seed=0, memory=GIB)
    trials = comparison.run(candidates(STAGES, [96], synthetic=True), at, fractions.append)
    assert fractions == [1 / 4, 2 / 4, 3 / 4, 1.0]
    assert [trial.candidate.detector for trial in trials] == ["ensemble", "patchcore", "padim", "patchcore"]
    assert all(0.5 < trial.auroc < 1 for trial in trials), "some of the synthetic defects are hard to see, not all"
    assert (trials[0].gain, trials[0].error) == (0, 0)
    again = Comparison(whole, render(12, 1)[0], few, seed=0, memory=GIB)
    assert again.run(candidates(STAGES, [96], synthetic=True), at, lambda _: None) == trials


def test_labelled_anomalies_that_all_candidates_find_leave_the_plain_one(whole: Backbone) -> None:
    trials = compare(whole, render(10, 2, spot=True)[0], [96])
    assert [trial.auroc for trial in trials] == [1.0] * 5
    assert choose(trials) is trials[0]


def test_defects_that_only_a_larger_input_shows_choose_the_larger_input(whole: Backbone) -> None:
    normals = render(30, 1)[0]
    anomalies = render(30, 2)[0]
    place = torch.Generator().manual_seed(0)
    for image in anomalies:  # a speck of two pixels, gone at a third of the size
        row, column = (int(torch.randint(10, side - 10, (), generator=place)) for side in image.shape[1:])
        image[:, row : row + 2, column : column + 2] = 0
    comparison = Comparison(whole, normals, anomalies, seed=0, memory=GIB)
    small, large = (Candidate("patchcore", STAGES, size) for size in (32, 96))
    trials = comparison.run([small, large], at, lambda _: None)
    assert trials[1].gain > 0.2
    assert choose(trials).candidate == large


def test_a_still_larger_input_is_not_tried_where_the_larger_one_gained_nothing(whole: Backbone) -> None:
    found = compare(whole, render(10, 2, spot=True)[0], [64, 96, 128])
    assert sorted({trial.candidate.image_size for trial in found}) == [64, 96]


def test_what_does_not_fit_into_memory_is_not_tried(whole: Backbone) -> None:
    shown = render(10, 2, spot=True)[0]
    bytes_of_small = 34 * (64 // 8) * (88 // 8) * 304 * 2
    assert compare(whole, shown, [64], memory=bytes_of_small - 1) == []
    found = compare(whole, shown, [64, 96], memory=bytes_of_small)
    assert {trial.candidate.image_size for trial in found} == {64}


def test_three_normal_images_are_the_least(whole: Backbone) -> None:
    images = resize(render(1, 1)[0][0], (64, 64)).repeat(2, 1, 1, 1)
    with pytest.raises(ValueError, match="at least 3"):
        Comparison(whole, images, images, seed=0, memory=GIB)


def trial(gain: float, noise: list[float], size: int = 256) -> Trial:
    draws = np.array(noise) + gain
    return Trial(Candidate("patchcore", STAGES, size), 0.8 + gain, gain, float(draws.std()), draws)


def test_a_gain_within_chance_changes_nothing() -> None:
    plain, other = trial(0.0, [0.0, 0.0]), trial(0.05, [-0.03, 0.03])
    assert choose([plain, other]) is plain
    assert choose([plain, trial(0.07, [-0.03, 0.03])]).gain == 0.07
    assert choose([plain, trial(0.07, [-0.03, 0.03], 384)]) is plain, "it costs more in service"
    assert choose([plain, trial(0.10, [-0.03, 0.03], 384)]).gain == 0.10


def test_of_those_as_good_as_the_best_the_first_is_chosen() -> None:
    plain, first, best = trial(0.0, [0.0] * 4), trial(0.08, [-0.01, 0.01] * 2), trial(0.09, [0.01, 0.01, -0.01, -0.01])
    assert choose([plain, first, best]) is first
    far = trial(0.15, [0.01, 0.01, -0.01, -0.01])
    assert choose([plain, first, far]) is far


@given(st.lists(st.sampled_from([256, 384, 512, 640]), min_size=1, max_size=4, unique=True).map(sorted), st.booleans())
def test_each_candidate_is_another_and_costs_something(sizes: list[int], synthetic: bool) -> None:
    found = candidates(("layer2", "layer3"), sizes, synthetic=synthetic)
    assert len(set(found)) == len(found)
    assert len({one.name for one in found}) == len(found)
    assert found[0] == Candidate("ensemble", ("layer2", "layer3"), sizes[0])
    costs = [cost(found[: count + 1]) for count in range(len(found))]
    assert costs[0] > 1
    assert all(more >= less for less, more in pairwise(costs))


@pytest.mark.parametrize("candidate", candidates(STAGES, [256], synthetic=False), ids=lambda one: str(one.name))
def test_what_is_trained_is_what_was_tried(candidate: Candidate) -> None:
    recipe = candidate.recipe(0.02, seed=3, alarms=0.05)
    assert (recipe.coreset_ratio, recipe.seed, recipe.alarms) == (0.02, 3, 0.05)
    detector = recipe.create()
    assert detector.name == candidate.detector
    assert getattr(detector, "whitened", False) == candidate.whitened == ("whitened" in candidate.name)
