"""Heat maps over images: what is normal stays as it is, what is over the threshold is coloured and outlined."""

import io

import numpy as np
import pytest
from PIL import Image

from api.cli.client import Detection
from api.cli.overlay import THRESHOLD, draw_overlay, load_image


def encoded(values: np.ndarray, format_: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format_, **options)
    return buffer.getvalue()


def detection(values: np.ndarray | None, *, anomalous: bool = True) -> Detection:
    return Detection(anomalous, 0.875, {}, None if values is None else encoded(values))


@pytest.fixture
def grey() -> np.ndarray:
    return np.full((240, 320, 3), 120, np.uint8)


def test_only_what_is_over_the_threshold_is_coloured_and_outlined(grey: np.ndarray) -> None:
    values = np.full((240, 320), 40, np.uint8)
    values[100:140, 150:200] = 250
    drawn = np.asarray(draw_overlay(encoded(grey), detection(values), "a.png"))[:240]
    outside = np.ones((240, 320), bool)
    outside[98:142, 148:202] = False
    assert (drawn[outside] == 120).all()
    red, green, blue = drawn[120, 175].astype(int)
    assert red > green + 40
    assert red > blue + 40
    assert (drawn[100, 175] == 255).all()
    assert (drawn[99, 175] < 40).all()


def test_more_anomalous_is_redder_and_the_image_stays_visible() -> None:
    picture = np.zeros((64, 256, 3), np.uint8)
    picture[::2] = 200
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    drawn = np.asarray(draw_overlay(encoded(picture), detection(ramp), ""))[:64].astype(int)
    bright, dark = drawn[10], drawn[11]
    assert (np.diff(dark[150::15, 1] / dark[150::15, 0]) < 0).all()
    assert (dark[THRESHOLD + 10 :, 0] > dark[THRESHOLD + 10 :, 2] + 40).all()
    assert (bright[140:].sum(axis=1) > dark[140:].sum(axis=1) + 100).all()


def test_the_caption_is_below_the_image_and_tells_the_decision(grey: np.ndarray) -> None:
    bad, good = (draw_overlay(encoded(grey), detection(None, anomalous=said), "x" * 300) for said in (True, False))
    assert bad.width == good.width == 320
    assert bad.height > 240
    assert np.array_equal(np.asarray(bad)[:240], grey)
    assert tuple(np.asarray(bad)[242, 1]) != tuple(np.asarray(good)[242, 1])


def test_a_map_of_another_size_is_brought_to_the_images(grey: np.ndarray) -> None:
    small = np.zeros((24, 32), np.uint8)
    small[12:, :] = 255
    drawn = np.asarray(draw_overlay(encoded(grey), detection(small), "a"))[:240]
    assert (drawn[:100] == 120).all()
    assert (drawn[150:] != 120).any(axis=2).all()


def test_images_are_shown_as_a_person_sees_them() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = np.zeros((40, 80, 3), np.uint8)
    assert load_image(encoded(wide, "JPEG", exif=turned)).size == (40, 80)
    deep = load_image(encoded(np.full((8, 8), 40000, np.uint16)))
    assert (deep.mode, deep.getpixel((0, 0))) == ("RGB", (156, 156, 156))
    with pytest.raises(OSError, match="cannot identify"):
        load_image(b"no image")
