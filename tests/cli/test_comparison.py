"""Explanations for people: regions in words, and the odd patch beside the normal one that it is most like."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api.cli.comparison import add_comparison, describe_regions, training_images
from storage.directory_objects import DirectoryObjects
from tests.cli.test_overlay import encoded

WIDTH, HEIGHT = 320, 240


def box(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"Left": left, "Top": top, "Width": width, "Height": height}


REGION: dict[str, Any] = {
    "Box": box(150, 100, 50, 40),
    "Patch": box(160, 110, 10, 10),
    "NearestNormal": {"SourceRef": "s3://plant/good/7.png", "Patch": box(300, 0, 8, 8)},
}
OVERLAY = Image.new("RGB", (WIDTH, HEIGHT + 30), (90, 90, 90))


def plain(red: int) -> bytes:
    """An image of one colour with a green patch where the region has its own."""
    values = np.full((HEIGHT, WIDTH, 3), (red, 0, 0), np.uint8)
    values[110:120, 160:170] = (0, 255, 0)
    return encoded(values)


def test_regions_are_told_in_words() -> None:
    alone = {name: REGION[name] for name in ("Box", "Patch")}
    assert describe_regions([REGION, alone]) == (
        "50 × 40 at 150, 100, most like s3://plant/good/7.png 8 × 8 at 300, 0\n50 × 40 at 150, 100"
    )
    assert describe_regions([]) == ""


def test_both_patches_are_shown_below_the_overlay() -> None:
    asked: list[str] = []

    def read(reference: str) -> bytes:
        asked.append(reference)
        return plain(200)

    drawn = np.asarray(add_comparison(OVERLAY, plain(100), REGION, read))
    assert asked == ["s3://plant/good/7.png"]
    assert np.array_equal(drawn[: OVERLAY.height], np.asarray(OVERLAY))
    strip = drawn[OVERLAY.height : OVERLAY.height + 160]
    assert tuple(strip[10, 10]) == (100, 0, 0)
    assert tuple(strip[80, 80]) == (0, 255, 0)
    # Its patch is in the upper right corner of the training image: above and right of it there is nothing.
    assert tuple(strip[150, 170]) == (200, 0, 0)
    assert tuple(strip[10, 310]) == (0, 0, 0)


def test_a_training_image_that_is_gone_leaves_its_name() -> None:
    drawn = np.asarray(add_comparison(OVERLAY, plain(100), REGION, lambda _: None))
    strip = drawn[OVERLAY.height :]
    assert (strip[:160, 160:] == strip[0, 200]).all()
    assert (strip[160:] > 200).any()


def test_a_region_without_a_normal_patch_adds_nothing() -> None:
    region = {name: REGION[name] for name in ("Box", "Patch")}
    assert add_comparison(OVERLAY, plain(100), region, lambda _: None) is OVERLAY


def test_training_images_are_read_where_they_lie(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)
    objects.put("plant", "good/7.png", b"image")
    assert training_images(objects)("s3://plant/good/7.png") == b"image"
    assert training_images(objects)("s3://plant/good/8.png") is None
    assert training_images(None)("s3://plant/good/7.png") is None
