"""Many normal images in little memory: what is planned, what is held, and what a bank of merged coresets covers."""

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from texture import SIZE, render

from gpu.fitting import Recipe, fit_inspector
from gpu.memory_plan import Budget, MemoryNeeded, MemoryPlan, Shape
from gpu.neighbours import nearest
from gpu.normals import Normals
from gpu.patch_embedding import Embedding
from gpu.patchcore import PatchCore

MIB = 2**20
COUNT = 60


@given(
    images=st.integers(2, 20_000),
    anomalies=st.integers(0, 300),
    cells=st.integers(64, 16_384),
    width=st.integers(10, 2000),
    ratio=st.one_of(st.none(), st.floats(0.0001, 1)),
    memory=st.integers(10 * MIB, 2**37),
    device=st.one_of(st.none(), st.integers(10 * MIB, 2**37)),
)
def test_a_plan_stays_within_its_budget(
    images: int, anomalies: int, cells: int, width: int, ratio: float | None, memory: int, device: int | None
) -> None:
    shape = Shape(cells, width)
    try:
        plan = MemoryPlan.of(images, anomalies, shape, ratio, Budget(memory, device))
    except MemoryNeeded:
        reject()
    assert plan.needed <= memory
    assert (plan.held + plan.block) * shape.embedded <= memory
    assert 0 < plan.held <= images
    assert plan.held == images or plan.block or ratio is None
    if device is not None and ratio is not None:
        assert (plan.block or images) * shape.selected <= device


def test_very_many_images_are_reduced_in_parts_though_all_would_fit() -> None:
    shape, much = Shape(1024, 304), Budget(2**40)
    assert MemoryPlan.of(2048, 0, shape, 0.02, much).block == 0
    plan = MemoryPlan.of(2049, 0, shape, 0.02, much)
    assert (plan.held, plan.block) == (1000, 1024)
    assert MemoryPlan.of(20_000, 0, shape, None, much).held == 20_000


def test_what_does_not_fit_at_all_is_refused_with_what_to_do() -> None:
    with pytest.raises(MemoryNeeded, match=r"1,000,000 normal images needs .* GiB .* may take 1\.0 GiB.*_GIB"):
        MemoryPlan.of(1_000_000, 0, Shape(1024, 304), 0.02, Budget(2**30))


def gathered(embedding: Embedding, plan: MemoryPlan, ratio: float = 0.02) -> Normals:
    batches = torch.split(render(COUNT, 1)[0], 7)
    return Normals.gather(embedding, batches, COUNT, lambda _: plan, ratio, seed=0)


def test_where_all_fit_all_are_held(embedding: Embedding) -> None:
    normals = gathered(embedding, MemoryPlan(COUNT, COUNT, 0, 0, 0))
    whole = Normals.whole(embedding.embed_all(torch.split(render(COUNT, 1)[0], 7), COUNT), seed=0)
    assert torch.equal(normals.patches, whole.patches)
    assert torch.equal(normals.fold, whole.fold)
    assert normals.parts == ()
    assert torch.equal(normals.judged, torch.arange(COUNT))
    for fold in range(5):
        assert len(normals.kept(fold)) == COUNT * 4 // 5
    assert torch.equal(normals.kept(None), torch.arange(COUNT))


def test_a_bank_of_coresets_covers_nearly_as_well_and_knows_its_origins(embedding: Embedding) -> None:
    whole = gathered(embedding, MemoryPlan(COUNT, COUNT, 0, 0, 0))
    reduced = gathered(embedding, MemoryPlan(COUNT, 10, 17, 0, 0))
    assert torch.equal(reduced.patches, whole.patches[reduced.images])
    assert len(reduced.images) == 10
    exact, merged = PatchCore(0.02), PatchCore(0.02)
    exact.fit(whole.patches)
    rows, origins = (torch.cat([getattr(part, name) for part in reduced.parts]) for name in ("rows", "origins"))
    merged.merge(rows, origins, merged.bank_rows(COUNT, 12 * 16))
    assert len(merged.bank) == len(exact.bank)
    images, cells = merged.origins.long().unbind(1)
    assert torch.equal(merged.bank, whole.patches.flatten(1, 2)[images, cells].float())
    assert len({tuple(origin) for origin in merged.origins.tolist()}) == len(merged.bank)
    patches = whole.patches.flatten(0, 2).float()
    radius = [float(nearest(patches, detector.bank)[0].max()) for detector in (exact, merged)]
    assert radius[1] <= 1.25 * radius[0]


def test_no_fold_is_scored_by_a_bank_that_contains_it(embedding: Embedding) -> None:
    reduced = gathered(embedding, MemoryPlan(COUNT, 10, 17, 0, 0))
    for fold, part in enumerate(reduced.parts):
        assert set(reduced.fold[part.origins[:, 0]].tolist()) == {fold}


def test_of_many_images_some_are_judged(embedding: Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    unseen, found = torch.cat((render(6, 5)[0], render(6, 6, spot=True)[0])), []
    for most in (COUNT, 40):
        monkeypatch.setattr("gpu.normals.MOST_JUDGED", most)
        normals = gathered(embedding, MemoryPlan(COUNT, COUNT, 0, 0, 0))
        assert len(normals.judged) == most
        none = normals.patches[:0]
        inspector = fit_inspector(embedding, Recipe(), normals, none, None, {}, SIZE, lambda *_: None)
        found.append(inspector.inspect(unseen))
    assert [one.score for one in found[0]] == [one.score for one in found[1]]  # the detector learned from all
    assert [one.is_anomalous for one in found[1]] == [False] * 6 + [True] * 6


@pytest.mark.parametrize("name", ["patchcore", "padim", "ensemble"])
def test_a_training_in_little_memory_decides_as_one_in_much(name: str, embedding: Embedding) -> None:
    recipe, scores = Recipe(name, coreset_ratio=0.02), []
    unseen = torch.cat((render(6, 5)[0], render(6, 6, spot=True)[0]))
    for plan in (MemoryPlan(COUNT, COUNT, 0, 0, 0), MemoryPlan(COUNT, 50, 0 if name == "padim" else 17, 0, 0)):
        normals = gathered(embedding, plan)
        none = normals.patches[:0]
        inspector = fit_inspector(embedding, recipe, normals, none, None, {}, SIZE, lambda *_: None)
        found = inspector.inspect(unseen)
        assert [one.is_anomalous for one in found] == [False] * 6 + [True] * 6
        scores.append(torch.tensor([one.score for one in found]))
    torch.testing.assert_close(scores[0], scores[1], rtol=0.25, atol=0)


@pytest.mark.parametrize("count", [COUNT - 1, COUNT + 1])
def test_another_number_of_images_than_announced_is_refused(count: int, embedding: Embedding) -> None:
    with pytest.raises(ValueError, match=str(count)):
        Normals.gather(
            embedding, [render(COUNT, 1)[0]], count, lambda _: MemoryPlan(count, count, 0, 0, 0), 0.02, seed=0
        )
