"""Images as a person sees them, whatever the file does; and a clear refusal of what is no image."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gpu.images import (
    ImageError,
    ImageHeader,
    ImageLimits,
    decode,
    decode_mask,
    input_size,
    normalise,
    prepare,
    probe,
    resize,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def png(image: Image.Image, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", **({"quality": 95, "subsampling": 0} | options))
    return out.getvalue()


def quarters(mode: str = "RGB") -> Image.Image:
    """96 × 64 with four colours, so that every rotation shows."""
    image = Image.new("RGB", (96, 64), RED)
    image.paste(GREEN, (48, 0, 96, 32))
    image.paste(BLUE, (0, 32, 48, 64))
    return image.convert(mode)


def seen(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def header(width: int, height: int) -> bytes:
    """A PNG that promises width × height pixels and brings a few bytes."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 99))]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_png_and_jpeg_decode_to_their_pixels() -> None:
    image = quarters()
    assert torch.equal(decode(png(image)), seen(image))
    difference = decode(jpeg(image)).int() - seen(image).int()
    assert difference.abs().float().mean() < 2
    assert decode(jpeg(image)).dtype == torch.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("write", [png, jpeg])
def test_exif_orientation_is_applied(orientation: int, write: object) -> None:
    image, exif = quarters(), Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", orientation
    data = write(image, exif=exif)  # type: ignore[operator]
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert torch.equal(decode(data), seen(upright))
    found = probe(data)
    assert (found.width, found.height) == upright.size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("side", "mode"), [(96, "RGB"), (640, "RGB"), (1000, "L"), (1000, "CMYK")])
