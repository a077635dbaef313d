"""The anomaly map drawn over its image: the further over the threshold, the redder; what is normal stays as it is."""

import io

import numpy as np
import scipy  # its parts are loaded when they are used: not for commands that draw nothing
from PIL import Image, ImageDraw, ImageFont, ImageOps

from api.cli.client import Detection

THRESHOLD = 128  # grey value of the threshold in an anomaly map
# (grey value, red, green, blue, opacity): luminance falls while opacity grows, so that the order is seen without hue.
_COLOURS = np.array(
    [
        (0, 255, 240, 120, 0.0),
        (88, 255, 240, 120, 0.0),
        (THRESHOLD, 255, 200, 40, 0.42),
        (158, 255, 120, 20, 0.58),
        (208, 225, 30, 30, 0.68),
        (255, 170, 0, 50, 0.74),
    ]
)
DARK, LIGHT = (24, 26, 30), (255, 255, 255)
_RED, _GREEN = (190, 20, 35), (25, 120, 65)


def draw_overlay(image: bytes, detection: Detection, title: str) -> Image.Image:
    """The image with its anomaly map over it, regions over the threshold outlined, and the decision underneath.

    Without a map in the detection only the decision is added. Raises OSError for what is no image.
    """
    picture = load_image(image)
    if detection.anomaly_map is not None:
        with Image.open(io.BytesIO(detection.anomaly_map)) as grey:
            values = np.asarray(grey.convert("L").resize(picture.size, Image.Resampling.BILINEAR))
        picture = Image.fromarray(_outlined(_blended(np.asarray(picture), values), values))
    return _captioned(picture, detection, title)


def load_image(data: bytes) -> Image.Image:
    """An image in RGB as a person sees it: turned as its EXIF data says, 16 bits scaled to 8. Raises OSError."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        return image.convert("RGB")


def _blended(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    table = np.stack([np.interp(np.arange(256), _COLOURS[:, 0], _COLOURS[:, n]) for n in range(1, 5)], axis=1)
    colour = table[values]
    opacity = colour[..., 3:]
    return np.asarray((picture * (1 - opacity) + colour[..., :3] * opacity).round().astype(np.uint8))


def _outlined(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    inside = values > THRESHOLD
    width = max(1, round(max(inside.shape) / 400))
    edge = inside & ~scipy.ndimage.binary_erosion(inside, iterations=width, border_value=1)
    rim = scipy.ndimage.binary_dilation(inside, iterations=width) & ~inside
    picture = picture.copy()
    # A light line inside a dark one is seen on every ground.
    picture[rim], picture[edge] = DARK, LIGHT
    return picture


def _captioned(picture: Image.Image, detection: Detection, title: str) -> Image.Image:
    size = max(12, round(picture.width / 24))
    strip, margin = round(size * 1.9), round(size * 0.45)
    font = ImageFont.load_default(size * 0.92)
    canvas = Image.new("RGB", (picture.width, picture.height + strip), DARK)
    canvas.paste(picture)
    draw = ImageDraw.Draw(canvas)
    word, colour = ("ANOMALY", _RED) if detection.is_anomalous else ("NORMAL", _GREEN)
    decision = f"{word} {detection.confidence:.1%}"
    end = draw.textlength(decision, font) + 2 * margin
    draw.rectangle((0, picture.height, end, canvas.height), fill=colour)
    middle = picture.height + strip / 2
    draw.text((margin, middle), decision, fill=LIGHT, font=font, anchor="lm")
    room = picture.width - end - 2 * margin
    draw.text((end + margin, middle), shortened(draw, title, font, room), fill=LIGHT, font=font, anchor="lm")
    return canvas


def shortened(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float
) -> str:
    """The text's end, behind an ellipsis, where all of it takes more than `room` pixels."""
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength("…" + text, font) > room:
        text = text[1:]
    return "…" + text if text else ""
