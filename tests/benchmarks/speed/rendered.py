"""Thousands of distinct photographs that lie nowhere: each is made from its number when it is asked for."""

import io
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from gpu.pretraining.scenes import render
from storage.errors import NoSuchObject
from tests.benchmarks.photographs import ReadOnly
from trainer.dataset import Sample

_BUCKET = "rendered"
_QUALITY = 90
_BRIGHTER, _NOISE = 12, 10  # grey levels at most, each way; the noise's deviation is 2
_LOW, _HIGH = _BRIGHTER + _NOISE + 2, 253 - _BRIGHTER - _NOISE  # what the bases keep to, so that no sum overflows
_FIRST_SEED = 50_000  # none of the images that the backbones learned from


def render_bases(path: Path, count: int, side: int) -> None:
    """Store uint8 (count, side, side, 3): rendered at half the size and enlarged, which takes a fifth of the time."""
    bases = np.empty((count, side, side, 3), np.uint8)
    for number in range(count):
        image = Image.fromarray(render(_FIRST_SEED + number, side // 2)).resize((side, side), Image.Resampling.BICUBIC)
        bases[number] = np.asarray(image).clip(_LOW, _HIGH)
    np.save(path, bases)


class Rendered(ReadOnly):
    """Read-only, as an object store. An image is a base, shifted round, perhaps mirrored, brightened, with noise.

    A bad one has a scratch or a stain as well. `making` are the CPU seconds that its images have taken so far, all
    threads together; with `keep` they are made once, before, by `make`.
    """

    def __init__(self, bases: npt.NDArray[np.uint8]) -> None:
        self._bases = bases
        noise = np.random.default_rng(0).normal(0, 2, bases.shape[1:]).round().clip(-_NOISE, _NOISE)
        self._noise = noise.astype(np.int8).view(np.uint8)
        self._kept: dict[str, bytes] = {}
        self.making, self._lock = 0.0, threading.Lock()

    def make(self, samples: Sequence[Sample]) -> None:
        """Make these images now and keep them, so that reading them later costs nothing."""
        with ThreadPoolExecutor() as pool:
            keys = [sample.reference.removeprefix(f"s3://{_BUCKET}/") for sample in samples]
            self._kept = dict(zip(keys, pool.map(lambda key: self.get(_BUCKET, key), keys), strict=True))

    @staticmethod
    def samples(first: int, count: int, *, bad: bool = False) -> list[Sample]:
        """What a manifest would say of the images with these numbers."""
        kind = "bad" if bad else "good"
        return [Sample(f"s3://{_BUCKET}/{kind}/{n:06}.jpg", bad, None, {}) for n in range(first, first + count)]

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes:  # noqa: ARG002
        """The bytes of a JPEG file, always the same for the same key. Raises NoSuchObject."""
        if key in self._kept:
            return self._kept[key]
        kind, _, name = key.partition("/")
        if bucket != _BUCKET or kind not in ("good", "bad"):
            raise NoSuchObject(f"{key} is not one of the rendered images")
        started = time.thread_time()
        data = self._render(int(name.removesuffix(".jpg")), bad=kind == "bad")
        with self._lock:
            self.making += time.thread_time() - started
        return data

    def size(self, bucket: str, key: str, version: str | None = None) -> int | None:  # noqa: ARG002
        """Not known before it is made."""
        return None

    def keys(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """Those that are kept."""
        return (key for key in sorted(self._kept) if bucket == _BUCKET and key.startswith(prefix))

    def _render(self, number: int, *, bad: bool) -> bytes:
        random = np.random.default_rng((number, bad))
        picture = _shifted(self._bases[number % len(self._bases)], random)
        if random.random() < 0.5:
            picture = picture[:, ::-1]
        level = np.uint8(int(random.integers(-_BRIGHTER, _BRIGHTER + 1)) % 256)
        # Sums modulo 256 are right, because the bases keep away from both ends.
        image = Image.fromarray(picture + (_shifted(self._noise, random) + level))
        if bad:
            _damage(image, random)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()


def _shifted(picture: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What leaves on one side comes in on the other."""
    down, across = (int(length) for length in random.integers(0, picture.shape[:2]))
    return np.roll(picture, (down, across), axis=(0, 1))


def _damage(image: Image.Image, random: np.random.Generator) -> None:
    """A scratch or a stain, dark or light, of some percent of the image's width."""
    side = image.width
    colour = (int(random.choice([15, 240])),) * 3
    x, y = random.uniform(0.15, 0.85, 2) * side
    draw = ImageDraw.Draw(image)
    if random.random() < 0.5:
        angle, length = random.uniform(0, np.pi), random.uniform(0.05, 0.12) * side
        run, rise = np.cos(angle) * length, np.sin(angle) * length
        draw.line((x - run, y - rise, x + run, y + rise), colour, width=max(2, round(0.006 * side)))
    else:
        wide, high = random.uniform(0.015, 0.035, 2) * side
        draw.ellipse((x - wide, y - high, x + wide, y + high), colour)
