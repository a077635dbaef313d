"""Data keys: what KmsKeyId names, each a file of 32 random bytes in one folder. Nothing here can replace a lost one."""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from storage.errors import DataKeyError
from storage.sealing import KEY_BYTES

_SUFFIX = ".key"
_LONGEST = 200  # bytes of a name as part of a file's name, of which file systems allow 255
# AWS's four forms: a key's id, its ARN, an alias, the alias' ARN. Region and account are not looked at, as in all ARNs.
_FORMS = re.compile(
    r"(?:arn:[^:/]*:kms:[^:/]*:[^:/]*:(?:key|alias)/|alias/)(?P<after>[0-9A-Za-z:_/+=,@.-]+)"
    r"|(?P<id>[0-9A-Za-z][0-9A-Za-z_+=,@.-]*)"
)


def name_of(key_id: str) -> str:
    """The name of the data key that a KmsKeyId means: NAME, alias/NAME, arn:…:key/NAME and arn:…:alias/NAME are one.

    Raises DataKeyError for what is none of these forms, or too long for the name of a file.
    """
    found = _FORMS.fullmatch(key_id)
    if found is None:
        raise DataKeyError(f"'{key_id}' is not of the form NAME, alias/NAME, arn:…:key/NAME or arn:…:alias/NAME")
    name: str = found["after"] or found["id"]
    if len(quote(name, safe="")) > _LONGEST:
        raise DataKeyError(f"the name of the data key '{name[:40]}…' is too long for a file")
    return name


class DataKeys:
    """The keys in a folder: NAME is the file NAME.key there, other characters than letters, digits, _.-~ as %XX."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str) -> Path:
        """A new key. → its file, readable by its owner only. Raises DataKeyError where the name is taken."""
        path = self._path(name_of(name))
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Written under another name first: whoever reads a key never sees half of it.
            fresh = path.with_suffix(f".{secrets.token_hex(4)}")
            try:
                with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(secrets.token_bytes(KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                os.link(fresh, path)
            finally:
                fresh.unlink(missing_ok=True)
        except FileExistsError:
            raise DataKeyError(f"the data key '{name}' is there already: {path}") from None
        except OSError as error:
            raise DataKeyError(f"the data key '{name}' cannot be made: {path}: {error.strerror}") from error
        return path

    def names(self) -> Iterator[str]:
        """The names of all keys, sorted."""
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            yield unquote(path.name.removesuffix(_SUFFIX))

    def read(self, key_id: str) -> tuple[str, bytes]:
        """(name, key) that a KmsKeyId means. Raises DataKeyError where it is not there or damaged."""
        name = name_of(key_id)
        path = self._path(name)
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            raise DataKeyError(f"there is no data key '{name}': the file {path} does not exist") from None
        except OSError as error:
            raise DataKeyError(f"the data key '{name}' cannot be read: {path}: {error.strerror}") from error
        if len(key) != KEY_BYTES:
            raise DataKeyError(f"the data key '{name}' is damaged: {path} has {len(key)} bytes instead of {KEY_BYTES}")
        return name, key

    def exposed(self) -> list[Path]:
        """The folder and the keys that others than their owner may read or change."""
        places = [self.folder, *self.folder.glob(f"*{_SUFFIX}")] if self.folder.is_dir() else []
        return [place for place in places if place.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]

    def _path(self, name: str) -> Path:
        return self.folder / f"{quote(name, safe='')}{_SUFFIX}"
