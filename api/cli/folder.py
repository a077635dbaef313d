"""A folder of images as `vigil import` reads it: which images there are, and what their folders say about them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from api.cli.terminal import CommandError

MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
NORMAL, ANOMALY = ("normal", "good"), ("anomaly", "bad")
_MASKS = "ground_truth"
_PARTS = ("train", "test")


@dataclass(frozen=True)
class Sample:
    """An image; `name` is its path below the folder. `defect` is the label of what `mask` shows."""

    path: Path
    name: str
    label: str | None = None
    mask: Path | None = None
    defect: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that is not imported, and why."""

    name: str
    reason: str


@dataclass
class Folder:
    """The images per data set ("train", "test"), and the files left out. `divided` tells of a train/test layout."""

    divided: bool
    samples: dict[str, list[Sample]] = field(default_factory=lambda: {part: [] for part in _PARTS})
    skipped: list[Skipped] = field(default_factory=list)


def read_folder(root: Path, *, labelled: bool, max_bytes: int) -> Folder:
    """Find all JPEG and PNG images by their content. Raises CommandError where there is no folder, or no image in it.

    With `labelled`, folders give labels: normal/ or good/, anomaly/ or bad/, at the top or below train/ and test/;
    below those two any other folder is a kind of defect (the layout of MVTec AD), with masks in ground_truth/.
    """
    if not root.is_dir():
        raise CommandError(f"{root} is not a folder; name a folder of JPEG or PNG images.")
    folder = Folder(divided=labelled and any((root / part).is_dir() for part in _PARTS))
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        parts = PurePosixPath(name).parts
        if labelled and parts[0] == _MASKS:
            continue
        reason = refusal(path, name, max_bytes)
        if reason is None and not labelled:
            folder.samples["train"].append(Sample(path, name))
        elif reason is None:
            reason = _label(folder, root, path, parts)
        if reason is not None:
            folder.skipped.append(Skipped(name, reason))
    if not any(folder.samples.values()):
        examples = "; ".join(f"{item.name} {item.reason}" for item in folder.skipped[:3])
        raise CommandError(f"There is no image to use in {root}" + (f": {examples}." if examples else "."))
    return folder


def content_type(path: Path) -> str | None:
    """image/jpeg or image/png by the first bytes, None for anything else. Raises OSError."""
    with path.open("rb") as file:
        return type_of(file.read(8))


def type_of(data: bytes) -> str | None:
    """The same for the bytes of a file."""
    return next((type_ for magic, type_ in MAGIC.items() if data.startswith(magic)), None)


def refusal(path: Path, name: str, max_bytes: int) -> str | None:
    """Why a file cannot be imported, or None."""
    try:
        name.encode()
        size, type_ = path.stat().st_size, content_type(path)
    except UnicodeEncodeError:
        return "has a name that is not UTF-8 text; rename it"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if type_ is None:
        return "is not a JPEG or PNG image"
    if size > max_bytes:
        return f"has {size / 2**20:.1f} MB; at most {max_bytes / 2**20:g} MB are allowed"
    return None


def defect_label(folder_name: str) -> str:
    """The name of a folder of defects as an anomaly label: letters and digits only."""
    return re.sub(r"[^a-zA-Z0-9]", "", folder_name)[:256] or "defect"


def _label(folder: Folder, root: Path, path: Path, parts: tuple[str, ...]) -> str | None:
    """Add the image with the label of its folder. → why that is not possible, or None"""
    part = "train"
    if folder.divided:
        if parts[0] not in _PARTS:
            return "lies outside train/ and test/"
        part, parts = parts[0], parts[1:]
    top = parts[0].lower() if len(parts) > 1 else ""
    name = path.relative_to(root).as_posix()
    if top in NORMAL:
        folder.samples[part].append(Sample(path, name, "normal"))
    elif top in ANOMALY or (folder.divided and top):
        mask = root.joinpath(_MASKS, *parts[:-1], f"{path.stem}_mask.png")
        shown = (mask, defect_label(parts[0])) if mask.is_file() else (None, None)
        folder.samples[part].append(Sample(path, name, "anomaly", *shown))
    else:
        return f"lies in no folder that gives a label ({', '.join(f'{name}/' for name in NORMAL + ANOMALY)})"
    return None


def _files(root: Path) -> Iterator[Path]:
    for directory, folders, files in os.walk(root):
        folders.sort()
        yield from (Path(directory, name) for name in sorted(files))
