"""The procedural images: the same for the same seed, within bounds for every seed, unlike each other."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu.pretraining.scenes import SIDE, render
from gpu.pretraining.shapes import SHAPES
from gpu.pretraining.textures import TEXTURES, Field, standardise, texture

SEEDS = st.integers(0, 2**63 - 1)
SIDES = st.sampled_from([48, 65, 128])

Draw = Callable[[np.random.Generator, int], Field]


@pytest.mark.parametrize("draw", [*TEXTURES, texture], ids=lambda draw: draw.__name__)
@settings(max_examples=10)
@given(seed=SEEDS, side=SIDES)
def test_a_texture_is_standardised(draw: Draw, seed: int, side: int) -> None:
    field = draw(np.random.default_rng(seed), side)
    assert field.shape == (side, side)
    assert field.dtype == np.float32
    assert abs(float(field.mean(dtype=np.float64))) < 1e-3
    assert float(field.std()) == pytest.approx(1, abs=1e-2) or not field.any()


@pytest.mark.parametrize("draw", SHAPES, ids=lambda draw: draw.__name__)
@settings(max_examples=10)
@given(seed=SEEDS, side=SIDES)
def test_a_shape_is_a_mask(draw: Draw, seed: int, side: int) -> None:
    mask = draw(np.random.default_rng(seed), side)
    assert mask.shape == (side, side)
    assert mask.dtype == np.float32
    assert 0 <= float(mask.min()) <= float(mask.max()) <= 1


@settings(max_examples=15)
@given(seed=SEEDS, side=st.sampled_from([64, 97]))
def test_an_image_depends_on_its_seed_alone(seed: int, side: int) -> None:
    image = render(seed, side)
    assert image.shape == (side, side, 3)
    assert image.dtype == np.uint8
    render(seed // 2 + 1, side)
    np.testing.assert_array_equal(render(seed, side), image)


def test_images_are_of_full_size_and_unlike_each_other() -> None:
    images = [render(seed) for seed in range(6)]
    assert {image.shape for image in images} == {(SIDE, SIDE, 3)}
    assert len({image.tobytes() for image in images}) == 6
    assert sum(float(image.std()) > 5 for image in images) >= 5


def test_most_images_have_something_to_see() -> None:
    spread = [float(render(seed, 96).std()) for seed in range(200)]
    assert np.mean([deviation > 8 for deviation in spread]) > 0.9


def test_a_flat_field_stays_finite() -> None:
    assert not standardise(np.full((4, 4), 7.0)).any()
