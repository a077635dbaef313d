"""The object store on MinIO, or on any other server that speaks S3: only plain S3 calls are made."""

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import TypeVar

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from storage.errors import Full, NoSuchObject, ObjectError, Unreachable
from storage.objects import check_bucket_name, check_key
from storage.records import Stored

_CONNECT_SECONDS, _READ_SECONDS = 5.0, 60.0
_RETRIES = urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504), allowed_methods=None)
_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchObject"})
_TRANSIENT = frozenset({429, 500, 502, 503, 504, 507})
_FULL = "XMinioStorageFull"
_BROKEN_OFF = "IncompleteBody"  # MinIO's answer when its disk becomes full while it takes an object
_TAKEN = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})

T = TypeVar("T")


class MinioObjects:
    """Objects in the buckets of an S3 server; `endpoint` is its http:// or https:// address."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, region: str) -> None:
        url = urllib3.util.parse_url(endpoint)
        if url.scheme not in ("http", "https") or not url.host:
            raise ObjectError(f"'{endpoint}' is not the address of an S3 server; http://HOST:PORT is expected")
        self._endpoint = endpoint
        self._client = Minio(
            url.netloc or "",
            access_key=access_key,
            secret_key=secret_key,
            secure=url.scheme == "https",
            region=region,
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS), retries=_RETRIES, maxsize=32
            ),
        )

    def put(self, bucket: str, key: str, data: bytes) -> Stored:
        """See Objects."""
        _check(bucket, key)

        def write() -> None:
            self._client.put_object(bucket, key, io.BytesIO(data), len(data))

        try:
            self._call(write, bucket, key)
        except NoSuchObject:
            self._make(bucket)
            self._call(write, bucket, key)
        return Stored(bucket, key, hashlib.sha256(data).hexdigest(), len(data))

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes:
        """See Objects."""
        _check(bucket, key)

        def read() -> bytes:
            response = self._client.get_object(bucket, key, version_id=version)
            try:
                return bytes(response.data)
            finally:
                response.close()
                response.release_conn()

        return self._call(read, bucket, key, version)

    def size(self, bucket: str, key: str, version: str | None = None) -> int | None:
        """See Objects."""
        _check(bucket, key)
        try:
            return self._call(
                lambda: self._client.stat_object(bucket, key, version_id=version).size, bucket, key, version
            )
        except NoSuchObject:
            return None

    def keys(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """See Objects."""
        check_bucket_name(bucket)

        def names() -> list[str]:
            found = self._client.list_objects(bucket, prefix, recursive=True)
            return sorted(item.object_name for item in found if item.object_name is not None)

        try:
            yield from self._call(names, bucket, prefix)
        except NoSuchObject:
            return

    def delete(self, bucket: str, key: str) -> None:
        """See Objects."""
        _check(bucket, key)
        try:
            self._call(lambda: self._client.remove_object(bucket, key), bucket, key)
        except NoSuchObject:
            return

    def check(self) -> None:
        """See Objects."""
        self._call(self._client.list_buckets, "", "")

    def _make(self, bucket: str) -> None:
        def make() -> None:
            try:
                self._client.make_bucket(bucket)
            except S3Error as error:
                if error.code not in _TAKEN:  # else somebody was quicker
                    raise

        self._call(make, bucket, "")

    def _call(self, call: Callable[[], T], bucket: str, key: str, version: str | None = None) -> T:
        place = f"s3://{bucket}/{key}" + (f" (version {version})" if version else "")
        try:
            return call()
        except S3Error as error:
            if error.code in _ABSENT:
                raise NoSuchObject(f"{place} does not exist") from None
            if error.code == "AccessDenied":
                raise ObjectError(f"{place} may not be used: the object store denies access to it") from error
            if error.code == _FULL:
                raise Full(f"the disk of the object store at {self._endpoint} is full; make room there") from error
            transient = error.response.status in _TRANSIENT or error.code == _BROKEN_OFF
            refusal = Unreachable if transient else ObjectError
            raise refusal(f"{place} cannot be used: the object store says {error.code}: {error.message}") from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"the object store at {self._endpoint} cannot be reached ({type(error).__name__})")


def _check(bucket: str, key: str) -> None:
    check_bucket_name(bucket)
    check_key(key)
