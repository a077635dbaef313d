"""Access keys: who may call. Secrets are sealed with a key file, because SigV4 needs the secret itself."""

import os
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage import schema
from storage.database import Database
from storage.errors import StorageError, Unreachable
from storage.records import Role, now

_NONCE_BYTES = 12
_KEY_BYTES = 32
_LETTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class AccessKey:
    """An access key as AWS clients know it, and what it may do. `projects` are those it is limited to; None: all."""

    id: str
    secret: str
    role: Role
    projects: frozenset[str] | None = None


@dataclass(frozen=True)
class ListedKey:
    """What may be shown of an access key. `projects` are those that it is limited to; None: all."""

    id: str
    role: Role
    projects: frozenset[str] | None
    created: datetime


class AccessKeys:
    """Creates and looks up access keys. `key_file` holds the key that seals the secrets; made at first use."""

    def __init__(self, database: Database, key_file: Path) -> None:
        self._database = database
        content = read_or_make_key(key_file)
        if len(content) != _KEY_BYTES:
            raise StorageError(
                f"the key file {key_file} is damaged: it has {len(content)} bytes instead of {_KEY_BYTES}; put back "
                "the one that was made at first start"
            )
        self._seal = AESGCM(content)
        self._key_file = key_file

    def create(self, role: Role = Role.ADMIN, projects: Collection[str] = ()) -> AccessKey:
        """A new, random key pair, limited to these projects where any are given."""
        id_ = "AKIA" + "".join(secrets.choice(_LETTERS) for _ in range(16))
        return self._add(AccessKey(id_, secrets.token_urlsafe(30), role, frozenset(projects) or None))

    def create_first(self, pair: tuple[str, str] | None = None) -> None:
        """Make an admin's key where there is none yet; processes that start together make one.

        `pair` is the id and secret to use: those of the S3 server, because programs sign for both with one key.
        """
        with self._database.transaction():
            if self.first() is None:
                if pair is None:
                    self.create()
                else:
                    self._add(AccessKey(*pair, Role.ADMIN))

    def find(self, id_: str) -> AccessKey | None:
        """The key with this id.

        Raises StorageError where the key file is not the one that sealed it, Unreachable where the database is away.
        """
        try:
            return self._load(sa.select(schema.access_key).where(schema.access_key.c.id == id_))
        except sa.exc.OperationalError as error:
            raise Unreachable("the catalogue, which holds the access keys, does not answer") from error

    def first(self) -> AccessKey | None:
        """The oldest key that may do everything: the one made at first start."""
        k = schema.access_key.c
        everything = (k.role == Role.ADMIN) & k.projects.is_(sa.null())
        return self._load(sa.select(schema.access_key).where(everything).order_by(k.created).limit(1))

    def all(self) -> list[ListedKey]:
        """Every key, oldest first; no secrets."""
        k = schema.access_key.c
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(k.id, k.role, k.projects, k.created).order_by(k.created))
            return [ListedKey(row.id, Role(row.role), _projects(row.projects), row.created) for row in rows]

    def revoke(self, id_: str) -> None:
        """Remove a key; from then on it is not known. Raises StorageError for one not there, or the last admin."""
        k = schema.access_key.c
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(k.id, k.role, k.projects)).all()
            if id_ not in {row.id for row in rows}:
                raise StorageError(f"there is no access key '{id_}'; `vigil keys list` shows those there are")
            if [row.id for row in rows if row.role == Role.ADMIN and row.projects is None] == [id_]:
                raise StorageError(
                    f"'{id_}' is the only admin key left that is for all projects; create another one before you "
                    "revoke it"
                )
            connection.execute(schema.access_key.delete().where(k.id == id_))

    def _add(self, key: AccessKey) -> AccessKey:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._seal.encrypt(nonce, key.secret.encode(), key.id.encode())
        limits = None if key.projects is None else sorted(key.projects)
        values = {"id": key.id, "sealed_secret": sealed, "role": key.role, "created": now(), "projects": limits}
        with self._database.transaction() as connection:
            connection.execute(schema.access_key.insert().values(**values))
        return key

    def _load(self, query: sa.Select[Any]) -> AccessKey | None:
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        nonce, sealed = row.sealed_secret[:_NONCE_BYTES], row.sealed_secret[_NONCE_BYTES:]
        try:
            secret = self._seal.decrypt(nonce, sealed, row.id.encode())
        except InvalidTag:
            raise StorageError(
                f"access key {row.id} cannot be opened with {self._key_file}: put back the file that was there "
                "when the key was made"
            ) from None
        return AccessKey(row.id, secret.decode(), Role(row.role), _projects(row.projects))


def _projects(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def read_or_make_key(path: Path) -> bytes:
    """The 32 random bytes of a key file that only its owner may read; made at first use. Raises StorageError."""
    try:
        # Created with its content under another name first: a reader never sees half a key.
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(AESGCM.generate_key(bit_length=8 * _KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, path)
            except FileExistsError:
                return path.read_bytes()
            finally:
                fresh.unlink()
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"the key file {path} cannot be used: {error.strerror}") from error
