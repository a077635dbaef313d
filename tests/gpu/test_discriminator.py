"""What labelled anomalies teach, and how far that may go."""

import pytest
import torch
from texture import SIZE, render
from torch import Tensor

from gpu.artefact import load, save
from gpu.backbone import load_backbone
from gpu.discriminator import Discriminator, describe
from gpu.fitting import Recipe, fit_inspector
from gpu.inspection import Inspector
from gpu.normals import Normals
from gpu.patch_embedding import Embedding


def two_kinds(n: int, m: int, apart: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Descriptions of n normal and m anomalous images, and scores that tell nothing."""
    generator = torch.Generator().manual_seed(0)
    scores = 3 + torch.rand(n + m, generator=generator)
    normals = torch.randn(n, 60, generator=generator)
    return normals, torch.randn(m, 60, generator=generator) + apart, scores[:n], scores[n:]


def order(normal: Tensor, anomalous: Tensor) -> float:
    return float((anomalous.unsqueeze(1) > normal.unsqueeze(0)).double().mean())


def test_known_differences_raise_anomalies_over_normals() -> None:
    normals, anomalies, low, high = two_kinds(60, 12, 1.0)
    taught = Discriminator.fit(normals, anomalies, low, high)
    assert taught is not None
    _, normal_factors, anomaly_factors = taught
    assert float(torch.cat((normal_factors, anomaly_factors)).min()) >= 1
    assert order(low * normal_factors, high * anomaly_factors) > 0.95 > order(low, high)
    assert float((normal_factors > 1).double().mean()) < 0.1, "what differs as normal images do is left as it is"


def test_what_helps_by_chance_alone_is_not_kept() -> None:
    normals, anomalies, low, _ = two_kinds(60, 12, 0.0)
    assert Discriminator.fit(normals, anomalies, low, torch.full((12,), 9.0)) is None


def test_no_image_scores_less_than_the_detector_says() -> None:
    taught = Discriminator.fit(*two_kinds(20, 20, 2.0))
    assert taught is not None
    strange = torch.randn(5, 3, 3, 20, generator=torch.Generator().manual_seed(1)) * torch.tensor(1e4)
    found = taught[0].factor(strange)
    assert bool(found.isfinite().all())
    assert float(found.min()) >= 1
    torch.testing.assert_close(found, found[:1].expand(5))  # far from all it knows, it knows nothing


def test_the_factor_is_the_machines_evidence() -> None:
    normals, anomalies, low, high = two_kinds(40, 40, 1.0)
    taught = Discriminator.fit(normals, anomalies, low, high)
    assert taught is not None
    made = taught[0]
    patches = torch.randn(6, 4, 5, 20, generator=torch.Generator().manual_seed(2))
    x = ((describe(patches) - made.mean) / made.deviation).double()
    squares = (x.unsqueeze(1) - made.support.double()).square().sum(2)
    evidence = (-squares / 60).exp() @ made.weights.double() + made.offset.double()
    expected = (made.strength.double() * evidence.clamp_min(0)).exp()
    torch.testing.assert_close(made.factor(patches).double(), expected, rtol=1e-4, atol=1e-5)
    assert float(expected.max()) > 1


def test_a_description_is_mean_deviation_and_maximum() -> None:
    patches = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    found = describe(patches)
    cells = patches.reshape(3, 20, 6).numpy()
    torch.testing.assert_close(found[:, :6], torch.from_numpy(cells.mean(axis=1)))
    torch.testing.assert_close(found[:, 6:12], torch.from_numpy(cells.std(axis=1)))
    torch.testing.assert_close(found[:, 12:], torch.from_numpy(cells.max(axis=1)))


def test_one_image_of_a_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two images of each kind"):
        Discriminator.fit(*two_kinds(5, 1, 1.0))


def test_a_detector_that_errs_is_helped_and_the_lesson_is_stored(embedding: Embedding, patches: Tensor) -> None:
    images = render(10, 2, spot=True)[0]
    anomalies = embedding.embed_all([images], 10)
    recipe, normals = Recipe(coreset_ratio=0.05), Normals.whole(patches, 0)
    fitted = fit_inspector(embedding, recipe, normals, anomalies, None, {}, SIZE, lambda *_: None)
    plain = Inspector(embedding, fitted.detector, fitted.calibration, SIZE)
    taught = Discriminator.fit(describe(patches), describe(anomalies), torch.ones(len(patches)), torch.ones(10))
    assert taught is not None
    helped = Inspector(embedding, plain.detector, plain.calibration, SIZE, discriminator=taught[0])
    loaded, _ = load(save(helped, images[:1], "1"), load_backbone)
    assert loaded.self_test() == 0
    unseen = torch.cat((render(4, 5)[0], render(4, 6, spot=True)[0]))
    scores = [[i.score for i in inspector.inspect(unseen)] for inspector in (plain, helped, loaded)]
    assert scores[1] == scores[2]
    gains = [now / before for before, now in zip(*scores[:2], strict=True)]
    assert min(gains) >= 1
    assert min(gains[4:]) > max(gains[:4])
