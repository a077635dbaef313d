"""What an image file says of itself before a pixel is decoded: format, size, orientation, where its pixels are."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers; the three define tables or are reserved
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)  # of a segment with a length; stray bytes are skipped


class ImageError(ValueError):
    """The image cannot be used; the message says what is wrong, what is allowed and what to do about it."""


@dataclass(frozen=True)
class ImageLimits:
    """The largest file (bytes) and the shortest and longest side (pixels) that are accepted."""

    max_bytes: int = 8 * 1024 * 1024
    min_side: int = 64
    max_side: int = 4096


LIMITS = ImageLimits()


@dataclass(frozen=True)
class ImageHeader:
    """Format and size in pixels, as a person sees the image, that is, after its EXIF rotation."""

    format: Literal["jpeg", "png"]
    width: int
    height: int


@dataclass(frozen=True)
class ImageFile:
    """A checked file: its header, its EXIF orientation (1 to 8), and the byte ranges that carry pixels.

    Everything else (thumbnails, colour profiles, comments, previews) is left out of `parts`, so that a decoder never
    reads what could only mislead it.
    """

    header: ImageHeader
    orientation: int
    parts: tuple[memoryview, ...]


def probe(data: bytes, limits: ImageLimits = LIMITS) -> ImageHeader:
    """Format and size from the header alone; no pixel is decoded. Raises ImageError."""
    return read_file(data, limits).header


def read_file(data: bytes, limits: ImageLimits, *, transparency: bool = True) -> ImageFile:
    """Check a JPEG or PNG file against the limits, from its structure alone. Raises ImageError.

    With transparency=False a PNG's tRNS chunk is left out, so that palette entries keep their colour.
    """
    if len(data) > limits.max_bytes:
        raise ImageError(
            f"The image file has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed. "
            "Save it as JPEG, or with fewer pixels."
        )
    try:
        if data.startswith(_PNG):
            file = _png(data, transparency)
        elif data.startswith(_JPEG):
            file = _jpeg(data)
        else:
            raise ImageError(
                f"The file is neither a JPEG nor a PNG image (it begins with {data[:8].hex(' ') or 'nothing'}). "
                "Only JPEG and PNG are accepted, whatever the file is called; save it as one of them."
            )
    except IndexError:
        raise ImageError("The image file ends in the middle of its header. Send the complete file again.") from None
    width, height = file.header.width, file.header.height
    if not (limits.min_side <= min(width, height) and max(width, height) <= limits.max_side):
        raise ImageError(
            f"The image is {width} × {height} pixels; it must be at least {limits.min_side} × {limits.min_side} and "
            f"at most {limits.max_side} × {limits.max_side}. Resize or crop it."
        )
    return file


def _png(data: bytes, transparency: bool) -> ImageFile:
    view, wanted = memoryview(data), {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | ({b"tRNS"} if transparency else set())
    parts, orientation, position = [view[:8]], 1, 8
    kinds: list[bytes] = []
    while not kinds or kinds[-1] != b"IEND":
        length, kind = int.from_bytes(view[position : position + 4], "big"), bytes(view[position + 4 : position + 8])
        chunk = view[position : position + 12 + length]
        if len(chunk) < 12 + length:
            raise ImageError("The PNG file is cut off before its end. Send the complete file again.")
        if kind in wanted:
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise ImageError(
                    f"The PNG file is damaged: the checksum of its part {kind.decode()} is wrong. Send it again."
                )
            parts.append(chunk)
        elif kind == b"eXIf":
            orientation = _orientation(bytes(chunk[8:-4]))
        kinds.append(kind)
        position += 12 + length
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") > 1 or len(parts[1]) != 25 or b"IDAT" not in kinds:
        raise ImageError("The PNG file is damaged: it has no header or no pixels. Send it again.")
    width, height = int.from_bytes(parts[1][8:12], "big"), int.from_bytes(parts[1][12:16], "big")
    return ImageFile(_upright("png", width, height, orientation), orientation, tuple(parts))


def _jpeg(data: bytes) -> ImageFile:
    view, parts, orientation, width, height = memoryview(data), [memoryview(data)[:2]], 1, 0, 0
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            height, width = (int.from_bytes(data[at : at + 2], "big") for at in (start + 5, start + 7))
        if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
            orientation = _orientation(data[start + 10 : end])
        if marker == 0xDA:
            if data.rfind(b"\xff\xd9") < end:
                raise ImageError("The JPEG file is cut off before its end. Send the complete file again.")
            parts.append(view[start:])
            break
        # Of the application segments only JFIF (E0) and Adobe (EE) say how to decode the colours.
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(view[start:end])
    return ImageFile(_upright("jpeg", width, height, orientation), orientation, tuple(parts))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, first byte, byte after the last) of each segment of a JPEG file, up to and with the first scan."""
    marker, end = 0, 2
    while marker != 0xDA:
        found = _MARKER.search(data, end)
        if found is None:
            raise IndexError(end)
        marker, start = data[found.start() + 1], found.start()
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if not start + 4 <= end <= len(data):
            raise IndexError(end)
        yield marker, start, end


def _upright(kind: Literal["jpeg", "png"], width: int, height: int, orientation: int) -> ImageHeader:
    return ImageHeader(kind, height, width) if orientation >= 5 else ImageHeader(kind, width, height)


def _orientation(tiff: bytes) -> int:
    """The EXIF orientation (tag 0x0112, EXIF 2.32 §4.6.4), 1 where there is none or it makes no sense."""
    order: Literal["little", "big"] | None = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])  # type: ignore[assignment]
    if order is None:
        return 1
    start = int.from_bytes(tiff[4:8], order)
    for entry in range(int.from_bytes(tiff[start : start + 2], order)):
        field = tiff[start + 2 + 12 * entry : start + 14 + 12 * entry]
        if len(field) == 12 and int.from_bytes(field[:2], order) == 0x0112:
            value = int.from_bytes(field[8:10], order)
            return value if 1 <= value <= 8 else 1
    return 1
