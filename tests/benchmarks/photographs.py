"""The photographs of an arrangement as an object store, so that a training reads them as it reads a plant's."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from api.cli.masks import colour_of
from gpu.images import ImageLimits, decode
from storage.errors import NoSuchObject, ObjectError
from storage.manifest import Mask
from storage.records import Stored
from tests.benchmarks.datasets import Photo
from trainer.dataset import Sample

LIMITS = ImageLimits(max_bytes=1 << 30, min_side=32, max_side=1 << 14)  # a benchmark refuses no image for its size
_BUCKET, _MASK = "photographs", "mask/"


class ReadOnly:
    """What an object store does that only gives."""

    def put(self, bucket: str, key: str, data: bytes) -> Stored:
        """Nothing is stored here."""
        raise ObjectError(f"{bucket}/{key} ({len(data)} bytes): images of a benchmark are only read")

    def delete(self, bucket: str, key: str) -> None:
        """Nothing is removed here."""
        raise ObjectError(f"{bucket}/{key}: images of a benchmark are only read")

    def check(self) -> None:
        """Always there."""


class Photographs(ReadOnly):
    """Read-only. Masks are there in the colour of their label, as `vigil import` stores them."""

    def __init__(self, photos: Iterable[Photo]) -> None:
        self._photos = {str(photo.path): photo for photo in photos}

    def samples(self, photos: Iterable[Photo]) -> list[Sample]:
        """What a manifest would say of them."""
        return [self._sample(photo) for photo in photos]

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes:  # noqa: ARG002
        """The bytes of a file, or of a coloured mask. Raises NoSuchObject."""
        photo = self._photos.get(key.removeprefix(_MASK))
        if photo is None or bucket != _BUCKET:
            raise NoSuchObject(f"{key} is not one of the photographs")
        if key.startswith(_MASK) and photo.mask is not None and photo.defect is not None:
            colour = np.array(list(bytes.fromhex(colour_of(photo.defect)[1:])), np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(read_mask(photo.mask)[..., None] * colour).save(buffer, "PNG")
            return buffer.getvalue()
        return photo.path.read_bytes()

    def size(self, bucket: str, key: str, version: str | None = None) -> int | None:
        """Length in bytes."""
        return len(self.get(bucket, key, version))

    def keys(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """All photographs."""
        return (key for key in sorted(self._photos) if bucket == _BUCKET and key.startswith(prefix))

    @staticmethod
    def _sample(photo: Photo) -> Sample:
        mask = None
        if photo.mask is not None and photo.defect is not None:
            mask = Mask(f"s3://{_BUCKET}/{_MASK}{photo.path}", {photo.defect: colour_of(photo.defect)})
        return Sample(f"s3://{_BUCKET}/{photo.path}", photo.defect is not None, mask, {})


def read_image(photo: Photo) -> Tensor:
    """uint8 (3, H, W), decoded as a replica decodes it."""
    return decode(photo.path.read_bytes(), LIMITS)


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """(H, W): where the mask is not black. What is more transparent than not belongs to the smoothed edge outside."""
    with Image.open(path) as file:
        rgba = np.asarray(file.convert("RGBA"))
    marked: npt.NDArray[np.bool_] = rgba[..., :3].any(axis=2) & (rgba[..., 3] > 127)
    return marked
