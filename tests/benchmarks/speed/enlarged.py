"""Photographs of a data set as 1024 × 1024 JPEG files, as a line camera sends them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.benchmarks.arrangement import arrange
from tests.benchmarks.datasets import DataSet, Photo

_QUALITY = 90
_SEED = 0  # of which photographs are taken, where there are more than are wanted


@dataclass(frozen=True)
class Enlarged:
    """Files: good ones to learn from, good and bad ones to judge."""

    train: list[str]
    good: list[str]
    bad: list[str]

    @property
    def test(self) -> list[str]:
        """All that are judged."""
        return [*self.good, *self.bad]

    @property
    def truth(self) -> list[bool]:
        """Which of them are bad."""
        return [False] * len(self.good) + [True] * len(self.bad)


def enlarge(data: DataSet, folder: Path, train: int, test: int, side: int) -> Enlarged:
    """Write at most `train` photographs to learn from and `test` of each kind to judge, side × side pixels."""
    arranged = arrange(data, _SEED, 0)
    good = [photo for photo in arranged.test if photo.defect is None]
    bad = [photo for photo in arranged.test if photo.defect is not None]
    parts = {"train": _spaced(arranged.train, train), "good": _spaced(good, test), "bad": bad[:test]}
    return Enlarged(**{name: _write(photos, folder / name, side) for name, photos in parts.items()})


def _spaced(photos: Sequence[Photo], count: int) -> list[Photo]:
    """So many of them, evenly over all: neighbours in a folder are often of one part."""
    if len(photos) <= count:
        return list(photos)
    return [photos[number * len(photos) // count] for number in range(count)]


def _write(photos: Sequence[Photo], folder: Path, side: int) -> list[str]:
    folder.mkdir(parents=True)
    written = []
    for number, photo in enumerate(photos):
        path = folder / f"{number:04}.jpg"
        with Image.open(photo.path) as image:
            enlarged = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        enlarged.save(path, quality=_QUALITY)
        written.append(str(path))
    return written
