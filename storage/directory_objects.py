"""The object store on a directory: a bucket is a folder, an object a file."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from storage.errors import NoSuchObject, ObjectError
from storage.objects import check_bucket_name, check_key
from storage.records import Stored

_LONGEST_NAME = 255  # bytes of a file's name


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
        self._refuse(bucket, key, version)
        try:
            return self._path(bucket, key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NoSuchObject(f"s3://{bucket}/{key} does not exist") from None
        except OSError as error:
            raise ObjectError(f"s3://{bucket}/{key} cannot be read: {error.strerror}") from error

    def size(self, bucket: str, key: str, version: str | None = None) -> int | None:
        """See Objects."""
        self._refuse(bucket, key, version)
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

    @staticmethod
    def _refuse(bucket: str, key: str, version: str | None) -> None:
        if version is not None:
            raise ObjectError(
                f"s3://{bucket}/{key}: version '{version}' was asked for, but the directory store keeps no versions"
            )

    def _bucket(self, bucket: str) -> Path:
        check_bucket_name(bucket)
        return self._root / bucket

    def _path(self, bucket: str, key: str) -> Path:
        check_key(key)
        parts = key.split("/")
        if any(len(part.encode()) > _LONGEST_NAME for part in parts):
            raise ObjectError(
                f"'{key[:80]}…' cannot be stored as a file: a part between slashes has over {_LONGEST_NAME} bytes"
            )
        return self._bucket(bucket).joinpath(*parts)
