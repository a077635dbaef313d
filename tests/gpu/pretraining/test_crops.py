"""Batches of crops: numbered, reproducible, of the sizes a backbone takes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gpu.pretraining.crops import Crops, render_images
from gpu.pretraining.scenes import SIDE, render

CPU = torch.device("cpu")


def test_a_batch_is_known_by_its_number(images: npt.NDArray[np.uint8]) -> None:
    crops, others = Crops(images, 5, 8, CPU), Crops(images, 5, 8, CPU)
    for number in (3, 0, 7):
        assert torch.equal(crops.batch(number), others.batch(number))
    assert not torch.equal(crops.batch(0), Crops(images, 6, 8, CPU).batch(0))


def test_every_batch_has_about_as_many_pixels(images: npt.NDArray[np.uint8]) -> None:
    crops, seen = Crops(images, 0, 16, CPU), set()
    for number in range(40):
        batch = crops.batch(number)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert bool(batch.isfinite().all())
        assert batch.shape[2] == batch.shape[3]
        assert 0.7 < batch.numel() / (16 * 3 * 128**2) <= 1
        seen.add(batch.shape[2])
    assert seen == {128, 192, 256}


def test_another_exposure_shows_the_same_crops_in_other_light(images: npt.NDArray[np.uint8]) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], images.shape).copy()
    crops = Crops(ramp, 0, 8, CPU)
    one, other = crops.batch(1), crops.batch(1, exposure=1)
    assert one.shape == other.shape
    assert not torch.equal(one, other)
    for a, b in zip(one.mean(1).flatten(1), other.mean(1).flatten(1), strict=True):
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) > 0.5  # negatives run the other way


def test_images_are_rendered_once(tmp_path: Path) -> None:
    path, told = tmp_path / "images.npy", list[tuple[int, int]]()
    rendered = render_images(3, 1, path, lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert rendered.shape == (3, SIDE, SIDE, 3)
    np.testing.assert_array_equal(rendered[2], render((1 << 32) + 2))
    before = path.stat().st_mtime_ns
    np.testing.assert_array_equal(render_images(3, 1, path, lambda *_: pytest.fail("rendered again")), rendered)
    assert path.stat().st_mtime_ns == before
    assert [file.name for file in tmp_path.iterdir()] == ["images.npy"]
