"""Partial whitening, against its definition."""

import torch
from texture import render

from gpu.patch_embedding import Embedding
from gpu.patchcore import PatchCore
from gpu.whitening import partial_whitening

EVERY = torch.arange(50)


def test_variances_become_their_square_roots_and_their_sum_stays() -> None:
    random = torch.Generator().manual_seed(0)
    deviations = torch.tensor([0.1, 1.0, 10.0])
    turned = torch.linalg.qr(torch.randn(3, 3, generator=random)).Q
    patches = (torch.randn(50, 100, 3, generator=random) * deviations) @ turned.T
    whitened = (patches @ partial_whitening(patches, EVERY, seed=0)).flatten(0, 1)
    before, after = (torch.linalg.eigvalsh(torch.cov(rows.T)) for rows in (patches.flatten(0, 1), whitened))
    torch.testing.assert_close(after / after.sum(), before.sqrt() / before.sqrt().sum(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(after.sum(), before.sum(), rtol=1e-3, atol=1e-5)


def test_directions_that_never_vary_stay_finite() -> None:
    patches = torch.randn(50, 8, 5, generator=torch.Generator().manual_seed(0))
    patches[..., 2] = 3.0
    assert partial_whitening(patches, EVERY, seed=0).isfinite().all()
    assert partial_whitening(torch.ones(50, 4, 3), EVERY, seed=0).isfinite().all()
    assert partial_whitening(torch.zeros(50, 4, 1), EVERY, seed=0).isfinite().all()


def test_half_precision_and_a_seed_are_enough() -> None:
    patches = torch.randn(50, 2000, 6, generator=torch.Generator().manual_seed(0))
    single = partial_whitening(patches, EVERY, seed=1)
    assert torch.equal(single, partial_whitening(patches, EVERY, seed=1))
    torch.testing.assert_close(partial_whitening(patches.half(), EVERY, seed=1), single, rtol=1e-2, atol=1e-2)


def test_only_the_images_named_are_learned_from() -> None:
    patches = torch.randn(6, 40, 4, generator=torch.Generator().manual_seed(0))
    some = torch.tensor([1, 4])
    assert torch.equal(partial_whitening(patches, some, 0), partial_whitening(patches[some], torch.arange(2), 0))


def test_a_whitened_bank_knows_its_own_patches(embedding: Embedding) -> None:
    patches = embedding.embed(render(4, 1)[0])
    detector = PatchCore(1.0, whitened=True)
    detector.fit(patches)
    assert float(detector.score(patches).max()) < 1e-3 * float(detector.bank.norm(dim=1).mean())
    assert detector.trace(patches[2, 3, :5]).tolist() == [[2, 3 * 16 + column] for column in range(5)]
