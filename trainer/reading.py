"""The images of a training: fetched, checked and prepared in a small thread pool, ahead of their use."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from gpu.images import ImageError, ImageHeader, ImageLimits, decode_mask, prepare, probe
from storage.errors import ObjectError
from storage.manifest import Mask
from storage.objects import Objects, parse_s3
from storage.settings import MEBIBYTE, Settings
from trainer.dataset import Labels, Sample, TrainingError

_THREADS = min(8, os.cpu_count() or 1)
_AHEAD = 32  # prepared images that may wait: bounds the memory, and hides the latency of the object store
_ANY_SIZE = (256, 256)  # whether an image can be decoded does not depend on it
_NAMED = 5  # problems told in a message
_In = TypeVar("_In")
_Out = TypeVar("_Out")
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Prepared:
    """A sample at the network's input size: image uint8 (3, H, W), mask of label ids uint8 (H, W) where it has one."""

    sample: Sample
    image: Tensor
    mask: Tensor | None


def limits_of(settings: Settings) -> ImageLimits:
    """The settings' limits of an image file."""
    return ImageLimits(settings.max_image_bytes, settings.min_image_side, settings.max_image_side)


class Reading:
    """All samples of a training, checked as a whole: one bad image is reported together with all the others."""

    def __init__(self, objects: Objects, samples: Sequence[Sample], settings: Settings, progress: Progress) -> None:
        self._objects, self._samples, self._progress = objects, samples, progress
        self._limits, self._refuse = limits_of(settings), settings.dimensions == "refuse"

    def dimensions(self) -> dict[str, tuple[int, int]]:
        """Reference → (width, height) of each image, from its header. Raises TrainingError."""
        found: dict[str, tuple[int, int]] = {}
        headers = _in_order(self._header, self._samples)
        for number, (sample, header) in enumerate(zip(self._samples, headers, strict=True), 1):
            self._progress("Reading images", number / len(self._samples))
            if isinstance(header, str):
                self._give_up()
            else:
                found[sample.reference] = header
        sizes = list(found.items())
        other = next((item for item in sizes if item[1] != sizes[0][1]), None)
        if self._refuse and other is not None:
            (first, size), (second, different) = sizes[0], other
            raise TrainingError(
                f"Images in the dataset must have the same dimensions. {first} has {size[0]} × {size[1]} pixels, "
                f"{second} has {different[0]} × {different[1]}."
            )
        return found

    def prepared(self, samples: Sequence[Sample], size: tuple[int, int], labels: Labels | None) -> Iterator[Prepared]:
        """The samples at input size (H, W), in their order. Raises TrainingError at the first that is not readable."""
        for result in _in_order(lambda sample: self._prepare(sample, size, labels), samples):
            if isinstance(result, str):
                self._give_up()
            else:
                yield result

    def _give_up(self) -> None:
        """Check everything, however bad, and raise TrainingError that tells how much is wrong and what first."""
        total, problems = len(self._samples), []
        for number, (sample, result) in enumerate(
            zip(self._samples, _in_order(self._check, self._samples), strict=True), 1
        ):
            self._progress("Checking images", number / total)
            if isinstance(result, str):
                problems.append(f"{sample.reference}: {result}")
        count = len(problems)
        if not count:
            raise TrainingError("The images changed while they were read. Train again once they stay as they are.")
        named = "\n".join(problems[:_NAMED])
        more = f"\nand {count - _NAMED} more" if count > _NAMED else ""
        what = "1 image cannot" if count == 1 else f"{count:,} images cannot"
        raise TrainingError(f"{what} be used, of {total:,} that are labelled.\n{named}{more}")

    def _header(self, sample: Sample) -> tuple[int, int] | str:
        try:
            header = probe(self._fetch(sample.reference), self._limits)
        except (ImageError, ObjectError) as error:
            return str(error)
        return header.width, header.height

    def _check(self, sample: Sample) -> str | None:
        try:
            _, header = prepare(self._fetch(sample.reference), _ANY_SIZE, self._limits)
            if sample.mask is not None:
                self._decode_mask(sample.mask, header)
        except (ImageError, ObjectError) as error:
            return str(error)
        return None

    def _prepare(self, sample: Sample, size: tuple[int, int], labels: Labels | None) -> Prepared | str:
        try:
            image, header = prepare(self._fetch(sample.reference), size, self._limits)
            mask = None
            if labels is not None and sample.mask is not None:
                ids = torch.tensor((0, *labels.ids(sample.mask)), dtype=torch.uint8)
                mask = _nearest(ids[self._decode_mask(sample.mask, header).long()], size)
        except (ImageError, ObjectError) as error:
            return str(error)
        return Prepared(sample, image, mask)

    def _decode_mask(self, mask: Mask, header: ImageHeader) -> Tensor:
        try:
            ids = decode_mask(self._fetch(mask.reference), mask.colours, self._limits)
        except ImageError as error:
            raise ImageError(f"its mask {mask.reference}: {error}") from None
        if ids.shape != (header.height, header.width):
            raise ImageError(
                f"its mask {mask.reference} has {ids.shape[1]} × {ids.shape[0]} pixels, the image "
                f"{header.width} × {header.height}; draw the mask on the image at its own size"
            )
        return ids

    def _fetch(self, reference: str) -> bytes:
        bucket, key = parse_s3(reference)
        size = self._objects.size(bucket, key)
        if size is not None and size > self._limits.max_bytes:
            most = self._limits.max_bytes / MEBIBYTE
            raise ImageError(f"the file has {size / MEBIBYTE:.1f} MiB; at most {most:.1f} MiB are allowed")
        return self._objects.get(bucket, key)


def _nearest(ids: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(ids[None, None], size, mode="nearest-exact")[0, 0]


def _in_order(function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """Results in the order of the items, computed a bounded way ahead."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="reading") as pool:
        running: deque[Future[_Out]] = deque()
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) >= _AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
