"""Labelled photographs on disk, for benchmarks: which are good parts, which are bad, and where a defect lies."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class Photo:
    """An image file; `defect` is the kind of defect, None for a good part; `mask` a file that is white where it is."""

    path: Path
    defect: str | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class DataSet:
    """Good parts to learn from, and good and bad parts to judge."""

    name: str
    train: tuple[Photo, ...]
    good: tuple[Photo, ...]
    bad: tuple[Photo, ...]


def read_data_set(folder: Path) -> DataSet:
    """A folder in MVTec's layout (train/good, test/KIND, ground_truth/KIND/NAME_mask.png), or AWS's sample of cookies.

    Raises FileNotFoundError for any other.
    """
    if (folder / "template.manifest").exists():
        return _cookies(folder)
    if not (folder / "train" / "good").is_dir():
        raise FileNotFoundError(f"{folder} has no train/good, so it is not in MVTec's layout")
    bad: list[Photo] = []
    for kind in sorted(path.name for path in (folder / "test").iterdir() if path.is_dir() and path.name != "good"):
        for path in _images(folder / "test" / kind):
            mask = folder / "ground_truth" / kind / f"{path.stem}_mask.png"
            bad.append(Photo(path, kind, mask if mask.exists() else None))
    good = tuple(Photo(path) for path in _images(folder / "test" / "good"))
    return DataSet(folder.name, tuple(Photo(path) for path in _images(folder / "train" / "good")), good, tuple(bad))


def read_data_sets(root: Path) -> list[DataSet]:
    """Every data set in a folder of data sets, or the one that the folder is; in the order of their names."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    known = [path for path in folders if (path / "template.manifest").exists() or (path / "train" / "good").is_dir()]
    if not known:
        raise FileNotFoundError(f"{root} holds no data set in MVTec's layout")
    return [read_data_set(path) for path in known]


def _cookies(folder: Path) -> DataSet:
    lines = [json.loads(line) for line in (folder / "template.manifest").read_text().splitlines() if line.strip()]
    train = [Photo(folder / line["source-ref"]) for line in lines if line["anomaly-label"] == 0]
    bad = [
        Photo(folder / line["source-ref"], "cracked", folder / line["anomaly-mask-ref"])
        for line in lines
        if line["anomaly-label"] == 1
    ]
    more = list(_images(folder / "test-images"))
    good = [Photo(path) for path in more if "normal" in path.name]
    bad += [Photo(path, "cracked") for path in more if "normal" not in path.name]
    return DataSet(folder.name, tuple(train), tuple(good), tuple(bad))


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGES)
