"""The strongest region of an anomalous image beside the normal patch that it is nearest to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from api.cli.overlay import DARK, LIGHT, load_image, shortened
from storage.errors import ObjectError, Unreachable
from storage.objects import Objects, parse_s3

_AROUND = 8  # sides of the patch that are shown: the network saw more than the patch, and a person needs some context

Region = Mapping[str, Any]
ReadImage = Callable[[str], bytes | None]  # source-ref → the image, None where it cannot be read here


def training_images(objects: Objects | None) -> ReadImage:
    """Reads training images from the store, where there is one; one that is gone is no error, as its name is told."""

    def read(reference: str) -> bytes | None:
        try:
            return None if objects is None else objects.get(*parse_s3(reference))
        except (ObjectError, Unreachable):
            return None

    return read


def describe_regions(regions: Sequence[Region]) -> str:
    """A line for each region: where it is, and the normal patch that its strongest patch is nearest to."""
    return "\n".join(_line(region) for region in regions)


def add_comparison(overlay: Image.Image, image: bytes, region: Region, read: ReadImage) -> Image.Image:
    """The overlay with a strip below: the patch at the region's peak, and the nearest normal one, each outlined.

    Where the training image cannot be read, the strip has its name alone. A region without a nearest patch adds
    nothing. Raises OSError where a file is no image.
    """
    nearest = region.get("NearestNormal")
    if nearest is None:
        return overlay
    side = overlay.width // 2
    size = max(12, round(overlay.width / 32))
    canvas = Image.new("RGB", (overlay.width, overlay.height + side + 2 * size), DARK)
    canvas.paste(overlay)
    canvas.paste(_cut(load_image(image), region["Patch"], side), (0, overlay.height))
    normal = read(nearest["SourceRef"])
    if normal is not None:
        canvas.paste(_cut(load_image(normal), nearest["Patch"], side), (canvas.width - side, overlay.height))
    draw, font, margin = ImageDraw.Draw(canvas), ImageFont.load_default(size), size // 2
    words = "most like " if normal is not None else "most like, not found here: "
    room = canvas.width - 2 * margin - draw.textlength(words, font)
    text = words + shortened(draw, nearest["SourceRef"], font, room)
    draw.text((margin, canvas.height - size), text, fill=LIGHT, font=font, anchor="lm")
    return canvas


def _line(region: Region) -> str:
    nearest = region.get("NearestNormal")
    return _place(region["Box"]) + (f", most like {nearest['SourceRef']} {_place(nearest['Patch'])}" if nearest else "")


def _place(box: Mapping[str, int]) -> str:
    return f"{box['Width']} × {box['Height']} at {box['Left']}, {box['Top']}"


def _cut(image: Image.Image, box: Mapping[str, int], side: int) -> Image.Image:
    """(side, side) pixels: a square around the box, of which it is the outlined middle."""
    left, top, width, height = (box[name] for name in ("Left", "Top", "Width", "Height"))
    wide = _AROUND * max(width, height)
    corner = left + (width - wide) // 2, top + (height - wide) // 2
    # What lies beyond the image's edge comes out black.
    cut = image.crop((*corner, corner[0] + wide, corner[1] + wide)).resize((side, side), Image.Resampling.BICUBIC)
    scale = side / wide
    edges = ((left - corner[0]) * scale, (top - corner[1]) * scale)
    outline = (*edges, edges[0] + width * scale, edges[1] + height * scale)
    draw, line = ImageDraw.Draw(cut), max(1, side // 160)
    # A light line inside a dark one is seen on every ground.
    draw.rectangle((outline[0] - line, outline[1] - line, outline[2] + line, outline[3] + line), None, DARK, line)
    draw.rectangle(outline, None, LIGHT, line)
    return cut
