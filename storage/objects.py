"""The object store: the layout of every key, and the protocol that every implementation follows."""

import hashlib
import re
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import quote

from storage.errors import Corrupt, ObjectError
from storage.records import Stored

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

    def size(self, bucket: str, key: str, version: str | None = None) -> int | None:
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


def check_bucket_name(bucket: str) -> None:
    """Raise ObjectError for what cannot be the name of a bucket."""
    if not BUCKET_NAME.fullmatch(bucket):
        raise ObjectError(f"'{bucket}' cannot be the name of a bucket: 3 to 63 letters, digits, '.', '-' and '_'")


def check_key(key: str) -> None:
    """Raise ObjectError for what cannot be the key of an object in every store."""
    bad = not key or _UNSTORABLE.search(key) or any(part in ("", ".", "..") for part in key.split("/"))
    if bad or len(key.encode()) > LONGEST_KEY:
        shown = quote(key[:80], safe=" /", errors="replace")
        raise ObjectError(
            f"'{shown}' cannot be the key of an object: 1 to {LONGEST_KEY} bytes, "
            "no empty, '.' or '..' part between slashes"
        )
