"""Access keys: who may call. Secrets are sealed with a key file, because SigV4 needs the secret itself."""

import os
import secrets
import string
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage import schema
from storage.database import Database
from storage.errors import StorageError
from storage.records import Role, now

_NONCE_BYTES = 12
_KEY_BYTES = 32
_LETTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class AccessKey:
    """An access key as AWS clients know it."""

    id: str
    secret: str
    role: Role


class AccessKeys:
    """Creates and looks up access keys. `key_file` holds the key that seals the secrets; made at first use."""

    def __init__(self, database: Database, key_file: Path) -> None:
        self._database = database
        content = _read_or_make(key_file)
        if len(content) != _KEY_BYTES:
            raise StorageError(
                f"the key file {key_file} is damaged: it has {len(content)} bytes instead of {_KEY_BYTES}; put back "
                "the one that was made at first start"
            )
        self._seal = AESGCM(content)
        self._key_file = key_file

    def create(self, role: Role = Role.ADMIN) -> AccessKey:
        """A new, random key pair."""
        key = AccessKey("AKIA" + "".join(secrets.choice(_LETTERS) for _ in range(16)), secrets.token_urlsafe(30), role)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._seal.encrypt(nonce, key.secret.encode(), key.id.encode())
        values = {"id": key.id, "sealed_secret": sealed, "role": role, "created": now()}
        with self._database.transaction() as connection:
            connection.execute(schema.access_key.insert().values(**values))
        return key

    def find(self, id_: str) -> AccessKey | None:
        """The key with this id. Raises StorageError where the key file is not the one that sealed it."""
        return self._load(sa.select(schema.access_key).where(schema.access_key.c.id == id_))

    def first(self) -> AccessKey | None:
        """The oldest key that may do everything: the one made at first start."""
        k = schema.access_key.c
        return self._load(sa.select(schema.access_key).where(k.role == Role.ADMIN).order_by(k.created).limit(1))

    def all(self) -> list[tuple[str, Role, datetime]]:
        """(id, role, when it was made) of every key, oldest first; no secrets."""
        k = schema.access_key.c
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(k.id, k.role, k.created).order_by(k.created))
            return [(row.id, Role(row.role), row.created) for row in rows]

    def revoke(self, id_: str) -> None:
        """Remove a key; from then on it is not known. Raises StorageError for one not there, or the last admin."""
        k = schema.access_key.c
        with self._database.transaction() as connection:
            roles = {row.id: row.role for row in connection.execute(sa.select(k.id, k.role))}
            if id_ not in roles:
                raise StorageError(f"there is no access key '{id_}'; `vigil keys list` shows those there are")
            if roles[id_] == Role.ADMIN and list(roles.values()).count(Role.ADMIN) == 1:
                raise StorageError(f"'{id_}' is the only admin key left; create another one before you revoke it")
            connection.execute(schema.access_key.delete().where(k.id == id_))

    def _load(self, query: sa.Select[tuple[str, bytes, str]]) -> AccessKey | None:
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
        return AccessKey(row.id, secret.decode(), Role(row.role))


def _read_or_make(path: Path) -> bytes:
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
