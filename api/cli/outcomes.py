"""What becomes of images: several are on their way to the service at a time, and come back in their order."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from api.cli.client import Client, Detection, ServiceRefusal
from api.cli.comparison import ReadImage, add_comparison
from api.cli.folder import type_of
from api.cli.overlay import draw_overlay
from api.cli.pictures import Picture
from storage.errors import ObjectError
from storage.replica_call import EXPLAIN_MAP, EXPLAIN_REGIONS

_AT_ONCE = 8  # fills a batch of one inference unit, and leaves room in its queue for the line's own requests
_BUSY_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """What became of an image: a detection, or the reason why there is none. `overlay` is the picture written."""

    picture: Picture
    detection: Detection | None
    problem: str = ""
    overlay: Path | None = None


def judge(
    client: Client,
    project: str,
    version: str,
    pictures: Iterable[tuple[Picture, Path | None]],
    read: ReadImage | None = None,
) -> Iterator[Outcome]:
    """An outcome for each image, in their order; with a path, the image with its heat map is written there before.

    With `read`, which gets the training images and is called by several threads, anomalous regions are explained. An
    image that is refused does not keep the others from being judged. Raises ServiceRefusal for what concerns all.
    """
    running: deque[Future[Outcome]] = deque()
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for picture, target in pictures:
            if len(running) == _AT_ONCE:
                yield running.popleft().result()
            running.append(pool.submit(_judge, client, project, version, picture, target, read))
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def overlay_paths(pictures: Iterable[Picture], folder: Path) -> Iterator[Path]:
    """Where the heat map of each image goes; images of the same name, from several folders, get a number."""
    taken: set[str] = set()
    for picture in pictures:
        stem = picture.name.removesuffix(".png").replace("/", "_")
        suffixes = ("", *(f"-{number}" for number in range(2, len(taken) + 3)))
        name = next(name for suffix in suffixes if (name := f"{stem}{suffix}.overlay.png") not in taken)
        taken.add(name)
        yield folder / name


def _judge(
    client: Client, project: str, version: str, picture: Picture, target: Path | None, read: ReadImage | None
) -> Outcome:
    try:
        data = picture.read()
    except OSError as error:
        return Outcome(picture, None, f"cannot be read: {error.strerror}")
    except ObjectError as error:
        return Outcome(picture, None, f"cannot be read: {error}")
    type_ = type_of(data)
    if type_ is None:
        return Outcome(picture, None, "is not a JPEG or PNG image")
    wanted = [word for word, asked in ((EXPLAIN_MAP, target), (EXPLAIN_REGIONS, read)) if asked is not None]
    try:
        detection = _patiently(client, project, version, data, type_, wanted)
    except ServiceRefusal as error:
        if error.kind != "ValidationException":
            raise
        return Outcome(picture, None, str(error))
    if target is None:
        return Outcome(picture, detection)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw_overlay(data, detection, picture.name)
        if read is not None and detection.regions:
            drawn = add_comparison(drawn, data, detection.regions[0], read)
        drawn.save(target)
    except OSError as error:
        return Outcome(picture, detection, f"no heat map could be written: {error}")
    return Outcome(picture, detection, overlay=target)


def _patiently(
    client: Client, project: str, version: str, data: bytes, type_: str, explain: Sequence[str]
) -> Detection:
    """The detection; a service that is busy is asked until it is not, because a batch has time."""
    while True:
        try:
            return client.detect(project, version, data, type_, explain)
        except ServiceRefusal as error:
            if error.kind != "ThrottlingException":
                raise
        time.sleep(_BUSY_SECONDS)
