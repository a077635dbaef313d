"""What labelled anomalies teach, and how far that may go."""

import pytest
import torch
from texture import SIZE, render
from torch import Tensor

from gpu.artefact import load, save
from gpu.backbone import Backbone, load_backbone
from gpu.discriminator import Discriminator, describe
from gpu.fitting import Recipe, embed_all, fit_inspector


def two_kinds(n: int, m: int, apart: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 40, generator=generator), torch.randn(m, 40, generator=generator) + apart


def test_known_differences_raise_anomalies_more_than_normals() -> None:
    normals, anomalies = two_kinds(60, 12, 1.0)
    _, low, high = Discriminator.fit(normals, anomalies)
    assert 1 <= float(low.max()) < 2**0.5 < float(high.min()) <= 2


def test_what_differs_by_chance_hardly_moves_the_factor() -> None:
    normals, anomalies = two_kinds(60, 60, 0.0)
    _, low, high = Discriminator.fit(normals, anomalies)
    assert float((torch.cat((low, high)).log2() - 0.5).abs().mean()) < 0.125


def test_no_image_scores_less_than_the_detector_says_nor_more_than_twice_that() -> None:
    made, _, _ = Discriminator.fit(*(kind[:, :8] for kind in two_kinds(20, 20, 2.0)))
    found = made.factor(torch.cat((torch.full((1, 3, 3, 4), 1e6), torch.full((1, 3, 3, 4), -1e6))))
    assert found.tolist() == [2.0, 1.0]


def test_a_description_is_mean_and_deviation() -> None:
    patches = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    found = describe(patches)
    cells = patches.reshape(3, 20, 6).numpy()
    torch.testing.assert_close(found[:, :6], torch.from_numpy(cells.mean(axis=1)))
    torch.testing.assert_close(found[:, 6:], torch.from_numpy(cells.std(axis=1)))


def test_one_image_of_a_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two images of each kind"):
        Discriminator.fit(*two_kinds(5, 1, 1.0))


def test_ten_anomalies_teach_and_the_lesson_is_stored(backbone: Backbone, patches: Tensor) -> None:
    images = render(10, 2, spot=True)[0]
    anomalies = embed_all(backbone, [images], 10)
    made = [
        fit_inspector(backbone, Recipe(coreset_ratio=0.05), patches, some, None, {}, SIZE, lambda *_: None)
        for some in (anomalies, anomalies[:9])
    ]
    assert made[0].discriminator is not None
    assert made[1].discriminator is None
    loaded, _ = load(save(made[0], images[:1], "1"), load_backbone)
    assert loaded.self_test() == 0
    unseen = torch.cat((render(4, 5)[0], render(4, 6, spot=True)[0]))
    assert [i.score for i in loaded.inspect(unseen)] == [i.score for i in made[0].inspect(unseen)]
    assert [i.is_anomalous for i in loaded.inspect(unseen)] == [False] * 4 + [True] * 4
