"""Black-and-white masks in their label's colour."""

import io

import numpy as np
import pytest
from PIL import Image

from api.cli.masks import colour_of, coloured_mask


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("channels", [0, 3])
def test_white_becomes_the_labels_colour(white: int, channels: int) -> None:
    values = np.zeros((6, 8), np.uint8)
    values[2:4, 3:7] = white
    data = coloured_mask(png(np.stack([values] * channels, axis=2) if channels else values), "scratch")
    assert data is not None
    mask = Image.open(io.BytesIO(data))
    assert (mask.format, mask.mode, mask.size) == ("PNG", "RGB", (8, 6))
    colour = tuple(bytes.fromhex(colour_of("scratch")[1:]))
    pixels = np.asarray(mask)
    assert (pixels[2:4, 3:7] == colour).all()
    assert (pixels.reshape(-1, 3).any(axis=1)).sum() == 8


def test_smoothed_edges_go_to_the_nearer_side() -> None:
    data = coloured_mask(png(np.array([[0, 100, 200, 255]], np.uint8)), "dent")
    assert data is not None
    assert np.asarray(Image.open(io.BytesIO(data))).any(axis=2).tolist() == [[False, False, True, True]]


def test_an_empty_mask_is_none() -> None:
    assert coloured_mask(png(np.zeros((4, 4), np.uint8)), "dent") is None


def test_a_broken_mask_is_refused() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        coloured_mask(b"no image", "dent")


def test_colours_stay_and_differ() -> None:
    labels = ["scratch", "dent", "stain", "missinghole", "crack", "hole", "bent", "cut"]
    assert colour_of("scratch") == colour_of("scratch")
    assert len({colour_of(label) for label in labels}) == len(labels)
    for label in labels:
        red, green, blue = bytes.fromhex(colour_of(label)[1:])
        assert max(red, green, blue) - min(red, green, blue) > 100
