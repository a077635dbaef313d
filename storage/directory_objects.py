"""The object store on a directory: a bucket is a folder, an object a file."""

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from storage.errors import Full, NoSuchObject, ObjectError
from storage.objects import check_bucket_name, check_key
from storage.records import Stored

_LONGEST_NAME = 255  # bytes of a file's name
_ABANDONED_SECONDS = 3600.0  # since the last byte was written: whoever wrote it was killed
_TRIES = 100  # to put a file into a folder that others remove


class DirectoryObjects:
    """Objects as files: ROOT/BUCKET/KEY. A write is a temporary file, a flush to disk, and a rename."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self._sweep()

    def put(self, bucket: str, key: str, data: bytes) -> Stored:
        """See Objects."""
        target = self._path(bucket, key)
        incoming = self._incoming / secrets.token_hex(16)
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            with incoming.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _move(incoming, target)
        except OSError as error:
            with suppress(OSError):
                incoming.unlink()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Full(f"the disk of the object store is full; make room on the disk of {self._root}") from error
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
            path = self._path(bucket, key)
            path.unlink()
            self._prune(path, self._bucket(bucket))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
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

    def _sweep(self) -> None:
        for path in self._incoming.glob("*"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()

    @staticmethod
    def _prune(path: Path, bucket: Path) -> None:
        """Remove the folders above a deleted file that are empty now, up to the bucket."""
        for folder in path.parents:
            if folder == bucket:
                return
            try:
                folder.rmdir()
            except OSError:
                return  # not empty

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


def _move(incoming: Path, target: Path) -> None:
    for last in (*(False,) * (_TRIES - 1), True):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(target)
            break
        except (FileNotFoundError, FileExistsError):
            if last:  # else a folder was removed, with the last object in it, while it was looked at or used
                raise
    with suppress(FileNotFoundError):  # deleted again by now
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
