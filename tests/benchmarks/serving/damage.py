"""Image files that no camera would send: whole ones of every kind, and those with something wrong."""

import io
import random
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK")
_SMALLEST, _LARGEST = 64, 400  # pixels of a side


def damaged(photos: Sequence[Path], folder: Path, count: int, seed: int) -> tuple[Path, ...]:
    """So many files in the folder: JPEG and PNG of every colour mode, most of them with bytes changed, cut or doubled.

    A PNG's checksums are put right after a change as often as not, so that the damage gets past them.
    """
    folder.mkdir(parents=True)
    draw, paths = random.Random(seed), []  # noqa: S311 - reproducible, not secret
    for number in range(count):
        data = _whole(photos, draw)
        for _ in range(draw.choice((0, 0, 1, 1, 3))):
            data = _changed(data, draw)
        if data.startswith(b"\x89PNG") and draw.random() < 0.5:
            data = _with_checksums(data)
        paths.append(folder / f"{number:05}.bin")
        paths[-1].write_bytes(data)
    return tuple(paths)


def _whole(photos: Sequence[Path], draw: random.Random) -> bytes:
    mode, size = draw.choice(_MODES), (draw.randint(_SMALLEST, _LARGEST), draw.randint(_SMALLEST, _LARGEST))
    with Image.open(draw.choice(photos)) as photo:
        image = photo.convert("L").resize(size).convert("I;16") if mode == "I;16" else photo.resize(size).convert(mode)
    kind = "JPEG" if mode in ("L", "RGB", "CMYK") and draw.random() < 0.7 else "PNG"
    more: dict[str, object] = {}
    if kind == "JPEG":
        exif = Image.Exif()
        exif[0x0112] = draw.randint(0, 9)
        more = {"exif": exif, "progressive": draw.random() < 0.3, "quality": draw.randint(1, 95)}
    elif mode == "CMYK":
        image = image.convert("RGB")
    written = io.BytesIO()
    image.save(written, kind, **more)
    return written.getvalue()


def _changed(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    # Headers are short, and most of what can go wrong is there.
    at = draw.randrange(min(len(changed), draw.choice((64, 1024, len(changed), len(changed)))))
    match draw.choice(("byte", "number", "cut", "drop", "double", "noise")):
        case "byte":
            changed[at] = draw.randrange(256)
        case "number":
            changed[at : at + 4] = struct.pack(">I", draw.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, draw.getrandbits(32))))
        case "cut":
            del changed[max(at, 1) :]
        case "drop":
            del changed[at : at + draw.randint(1, 64)]
        case "double":
            end = at + draw.randint(1, 4096)
            changed[at:at] = changed[at:end]
        case _:
            changed[at : at + 16] = draw.randbytes(16)
    return bytes(changed) or b"\0"


def _with_checksums(data: bytes) -> bytes:
    fixed, position = bytearray(data), 8
    while position + 12 <= len(fixed):
        length = int.from_bytes(fixed[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[position + 4 : end]))
        position = end + 4
    return bytes(fixed)
