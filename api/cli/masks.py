"""Masks as AWS wants them: the label's colour on black, made from black-and-white ones."""

import colorsys
import hashlib
import io

import numpy as np
from PIL import Image


def colour_of(label: str) -> str:
    """The colour ("#rrggbb") of an anomaly label: always the same one for the same label, bright and never grey."""
    first, second, *_ = hashlib.sha256(label.encode()).digest()
    rgb = colorsys.hsv_to_rgb((first * 256 + second) / 65536, 0.85, 0.9)
    return "#" + "".join(f"{round(value * 255):02x}" for value in rgb)


def coloured_mask(data: bytes, label: str) -> bytes | None:
    """A black-and-white mask in the label's colour, as PNG; None for an empty one. Raises OSError for a broken file."""
    with Image.open(io.BytesIO(data)) as image:
        values = np.asarray(image if image.mode.startswith("I") else image.convert("L"))
    # Masks are 0 and 255, or 0 and 1; what an image program smoothed in between goes to the nearer side.
    inside = values > values.max() / 2
    if not inside.any():
        return None
    colour = np.array(list(bytes.fromhex(colour_of(label)[1:])), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(inside[..., None] * colour).save(buffer, "PNG")
    return buffer.getvalue()
