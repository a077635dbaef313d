"""Explanations: which regions, and that the normal patch named is really the nearest one and where it is said to be."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from texture import SIZE, render
from torch import Tensor

from gpu.artefact import load, save
from gpu.backbone import load_backbone
from gpu.explanation import Box, Source, explain
from gpu.fitting import Recipe, fit_inspector
from gpu.inspection import Inspector
from gpu.normals import Normals
from gpu.padim import PaDiM
from gpu.patch_embedding import Embedding
from gpu.patchcore import PatchCore

GRID = (5, 6)
SOURCES = tuple(Source(f"s3://plant/{number}.png", 256, 192) for number in range(12))


def random_patches(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *GRID, 12, generator=torch.Generator().manual_seed(seed))


def fitted(ratio: float = 0.2, images: Tensor | None = None) -> PatchCore:
    detector = PatchCore(ratio)
    detector.fit(random_patches(8), images)
    return detector


def test_a_training_image_explains_itself(patches: Tensor) -> None:
    detector = PatchCore(coreset_ratio=1.0)
    detector.fit(patches)
    cells = patches.shape[1] * patches.shape[2]
    for image, own in enumerate(patches):
        traced = detector.trace(own.flatten(0, 1))
        assert traced is not None
        assert traced.tolist() == [[image, cell] for cell in range(cells)]


@given(st.integers(0, 1000), st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_the_patch_named_is_the_nearest_that_is_remembered(seed: int, ratio: float) -> None:
    detector, queries = fitted(ratio), random_patches(1, seed + 1).flatten(0, 2)
    traced = detector.trace(queries)
    assert traced is not None
    named = random_patches(8).flatten(1, 2)[traced[:, 0], traced[:, 1]]
    nearest = torch.cdist(queries, detector.bank).amin(dim=1)
    torch.testing.assert_close(torch.linalg.vector_norm(queries - named, dim=1), nearest, rtol=1e-4, atol=1e-4)


def test_images_are_counted_among_those_that_were_learned_from() -> None:
    detector = fitted(1.0, images=torch.tensor([6, 2]))
    traced = detector.trace(random_patches(8)[2, 1, 3].unsqueeze(0))
    assert traced is not None
    assert traced.tolist() == [[1, 1 * 6 + 3]]


def test_regions_come_strongest_first_with_their_edges_and_the_patch_at_their_peak() -> None:
    detector, patches = fitted(1.0), random_patches(8)[7]
    values = torch.zeros(50, 60)
    values[10:20, 6:30], values[12, 25] = 2.0, 3.0
    values[40:50, 50:60], values[49, 59] = 4.0, 5.0
    first, second = explain(patches, values, 1.0, detector, SOURCES)
    assert (first.box, second.box) == (Box(50 / 60, 0.8, 1.0, 1.0), Box(0.1, 0.2, 0.5, 0.4))
    assert (first.patch, second.patch) == (Box(5 / 6, 0.8, 1.0, 1.0), Box(2 / 6, 0.2, 3 / 6, 0.4))
    for region in (first, second):
        assert region.nearest is not None
        assert (region.nearest.source, region.nearest.box) == (SOURCES[7], region.patch)
    assert explain(patches, values, 5.0, detector, SOURCES) == ()


def test_a_spotty_map_is_explained_in_its_ten_strongest_regions() -> None:
    values = torch.zeros(50, 60)
    values[::5, ::5] = torch.arange(120.0).view(10, 12)
    found = explain(random_patches(1)[0], values, 0.5, fitted(), SOURCES)
    peaks = [float(values[round(region.box.top * 50), round(region.box.left * 60)]) for region in found]
    assert len(peaks) == 10
    assert all(high > low for high, low in pairwise([120.0, *peaks]))


def test_without_sources_or_remembered_patches_only_the_region_is_told() -> None:
    padim, values = PaDiM(), torch.ones(50, 60)
    padim.fit(random_patches(8))
    for detector, sources in ((padim, SOURCES), (fitted(), ())):
        (region,) = explain(random_patches(1)[0], values, 0.5, detector, sources)
        assert region.box == Box(0, 0, 1, 1)
        assert region.nearest is None


def test_an_anomalous_image_is_explained_and_a_normal_one_needs_no_explanation(inspector: Inspector) -> None:
    inspector = copy.copy(inspector)
    inspector.sources = SOURCES
    (normal,) = inspector.inspect(render(1, 5)[0], [0])
    assert normal.regions == ()
    images, masks = render(3, 6, spot=True)
    assert all(found.regions is None for found in inspector.inspect(images))
    for found, mask in zip(inspector.inspect(images, range(len(images))), masks, strict=True):
        assert found.regions
        left, top, right, bottom = found.regions[0].patch
        inside = mask[round(top * SIZE[0]) : round(bottom * SIZE[0]), round(left * SIZE[1]) : round(right * SIZE[1])]
        assert bool(inside.any())
        assert (found.regions[0].nearest is None) == (inspector.detector.name == "padim")


def test_what_is_explained_survives_the_artefact(embedding: Embedding, patches: Tensor) -> None:
    recipe = Recipe(coreset_ratio=0.05)
    made = fit_inspector(embedding, recipe, Normals.whole(patches, 0), patches[:0], None, {}, SIZE, lambda *_: None)
    made.sources = SOURCES
    images = render(2, 6, spot=True)[0]
    data = save(made, images, "1")
    loaded, _ = load(data, load_backbone)
    assert loaded.sources == SOURCES
    before, after = (found.inspect(images, range(len(images))) for found in (made, loaded))
    assert [found.regions for found in before] == [found.regions for found in after]
    region = (after[0].regions or ())[0]
    assert region.nearest is not None
    # The patch that it names is the nearest of all that are remembered.
    image, row, column = SOURCES.index(region.nearest.source), region.nearest.box.top * 12, region.nearest.box.left * 16
    asked = embedding.embed(images[:1])[0, round(region.patch.top * 12), round(region.patch.left * 16)]
    distance = float(torch.linalg.vector_norm(asked - patches[image, round(row), round(column)]))
    bank = made.detector.state()["bank"]
    assert distance == pytest.approx(float(torch.linalg.vector_norm(asked - bank, dim=1).min()), rel=1e-4)