def test_a_prepared_image_is_the_decoded_one_resized(orientation: int, side: int, mode: str) -> None:
    image, exif = quarters().resize((side, side * 2 // 3), Image.Resampling.BICUBIC).convert(mode), Image.Exif()
    exif[0x0112] = orientation
    data, size = jpeg(image, exif=exif), (64, 96) if orientation < 5 else (96, 64)
    found, told = prepare(data, size)
    assert found.shape == (3, *size)
    assert told == probe(data)
    difference = (found.int() - resize(decode(data), size).int()).abs()
    assert int(difference.max()) <= (0 if side == 96 else 24)  # at the edges of the quarters
    assert float(difference.float().mean()) < 0.5
    lossless = png(image.convert("RGB"))
    assert torch.equal(prepare(lossless, size)[0], resize(decode(lossless), size))


def test_probe_names_format_and_size() -> None:
    assert probe(png(quarters())) == ImageHeader("png", 96, 64)
    assert probe(jpeg(quarters(), progressive=True)) == ImageHeader("jpeg", 96, 64)


def test_sixteen_bit_grey_is_scaled_not_cut() -> None:
    deep = np.full((64, 64), 257 * 100, dtype=np.uint16)
    deep[0, 0], deep[0, 1] = 65535, 300
    found = decode(png(Image.fromarray(deep)))
    assert found[:, 0, 0].tolist() == [255] * 3
    assert found[:, 0, 1].tolist() == [1] * 3
    assert found[:, 1, 1].tolist() == [100] * 3


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_modes_without_transparency(mode: str) -> None:
    image = quarters(mode)
    assert torch.equal(decode(png(image)), seen(image))


def test_cmyk_jpeg_keeps_its_colours() -> None:
    found = decode(jpeg(quarters("CMYK"))).int()
    assert (found - seen(quarters()).int()).abs().float().mean() < 3


def test_transparency_is_white() -> None:
    image = quarters("RGBA")
    image.putpixel((0, 0), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 127))
    found = decode(png(image))
    assert found[:, 0, 0].tolist() == list(WHITE)
    assert found[:, 0, 1].tolist() == [255, 128, 128]
    grey = Image.new("LA", (64, 64), (10, 0))
    assert decode(png(grey)).unique().tolist() == [255]


def test_transparent_palette_entries_are_white() -> None:
    palette = quarters().quantize(4)
    transparent = palette.getpixel((0, 0))
    bytewise = bytes(0 if i == transparent else 255 for i in range(4))
    for transparency in (transparent, bytewise):
        found = decode(png(palette, transparency=transparency))
        assert found[:, 0, 0].tolist() == list(WHITE)
        assert found[:, 0, 60].tolist() == list(GREEN)


def test_what_is_no_jpeg_or_png_is_refused_by_its_first_bytes() -> None:
    out = BytesIO()
    quarters().save(out, "GIF")
    with pytest.raises(ImageError, match="neither a JPEG nor a PNG"):
        decode(out.getvalue())
    with pytest.raises(ImageError, match="begins with nothing"):
        decode(b"")


def test_a_bomb_is_refused_on_its_header() -> None:
    with pytest.raises(ImageError, match="60000 × 60000 pixels"):
        decode(header(60000, 60000))
    with pytest.raises(ImageError, match="at least 64 × 64"):
        probe(header(63, 64))
    with pytest.raises(ImageError, match=r"has 1,\d\d\d bytes; at most 1,000"):
        decode(png(quarters()) + bytes(1000), ImageLimits(max_bytes=1000))


def test_fewer_pixels_than_promised_are_refused() -> None:
    with pytest.raises(ImageError, match="damaged"):
        decode(header(128, 128))


@pytest.mark.parametrize("data", [png(quarters()), jpeg(quarters()), jpeg(quarters(), progressive=True)])
def test_truncated_files_are_refused(data: bytes) -> None:
    for length in (12, len(data) // 3, len(data) // 2, len(data) - 3):
        with pytest.raises(ImageError, match="complete file"):
            decode(data[:length])


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(png(quarters()))
    data[data.index(b"IDAT") + 9] ^= 1
    with pytest.raises(ImageError, match="checksum of its part IDAT"):
        decode(bytes(data))


@pytest.mark.parametrize("write", [png, jpeg])
def test_damaged_metadata_harms_nobody(write: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = exif.tobytes()
    for damaged in (b"Exif\0\0", whole[:9], whole[:-7], whole.replace(b"II*", b"XX*"), b"Exif\0\0" + b"\xff" * 40):
        assert decode(write(quarters(), exif=damaged)).shape[0] == 3  # type: ignore[operator]


SEEDS = [png(quarters()), png(quarters("P")), png(quarters("RGBA")), jpeg(quarters()), jpeg(quarters("CMYK"))]


@settings(max_examples=300, deadline=None)
@example(0, [(8, 0)], 0)
@given(
    st.integers(0, len(SEEDS) - 1),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    st.integers(0, 300),
)
def test_any_change_to_a_file_decodes_or_raises_image_error(
    seed: int, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(SEEDS[seed])
    for position, value in changes:
        data[position % len(data)] = value
    data = data[: len(data) - cut]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = decode(bytes(data))
        except ImageError:
            return
    assert found.dtype == torch.uint8
    assert found.shape[0] == 3


@given(st.binary(max_size=200))
def test_any_bytes_raise_image_error(data: bytes) -> None:
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
        with pytest.raises(ImageError):
            decode(start + data)


@given(st.integers(64, 4096), st.integers(64, 4096), st.integers(32, 640))
def test_input_sizes_fit_the_network(width: int, height: int, image_size: int) -> None:
    h, w = input_size(width, height, image_size)
    assert h % 32 == w % 32 == 0
    assert abs(min(h, w) - image_size) <= 16 or min(h, w) == 32
    assert max(h, w) <= 4 * min(h, w)
    assert (h >= w) == (height >= width) or h == w
    if max(width, height) <= 4 * min(width, height):
        assert abs(max(h, w) - min(h, w) * max(width, height) / min(width, height)) <= 16


def test_resize_is_antialiased_and_keeps_a_fitting_image() -> None:
    checks = ((torch.arange(64).view(-1, 1) + torch.arange(64)) % 2 * 255).to(torch.uint8).expand(3, -1, -1)
    assert resize(checks, (64, 64)) is checks
    small = resize(checks, (16, 16))
    assert small.shape == (3, 16, 16)
    assert (small.int() - 127).abs().max() <= 4


def test_normalise_removes_imagenets_mean_and_deviation() -> None:
    images = torch.tensor([0.485, 0.456, 0.406]).mul(255).round().to(torch.uint8).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    found = normalise(images)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.abs().max() < 0.01


COLOURS = {"crack": "#23A436", "dent": "#1f77b4"}


def test_masks_become_label_ids() -> None:
    mask = Image.new("RGB", (80, 64), "white")
    mask.paste("#23a436", (0, 0, 10, 10))
    mask.paste("#1F77B4", (20, 0, 30, 10))
    mask.paste("black", (40, 0, 50, 10))
    found = decode_mask(png(mask), COLOURS)
    assert found.dtype == torch.uint8
    assert found.shape == (64, 80)
    assert [int(found[5, x]) for x in (5, 25, 45, 70)] == [1, 2, 0, 0]


def test_colours_count_whatever_their_transparency() -> None:
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    for alpha in range(60):
        mask.putpixel((alpha, 0), (0x23, 0xA4, 0x36, alpha))
    assert int((decode_mask(png(mask), COLOURS) == 1).sum()) == 60
    palette = mask.convert("RGB").quantize(2)
    found = decode_mask(png(palette, transparency=bytes([0, 0])), COLOURS)
    assert int((found == 1).sum()) == 60


def test_foreign_colours_in_a_mask_are_named() -> None:
    mask = Image.new("RGB", (64, 64), "black")
    for x, colour in enumerate(["#ff0000", "#ff0000", "#00ff00", "#0000ff", "#00ffff"]):
        mask.paste(colour, (x, 0, x + 1, 20 - x))
    with pytest.raises(ImageError, match=r"#ff0000, #00ff00, #0000ff and others\. .*#23A436 \(crack\)"):
        decode_mask(png(mask), COLOURS)


def test_a_jpeg_mask_is_refused() -> None:
    with pytest.raises(ImageError, match="masks must be PNG"):
        decode_mask(jpeg(quarters()), COLOURS)
