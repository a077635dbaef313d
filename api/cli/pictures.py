"""The images that `vigil detect` is to look at: files, folders, and what lies below an s3:// address."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from api.cli.folder import read_folder
from api.cli.terminal import CommandError
from storage.objects import Objects

_S3 = "s3://"
_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Picture:
    """An image: `place` is its path or s3:// address, `name` how it is shown. `read` raises OSError or ObjectError."""

    place: str
    name: str
    read: Callable[[], bytes]

    @classmethod
    def file(cls, path: Path, name: str) -> Self:
        """The image in a file."""
        return cls(str(path), name, path.read_bytes)


def find_pictures(images: Iterable[str], max_bytes: int, store: Callable[[], Objects]) -> Iterator[Picture]:
    """The images named, and those below the folders and s3:// addresses named.

    `store` opens the object store where one is needed. Raises CommandError for what is nothing of these.
    """
    for image in images:
        path = Path(image)
        if image.startswith(_S3):
            yield from _below(image, store())
        elif path.is_dir():
            samples = read_folder(path, labelled=False, max_bytes=max_bytes).samples["train"]
            yield from (Picture.file(sample.path, sample.name) for sample in samples)
        elif path.exists():
            yield Picture.file(path, path.name)
        else:
            raise CommandError(f"{path} does not exist; name an image, a folder of images, or s3://BUCKET/PREFIX.")


def _below(address: str, objects: Objects) -> Iterator[Picture]:
    """The object of exactly this key, else all JPEG and PNG files below it, as their names say."""
    bucket, _, prefix = address.removeprefix(_S3).partition("/")
    keys = list(objects.keys(bucket, prefix))
    chosen = [key for key in keys if key == prefix] or [key for key in keys if key.lower().endswith(_ENDINGS)]
    if not chosen:
        raise CommandError(
            f"There is no image below {address}: {len(keys)} objects are there, and none has a name that ends in "
            f"{', '.join(_ENDINGS)}."
        )
    for key in chosen:
        yield Picture(f"{_S3}{bucket}/{key}", key, partial(objects.get, bucket, key))
