"""Detectors: what they learn, and the invariants of their scores."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu.detector import DETECTORS, create_detector, restore_detector
from gpu.ensemble import Ensemble
from gpu.neighbours import nearest
from gpu.padim import PaDiM
from gpu.patchcore import PatchCore


def random_patches(n: int, seed: int = 0, d: int = 12) -> Tensor:
    return torch.randn(n, 5, 6, d, generator=torch.Generator().manual_seed(seed))


def test_training_images_score_zero_when_the_bank_keeps_all(patches: Tensor) -> None:
    detector = PatchCore(coreset_ratio=1.0)
    detector.fit(patches)
    assert float(detector.score(patches).abs().max()) == 0


def test_the_bank_has_the_share_asked_for_and_covers_the_patches() -> None:
    patches = random_patches(20)
    greedy = PatchCore(coreset_ratio=0.1)
    greedy.fit(patches)
    assert len(greedy.bank) == 60
    rows = patches.flatten(0, 2)
    assert float(nearest(greedy.bank, rows)[0].max()) == 0
    random = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:60]]
    assert greedy.score(patches).max() < nearest(rows, random)[0].max()


@pytest.mark.parametrize("ratio", [1e-6, 0.01])
def test_the_smallest_banks_score(ratio: float) -> None:
    detector = PatchCore(coreset_ratio=ratio)
    detector.fit(random_patches(4))
    scores = detector.score(random_patches(3, seed=1))
    assert bool(torch.isfinite(scores).all())
    assert bool((scores > 0).all())
    assert scores.shape == (3, 5, 6)


def test_identical_patches_score_without_nan() -> None:
    detector = PatchCore(coreset_ratio=0.2)
    detector.fit(torch.ones(4, 5, 6, 12))
    scores = detector.score(torch.stack((torch.ones(5, 6, 12), torch.full((5, 6, 12), 1e4))))
    assert float(scores[0].max()) == 0
    assert bool(torch.isfinite(scores).all())
    assert float(scores[1].min()) > 1


def test_fitting_on_some_images_equals_fitting_on_those_alone() -> None:
    patches, some = random_patches(8), torch.tensor([1, 4, 5])
    for name in DETECTORS:
        first, second = (create_detector(name, coreset_ratio=0.1, seed=2) for _ in range(2))
        first.fit(patches, some)
        second.fit(patches[some])
        for key, tensor in first.state().items():
            assert torch.equal(tensor, second.state()[key])


def test_padim_learns_numpys_gaussian() -> None:
    patches = random_patches(30, d=7) * 3 + 1
    detector = PaDiM(seed=4, channels=5)
    detector.fit(patches)
    chosen = patches.flatten(1, 2)[:, :, detector.subset].double().numpy()
    image = random_patches(2, seed=5, d=7)
    patch_scores = detector.score(image)
    for position in (0, 17, 29):
        mean, covariance = chosen[:, position].mean(0), np.cov(chosen[:, position].T) + 0.01 * np.eye(5)
        np.testing.assert_allclose(detector.mean[position], mean, rtol=1e-5, atol=1e-6)
        offset = image.flatten(1, 2)[:, position, detector.subset].double().numpy() - mean
        expected = np.sqrt(np.einsum("bi,ij,bj->b", offset, np.linalg.inv(covariance), offset))
        np.testing.assert_allclose(patch_scores.flatten(1)[:, position], expected, rtol=1e-4)


def test_padim_chooses_channels_by_seed() -> None:
    subsets = []
    for seed in (1, 1, 2):
        detector = PaDiM(seed, channels=50)
        detector.fit(random_patches(3, d=200))
        subsets.append(detector.subset.tolist())
    assert subsets[0] == subsets[1] != subsets[2]
    assert len(set(subsets[0])) == 50


def test_padim_of_many_positions_uses_fewer_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu.padim._MOST_BYTES", 4 * 30 * 8**2)  # 30 positions of 8 × 8 numbers
    detector = PaDiM()
    detector.fit(random_patches(20))
    assert detector.whitening.shape == (30, 8, 8)
    assert bool((detector.score(random_patches(2, seed=1)) > 0).all())


def test_padim_refuses_what_it_cannot_learn_from_or_score() -> None:
    with pytest.raises(ValueError, match="at least two normal images"):
        PaDiM().fit(random_patches(1))
    detector = PaDiM()
    detector.fit(random_patches(3))
    with pytest.raises(ValueError, match="28 positions where 30 were learned"):
        detector.score(torch.zeros(1, 4, 7, 12))


def test_the_ensemble_is_the_product_of_both(patches: Tensor) -> None:
    ensemble, bank, gaussians = Ensemble(0.05, seed=3), PatchCore(0.05, seed=3), PaDiM(seed=3)
    fractions: list[float] = []
    ensemble.fit(patches, torch.arange(8), fractions.append)
    bank.fit(patches[:8])
    gaussians.fit(patches[:8])
    assert torch.equal(ensemble.score(patches), bank.score(patches) * gaussians.score(patches))
    assert torch.equal(ensemble.trace(patches[9, 3]), bank.trace(patches[9, 3]))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_batch_scores_as_its_images_one_by_one(name: str, patches: Tensor) -> None:
    detector = create_detector(name, coreset_ratio=0.05, seed=0)
    detector.fit(patches[:8])
    scores = detector.score(patches[8:])
    assert float(scores.flatten(1).amax(dim=1).min()) > 0
    for i in range(4):
        alone = detector.score(patches[8 + i : 9 + i])
        torch.testing.assert_close(alone[0], scores[i], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_restored_detector_scores_the_same(name: str, patches: Tensor) -> None:
    detector = create_detector(name, coreset_ratio=0.05, seed=0)
    with pytest.raises(RuntimeError, match="before fit"):
        detector.score(patches)
    detector.fit(patches[:8])
    restored = restore_detector(name, detector.config(), detector.state())
    assert torch.equal(restored.score(patches), detector.score(patches))
    assert restored.config() == detector.config()


def test_unknown_detectors_and_ratios_are_refused() -> None:
    with pytest.raises(ValueError, match="there are patchcore, padim, ensemble"):
        create_detector("efficientad", coreset_ratio=0.01, seed=0)
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        create_detector("patchcore", coreset_ratio=0, seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_cuda_scores_as_the_cpu_does(name: str, patches: Tensor) -> None:
    found = []
    for device in ("cpu", "cuda"):
        detector = create_detector(name, coreset_ratio=0.05, seed=0).to(device)
        detector.fit(patches[:8])
        found.append(detector.score(patches).cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
