"""JPEGs of the sizes that cameras send, made from the photographs of a data set by resizing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.benchmarks.datasets import DataSet, Photo

SIZES = {"640 × 480": (640, 480), "1024 × 1024": (1024, 1024)}
TRAINED = "640 × 480"  # the size of the photographs that models learn from
_QUALITY = 90


@dataclass(frozen=True)
class Pictures:
    """Files: normal and anomalous ones to learn from, and by the name of the size those that are sent."""

    normal: tuple[Path, ...]
    anomalous: tuple[Path, ...]
    sent: dict[str, tuple[Path, ...]]


def make_pictures(data: DataSet, folder: Path, normal: int, anomalous: int, sent: int) -> Pictures:
    """At most so many of each kind; those that are sent are other photographs than those that are learned from."""
    asked = [photo for pair in zip(data.good, data.bad[anomalous:], strict=False) for photo in pair][:sent]
    sizes = {name: _resized(asked, size, folder / f"sent-{size[0]}") for name, size in SIZES.items()}
    trained = SIZES[TRAINED]
    return Pictures(
        _resized(data.train[:normal], trained, folder / "normal"),
        _resized(data.bad[:anomalous], trained, folder / "anomalous"),
        sizes,
    )


def _resized(photos: Sequence[Photo], size: tuple[int, int], folder: Path) -> tuple[Path, ...]:
    folder.mkdir(parents=True)
    made = []
    for number, photo in enumerate(photos):
        with Image.open(photo.path) as image:
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(
                path := folder / f"{number:04}.jpg", quality=_QUALITY
            )
        made.append(path)
    return tuple(made)
