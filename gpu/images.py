"""Bytes → uint8 tensor → normalised batch: one code path for training and for detection."""

from collections.abc import Mapping
from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from gpu.image_header import LIMITS, ImageError, ImageFile, ImageHeader, ImageLimits, probe, read_file

__all__ = [
    "ImageError",
    "ImageHeader",
    "ImageLimits",
    "decode",
    "decode_mask",
    "input_size",
    "normalise",
    "prepare",
    "probe",
    "resize",
]

_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as torchvision's weights expect
_STD = (0.229, 0.224, 0.225)
_STRIDE = 32  # the input's sides are multiples of it, so that every layer's grid divides them
_LONGEST = 4  # the long side is at most this many times the short one, which bounds memory for strips
_TURNED = 5  # the first EXIF orientation with width and height exchanged
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, limits: ImageLimits = LIMITS) -> Tensor:
    """A JPEG or PNG file → uint8 (3, H, W), RGB as a person sees it: upright, transparency on white.

    The limits are checked on the header, before any pixel is decoded. Raises ImageError for anything it cannot use.
    """
    pixels = _pixels(read_file(data, limits), transparency=True)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def prepare(data: bytes, size: tuple[int, int], limits: ImageLimits = LIMITS) -> tuple[Tensor, ImageHeader]:
    """A JPEG or PNG file → uint8 (3, h, w) at the network's input size (h, w), and what its header says.

    As decode and resize do it, but a JPEG whose half, quarter or eighth still has twice the pixels along both sides is
    decoded at that size, which takes a fraction of the time. Raises ImageError for anything it cannot use.
    """
    file = read_file(data, limits)
    pixels = _pixels(file, transparency=True, least=(2 * size[0], 2 * size[1]))
    return resize(torch.from_numpy(pixels).permute(2, 0, 1), size).contiguous(), file.header


def decode_mask(data: bytes, colours: Mapping[str, str], limits: ImageLimits = LIMITS) -> Tensor:
    """A mask PNG → uint8 (H, W) label ids: 0 background, i the i-th label of `colours` (label → "#rrggbb").

    Colours are read without their transparency, because annotation tools smooth edges through it. Black and white are
    background unless a label has them. Raises ImageError for a file that is no PNG and for colours of no label.
    """
    file = read_file(data, limits, transparency=False)
    if file.header.format != "png":
        raise ImageError("The mask is a JPEG file; masks must be PNG, because JPEG changes colours. Save it as PNG.")
    rgb = _pixels(file, transparency=False).astype(np.int32)
    packed = (rgb[:, :, 0] << 16) | (rgb[:, :, 1] << 8) | rgb[:, :, 2]
    labels = {int(colour.removeprefix("#"), 16): index for index, colour in enumerate(colours.values(), start=1)}
    found, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    unknown = [i for i in np.argsort(-counts) if int(found[i]) not in {*labels, 0x000000, 0xFFFFFF}]
    if unknown:
        named = ", ".join(f"#{found[i]:06x}" for i in unknown[:3]) + (" and others" if len(unknown) > 3 else "")
        allowed = ", ".join(f"{colour} ({label})" for label, colour in colours.items()) or "none"
        raise ImageError(
            f"The mask has colours that belong to no label: {named}. Allowed are black, white and the labels' colours: "
            f"{allowed}. Draw the mask without smoothing, or correct the colour map."
        )
    ids = np.array([labels.get(int(colour), 0) for colour in found], dtype=np.uint8)
    return torch.from_numpy(ids[inverse].reshape(packed.shape))


def input_size(width: int, height: int, image_size: int) -> tuple[int, int]:
    """(H, W) of the network's input: aspect ratio kept, the shorter side image_size, both multiples of 32.

    The long side is at most four times the short one; beyond that the image is squeezed along its length.
    """
    short = max(_STRIDE, round(image_size / _STRIDE) * _STRIDE)
    ratio = max(width, height) / min(width, height)
    long = min(max(short, round(short * ratio / _STRIDE) * _STRIDE), _LONGEST * short)
    return (short, long) if width >= height else (long, short)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (3, H, W) → uint8 (3, h, w) for size (h, w); antialiased bilinear.

    Always on the CPU, so that a GPU and a CPU score the same pixels.
    """
    image = image.cpu()
    if image.shape[1:] == size:
        return image
    return functional.interpolate(image.unsqueeze(0), size, mode="bilinear", antialias=True).squeeze(0)


def normalise(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) → float32 with ImageNet's mean and deviation removed, channels last, on the input's device."""
    mean = torch.tensor(_MEAN, device=images.device).mul_(255).view(1, 3, 1, 1)
    std = torch.tensor(_STD, device=images.device).mul_(255).view(1, 3, 1, 1)
    return images.to(torch.float32).sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def _pixels(file: ImageFile, *, transparency: bool, least: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """(H, W, 3) RGB of the checked file, upright; of a JPEG perhaps smaller, but at least (H, W) `least`."""
    try:
        with Image.open(BytesIO(b"".join(file.parts)), formats=(file.header.format,)) as image:
            if least is not None and file.header.format == "jpeg":
                turned = file.orientation >= _TURNED
                image.draft(None, least if turned else (least[1], least[0]))  # width, height as they are stored
            image.load()
            upright = image.transpose(_UPRIGHT[file.orientation]) if file.orientation in _UPRIGHT else image
            return _rgb(upright, transparency=transparency)
    except MemoryError:
        raise
    except Exception as error:  # what a decoder raises on damaged data is not documented, and all of it means the same
        raise ImageError(
            f"The {file.header.format.upper()} file is damaged and cannot be decoded ({error}). Send it again."
        ) from error


def _rgb(image: Image.Image, *, transparency: bool) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits of grey, scaled rather than cut: 65535 is white
        deep = np.asarray(image).astype(np.uint32)
        grey = ((deep + 128) // 257).astype(np.uint8)
        if transparency and "transparency" in image.info:
            grey[deep == image.info["transparency"]] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if transparency and (image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info):
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return np.array(image.convert("RGB"))
