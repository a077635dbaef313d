"""The object store: the layout of every key, the protocol, and the implementation on a directory."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from storage.errors import Corrupt, NoSuchObject, ObjectError
from storage.records import Stored
from storage.settings import Settings

OWN_BUCKET = "vigil"
BUCKET_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.\-_]{2,62}")
LONGEST_KEY = 1024
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def artefact_key(project: str, version: int, job: str, epoch: int) -> str:
    """Where a training stores the model; one key per claim, so that two workers never write the same object."""
    return f"models/{project}/{version}/{job}-{epoch}/detector.safetensors"


def snapshot_key(project: str, version: int, dataset_type: str) -> str:
    """The entries of a data set as they were when CreateModel was called."""
    return f"models/{project}/{version}/{dataset_type}.jsonl"


def changes_key(job: str) -> str:
    """The changes that UpdateDatasetEntries sent, until they are applied."""
    return f"changes/{job}.jsonl"


def image_key(project: str, dataset_type: str, name: str) -> str:
    """Where `vigil import` copies an image to; `name` is its path below the imported folder."""
    return f"datasets/{project}/{dataset_type}/{name}"


def evaluation_key(prefix: str | None, what: str, project: str, version: int) -> str:
    """AWS's name of an evaluation file: the prefix as it is, no slash inserted. `what` is Manifest or Result."""
    return f"{prefix or ''}Evaluation{what}-{project}-{version}.json"


def parse_s3(reference: str) -> tuple[str, str]:
    """s3://BUCKET/KEY → (bucket, key). Raises ObjectError for anything else."""
    scheme, _, rest = reference.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket or not key or _UNSTORABLE.search(reference):
        raise ObjectError(f"{reference!r} is not of the form s3://BUCKET/KEY")
    return bucket, key


class Objects(Protocol):
    """Any S3-like store. Keys are those of S3; what cannot be stored is refused with ObjectError."""

    def put(self, bucket: str, key: str, data: bytes) -> Stored:
        """Store bytes durably under a key, replacing what was there; the bucket is made when it is missing."""
        ...

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes:
        """The bytes under a key. Raises NoSuchObject."""
        ...

    def size(self, bucket: str, key: str) -> int | None:
        """Length in bytes, or None where nothing is stored."""
        ...

    def keys(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """All keys of a bucket that start with a prefix, sorted."""
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def check(self) -> None:
        """Raise ObjectError where the store cannot be reached or written."""
        ...


def get_verified(objects: Objects, stored: Stored) -> bytes:
    """Read an object that the catalogue points at. Raises Corrupt where its SHA-256 is another one."""
    data = objects.get(stored.bucket, stored.key)
    found = hashlib.sha256(data).hexdigest()
    if found != stored.sha256:
        raise Corrupt(
            f"s3://{stored.bucket}/{stored.key} is damaged: its SHA-256 is {found[:12]}…, "
            f"{stored.sha256[:12]}… was stored"
        )
    return data


class DirectoryObjects:
    """Objects as files: ROOT/BUCKET/KEY. A write is a temporary file, a flush to disk, and a rename."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / ".incoming"

    def put(self, bucket: str, key: str, data: bytes) -> Stored:
        """See Objects."""
        target = self._path(bucket, key)
        incoming = self._incoming / secrets.token_hex(16)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            with incoming.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            incoming.replace(target)
            directory = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            with suppress(OSError):
                incoming.unlink()
            raise ObjectError(f"s3://{bucket}/{key} cannot be stored: {error.strerror}") from error
        return Stored(bucket, key, hashlib.sha256(data).hexdigest(), len(data))

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes:
        """See Objects. The directory store keeps no versions: asking for one is refused."""
        if version is not None:
            raise ObjectError(
                f"s3://{bucket}/{key}: version '{version}' was asked for, but the directory store keeps no versions"
            )
        try:
            return self._path(bucket, key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NoSuchObject(f"s3://{bucket}/{key} does not exist") from None
        except OSError as error:
            raise ObjectError(f"s3://{bucket}/{key} cannot be read: {error.strerror}") from error

    def size(self, bucket: str, key: str) -> int | None:
        """See Objects."""
        path = self._path(bucket, key)
        return path.stat().st_size if path.is_file() else None

    def keys(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """See Objects."""
        folder = self._bucket(bucket)
        yield from sorted(
            key
            for path in folder.rglob("*")
            if path.is_file() and (key := path.relative_to(folder).as_posix()).startswith(prefix)
        )

    def delete(self, bucket: str, key: str) -> None:
        """See Objects."""
        try:
            self._path(bucket, key).unlink(missing_ok=True)
        except (NotADirectoryError, IsADirectoryError):
            pass  # a key in whose place there is a folder, or below whose folder there is an object, is not there
        except OSError as error:
            raise ObjectError(f"s3://{bucket}/{key} cannot be deleted: {error.strerror}") from error

    def check(self) -> None:
        """See Objects."""
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ObjectError(f"the object store {self._root} cannot be written: {error.strerror}") from error
        if not os.access(self._root, os.W_OK):
            raise ObjectError(f"the object store {self._root} cannot be written: no permission")

    def _bucket(self, bucket: str) -> Path:
        if not BUCKET_NAME.fullmatch(bucket):
            raise ObjectError(f"'{bucket}' cannot be the name of a bucket: 3 to 63 letters, digits, '.', '-' and '_'")
        return self._root / bucket

    def _path(self, bucket: str, key: str) -> Path:
        parts = key.split("/")
        bad = not key or _UNSTORABLE.search(key) or any(part in ("", ".", "..") for part in parts)
        if bad or len(key.encode()) > LONGEST_KEY:
            shown = quote(key[:80], safe=" /", errors="replace")
            raise ObjectError(
                f"'{shown}' cannot be the key of an object: 1 to {LONGEST_KEY} bytes, "
                "no empty, '.' or '..' part between slashes"
            )
        if any(len(part.encode()) > 255 for part in parts):
            raise ObjectError(f"'{key[:80]}…' cannot be stored as a file: a part between slashes has over 255 bytes")
        return self._bucket(bucket).joinpath(*parts)


def open_objects(settings: Settings) -> Objects:
    """The object store that the settings name."""
    return DirectoryObjects(settings.objects_dir)
