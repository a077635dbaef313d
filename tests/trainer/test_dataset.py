"""Samples: the split, the labels of masks, the counts that are needed, the size of the network's input."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.manifest import Mask, parse_line
from storage.objects import OWN_BUCKET
from tests.trainer.plant import Plant, line, settings
from trainer.dataset import (
    Sample,
    TrainingError,
    check_counts,
    merge_labels,
    network_input,
    read_snapshot,
    split,
)


def sample(name: str, anomalous: bool = False, colours: dict[str, str] | None = None) -> Sample:
    mask = Mask(f"s3://plant/{name}-mask", colours) if colours else None
    return Sample(f"s3://plant/{name}", anomalous, mask, {})


def samples(normal: int, anomaly: int) -> list[Sample]:
    return [sample(f"n{i}") for i in range(normal)] + [sample(f"a{i}", True) for i in range(anomaly)]


@given(st.integers(2, 60), st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 2**31 - 1), st.randoms())
def test_split_is_a_stratified_partition(normal: int, anomaly: int, fraction: float, seed: int, order: object) -> None:
    given_ = samples(normal, anomaly)
    order.shuffle(given_)  # type: ignore[attr-defined]
    train, test = split(given_, fraction, seed)
    assert Counter(s.reference for s in train + test) == Counter(s.reference for s in given_)
    for anomalous, count in ((False, normal), (True, anomaly)):
        held = sum(s.anomalous == anomalous for s in test)
        assert 1 <= held < count
        assert abs(held - fraction * count) <= 1
    assert [s for s in given_ if s in test] == test
    assert split(given_, fraction, seed) == (train, test)


def test_split_depends_on_the_seed() -> None:
    given_ = samples(40, 20)
    assert split(given_, 0.2, 0) != split(given_, 0.2, 1)


def test_unlabelled_images_are_ignored(plant: Plant) -> None:
    rows = [line("s3://plant/a", "normal"), line("s3://plant/b", None), line("s3://plant/c", "anomaly")]
    plant.stores.objects.put(OWN_BUCKET, "snapshot", "\n".join(rows).encode())
    assert [s.reference for s in read_snapshot(plant.stores.objects, "snapshot")] == ["s3://plant/a", "s3://plant/c"]


def test_mask_of_a_normal_image_is_ignored(plant: Plant) -> None:
    row = line("s3://plant/a", "normal", Mask("s3://plant/m", {"dent": "#112233"}))
    assert parse_line(row).mask is not None
    plant.stores.objects.put(OWN_BUCKET, "snapshot", row.encode())
    assert read_snapshot(plant.stores.objects, "snapshot")[0].mask is None


def test_labels_of_the_test_set_come_after_the_models() -> None:
    train = [sample("a", True, {"dent": "#1F77B4"}), sample("b", True, {"scratch": "#2ca02c", "dent": "#1f77b4"})]
    test = [sample("c", True, {"stain": "#000001", "scratch": "#2CA02C"})]
    labels = merge_labels(train, test)
    assert labels is not None
    assert labels.of_model == {"dent": "#1F77B4", "scratch": "#2ca02c"}
    assert labels.ids(test[0].mask) == (3, 2)  # type: ignore[arg-type]


def test_without_masks_in_training_there_are_no_labels() -> None:
    assert merge_labels(samples(2, 2), [sample("a", True, {"dent": "#1F77B4"})]) is None


@pytest.mark.parametrize(
    ("second", "named"),
    [({"dent": "#000002"}, ["'dent'", "#000001", "#000002"]), ({"stain": "#000001"}, ["'stain'", "'dent'", "#000001"])],
)
def test_labels_and_colours_must_agree(second: dict[str, str], named: list[str]) -> None:
    with pytest.raises(TrainingError) as refused:
        merge_labels([sample("a", True, {"dent": "#000001"})], [sample("b", True, second)])
    assert all(word in str(refused.value) for word in named)


@pytest.mark.parametrize(
    ("train", "test", "problem"),
    [
        ((3, 9), None, "3 images labelled normal; at least 4"),
        ((9, 1), None, "1 images labelled anomaly; at least 2"),
        ((3, 0), (5, 5), "training data set has 3"),
        ((9, 0), (0, 5), "test data set has 0 images labelled normal"),
        ((9, 0), (5, 0), "test data set has 0 images labelled anomaly"),
    ],
)
def test_too_few_images(
    tmp_path_factory: pytest.TempPathFactory, train: tuple[int, int], test: tuple[int, int] | None, problem: str
) -> None:
    with pytest.raises(TrainingError, match=problem):
        check_counts(samples(*train), test and samples(*test), settings(tmp_path_factory.mktemp("counts")))


def test_no_anomalies_are_needed_beside_a_test_set(tmp_path_factory: pytest.TempPathFactory) -> None:
    check_counts(samples(9, 0), samples(5, 5), settings(tmp_path_factory.mktemp("counts")))


@pytest.mark.parametrize(
    ("dimensions", "size"),
    [([(200, 100)] * 3, (64, 128)), ([(100, 200)] * 3, (128, 64)), ([(100, 100)] * 3 + [(400, 100)], (64, 64))],
)
def test_input_follows_the_median_aspect_ratio(dimensions: list[tuple[int, int]], size: tuple[int, int]) -> None:
    assert network_input(dimensions, 64) == size
