"""Defects drawn into good parts: always one, never outside the part's own range of sizes, the same for a seed."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from texture import render

from gpu.synthetic_anomalies import spoil


def test_each_image_has_its_copies_in_turn_and_each_differs_from_it() -> None:
    images = render(6, 1)[0]
    spoiled = spoil(images, 3, seed=0)
    assert spoiled.shape == (18, *images.shape[1:])
    assert spoiled.dtype == torch.uint8
    changed = (spoiled != images.repeat_interleave(3, dim=0)).any(dim=1).flatten(1).float().mean(dim=1)
    assert float(changed.max()) < 0.5
    assert float((changed > 0).float().mean()) > 0.9, "nearly every image shows its defect"
    assert len({spoiled[number].numpy().tobytes() for number in range(18)}) == 18


@settings(max_examples=30, deadline=None)
@given(st.integers(32, 300), st.integers(32, 300), st.integers(0, 2**31))
def test_any_size_and_seed(height: int, width: int, seed: int) -> None:
    images = torch.full((2, 3, height, width), 128, dtype=torch.uint8)
    found = spoil(images, 1, seed)
    assert torch.equal(found, spoil(images, 1, seed))
    assert found.shape == images.shape


def test_defects_are_small_and_large() -> None:
    images = torch.full((200, 3, 64, 64), 128, dtype=torch.uint8)
    images[::2] = 60
    changed = (spoil(images, 1, seed=0) != images).any(dim=1).flatten(1).sum(dim=1)
    assert int((changed < 5).sum()) > 20
    assert int((changed > 50).sum()) > 10
