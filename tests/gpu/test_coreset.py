"""The lazy selection picks what the plain loop picks; the search finds what brute force finds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpu import coreset, neighbours
from gpu.coreset import farthest_first, project
from gpu.neighbours import nearest
from gpu.products import products


def plain(points: Tensor, picks: int, first: int) -> list[int]:
    """Algorithm 1 of the PatchCore paper as written: after each pick, the distance of every point to the picks."""
    chosen = [first]
    distances = (points - points[first]).square().sum(1)
    while len(chosen) < picks:
        distances[chosen] = -1
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (points - points[chosen[-1]]).square().sum(1))
    return chosen


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 400),
    d=st.integers(1, 6),
    spread=st.integers(0, 40),
    share=st.floats(0, 1),
    group=st.sampled_from([1, 3, 16, 4096]),
    centres=st.sampled_from([(1, 1), (12, 4), (1024, 256)]),
    seed=st.integers(0, 1000),
)
def test_picks_equal_the_plain_loop(
    n: int, d: int, spread: int, share: float, group: int, centres: tuple[int, int], seed: int
) -> None:
    # whole numbers: their distances are exact in float32, so that ties are ties in both
    points = torch.randint(-spread, spread + 1, (n, d), generator=torch.Generator().manual_seed(seed)).float()
    picks = max(1, round(share * n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreset, "_GROUP", group)
        patch.setattr(coreset, "_PER_ROOT", 0)
        patch.setattr(coreset, "_CENTRES", centres[0])
        patch.setattr(coreset, "_TILE", centres[1])
        found = farthest_first(points, picks, seed=seed)
        patch.setattr(coreset, "_on_cuda", lambda _: True)  # the steps that CUDA captures, here one by one
        assert torch.equal(farthest_first(points, picks, seed=seed), found)
    assert found.dtype == torch.int64
    assert found.tolist() == plain(points, picks, int(found[0]))
    assert len(found.unique()) == picks


def test_the_seed_decides_the_first_pick_and_nothing_else_does() -> None:
    points = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(farthest_first(points, 20, seed=3), farthest_first(points, 20, seed=3))
    assert len({int(farthest_first(points, 1, seed=s)) for s in range(10)}) > 5


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    farthest_first(torch.randn(9000, 4), 3000, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize("picks", [0, 6])
def test_impossible_picks_are_refused(picks: int) -> None:
    with pytest.raises(ValueError, match=f"cannot pick {picks} of 5"):
        farthest_first(torch.zeros(5, 2), picks)


def test_projection_keeps_distances_roughly() -> None:
    points = torch.randn(200, 600, generator=torch.Generator().manual_seed(0))
    projected = project(points, seed=1)
    assert projected.shape == (200, 128)
    ratio = torch.pdist(projected) / torch.pdist(points)
    ratio /= ratio.mean()
    assert float(ratio.min()) > 0.6
    assert float(ratio.max()) < 1.4
    narrow = points[:, :100]
    ratio = torch.pdist(project(narrow)) / torch.pdist(narrow)
    assert float(ratio.max() / ratio.min()) < 1.01


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), d=st.integers(1, 300), scale=st.floats(1e-6, 1e4), seed=st.integers(0, 1000))
def test_projected_points_have_distances_that_float32_holds_exactly(n: int, d: int, scale: float, seed: int) -> None:
    points = project(scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), seed=seed)
    assert torch.equal(points, points.round())
    one, other = points.unsqueeze(0), points.unsqueeze(1)
    exact = (one - other).double().square().sum(2)
    expanded = (one * one).sum(2) + (other * other).sum(2) - 2 * points @ points.T
    assert torch.equal(expanded.double(), exact)


def test_some_images_project_as_they_do_alone_and_equal_points_stay_points() -> None:
    patches = torch.randn(6, 20, 200, generator=torch.Generator().manual_seed(0)).half()
    some = torch.tensor([4, 1])
    assert torch.equal(project(patches, some), project(patches[some]))
    assert torch.equal(project(torch.full((5, 3), 7.0)), torch.zeros(5, 3))


@settings(max_examples=40, deadline=None)
@given(
    q=st.integers(0, 60),
    m=st.integers(1, 90),
    d=st.integers(1, 20),
    rows=st.sampled_from([1, 7, 1024]),
    columns=st.sampled_from([1, 16, 1024]),
)
def test_nearest_equals_brute_force(q: int, m: int, d: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(q * 1000 + m)
    queries, bank = torch.randn(q, d, generator=generator), torch.randn(m, d, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_ROWS", rows)
        patch.setattr(neighbours, "_COLUMNS", columns)
        patch.setattr(neighbours, "_TILE", min(columns, 16))
        distances, indices = nearest(queries, bank)
    expected = torch.cdist(queries.double(), bank.double()).amin(dim=1)
    torch.testing.assert_close(distances.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal((queries - bank[indices]).norm(dim=1), distances)


def test_identical_vectors_are_exactly_zero_apart() -> None:
    bank = 100 + torch.randn(3000, 304, generator=torch.Generator().manual_seed(0))
    distances, indices = nearest(bank, bank)
    assert float(distances.max()) == 0
    assert torch.equal(indices, torch.arange(3000))


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (5, 300, 40), (700, 3, 129)])
def test_products_are_those_of_matrices(n: int, m: int, d: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.randint(-9, 9, (count, d), generator=generator).float() for count in (n, m))
    offset = torch.randn(m, generator=generator)
    assert torch.equal(products(rows, columns), rows @ columns.T)
    assert torch.equal(products(rows.T.contiguous().T, columns, offset), rows @ columns.T + offset)


def test_an_empty_bank_has_no_nearest_row() -> None:
    with pytest.raises(ValueError, match="empty bank"):
        nearest(torch.zeros(1, 2), torch.zeros(0, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_picks_what_the_cpu_picks() -> None:
    points = project(torch.randn(60_000, 384, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(farthest_first(points.cuda(), 3000).cpu(), farthest_first(points, 3000))
