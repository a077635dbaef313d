"""What every object store promises, asked alike of the directory store, of a real MinIO, and of a real Swift."""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minio import Minio as Client
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from storage.errors import Corrupt, NoSuchObject, ObjectError, Unreachable
from storage.minio_objects import MinioObjects
from storage.objects import Objects, get_verified
from storage.records import Stored
from storage.settings import Settings
from storage.stores import open_objects
from tests.minio import PROGRAM, Minio, running_minio
from tests.swift import Swift, needs_swift, running_swift

needs_minio = pytest.mark.skipif(PROGRAM is None, reason="MinIO itself is not tested: no minio program on the PATH")
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with running_swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


SERVERS = [pytest.param("minio", marks=needs_minio), pytest.param("swift", marks=needs_swift)]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Minio | Swift:
    found: Minio | Swift = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["directory", *SERVERS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return open_objects(Settings(data_dir=tmp_path))
    return open_objects(request.getfixturevalue(request.param).settings(tmp_path))


@pytest.fixture
def bucket() -> str:
    """A bucket that no other test uses."""
    return f"plant-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(
    "key", ["a", "a/b c/ü 中 😀.png", "a+b=c&d?e#f%20.jpg", "x" * 200, "folder/" * 20 + "end", "'\"<>|"]
)
def test_what_is_stored_is_read_back(store: Objects, bucket: str, key: str) -> None:
    data = b"\x00\xff" * 1000
    stored = store.put(bucket, key, data)
    assert stored == Stored(bucket, key, hashlib.sha256(data).hexdigest(), len(data))
    assert store.get(bucket, key) == get_verified(store, stored) == data
    assert store.size(bucket, key) == len(data)
    assert list(store.keys(bucket)) == [key]


@pytest.mark.parametrize("size", [0, 1, 6_000_000, 20_000_000])
def test_objects_of_any_size(store: Objects, bucket: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert store.put(bucket, "k", data).size == size
    assert store.get(bucket, "k") == data


def test_a_second_write_replaces_the_first(store: Objects, bucket: str) -> None:
    first = store.put(bucket, "k", b"first, and longer")
    store.put(bucket, "k", b"second")
    assert store.get(bucket, "k") == b"second"
    with pytest.raises(Corrupt, match=f"s3://{bucket}/k is damaged"):
        get_verified(store, first)


def test_what_is_not_there(store: Objects, bucket: str) -> None:
    assert list(store.keys(bucket)) == []
    store.delete(bucket, "k")
    store.put(bucket, "a", b"x")
    for place in ((bucket, "b"), (f"{bucket}-other", "a")):
        assert store.size(*place) is None
        with pytest.raises(NoSuchObject, match=f"s3://{place[0]}/{place[1]} does not exist"):
            store.get(*place)
    store.delete(bucket, "a")
    assert store.size(bucket, "a") is None


def test_keys_are_listed_sorted_by_prefix(store: Objects, bucket: str) -> None:
    for key in ("b/2", "b/10", "a", "bb", "b/1/x"):
        store.put(bucket, key, b"")
    assert list(store.keys(bucket)) == ["a", "b/1/x", "b/10", "b/2", "bb"]
    assert list(store.keys(bucket, "b/1")) == ["b/1/x", "b/10"]
    assert list(store.keys(bucket, "c")) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a\0b", "\ud800", "k" * 1025])
def test_keys_that_some_store_cannot_hold_are_refused_by_all(store: Objects, bucket: str, key: str) -> None:
    for call in (lambda: store.put(bucket, key, b"x"), lambda: store.get(bucket, key), lambda: store.size(bucket, key)):
        with pytest.raises(ObjectError, match="cannot be the key of an object"):
            call()


@FEW
@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40))
def test_any_name_is_kept_or_refused(store: Objects, name: str) -> None:
    try:
        store.put("plant-names", f"p/{name}", name.encode())
    except ObjectError:
        assert name in (".", "..") or not name.isprintable()
    else:
        assert store.get("plant-names", f"p/{name}") == name.encode()
        store.delete("plant-names", f"p/{name}")


def test_a_store_that_works_passes_its_check(store: Objects) -> None:
    store.check()


def test_an_older_version_is_read_where_the_bucket_keeps_versions(
    server: Minio | Swift, bucket: str, tmp_path: Path
) -> None:
    store = open_objects(server.settings(tmp_path))
    store.put(bucket, "k", b"before versions")
    client = Client(server.url.removeprefix("http://"), server.user, server.secret, secure=False)
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    store.put(bucket, "k", b"first")
    version = client.stat_object(bucket, "k").version_id
    store.put(bucket, "k", b"second, longer")
    assert store.get(bucket, "k", version) == b"first"
    assert store.size(bucket, "k", version) == 5
    assert store.get(bucket, "k") == b"second, longer"
    client.remove_object(bucket, "k", version)
    with pytest.raises(NoSuchObject, match=rf"\(version {version}\) does not exist"):
        store.get(bucket, "k", version)
    assert store.size(bucket, "k", version) is None


@needs_minio
def test_what_is_no_version_is_refused(minio: Minio, bucket: str, tmp_path: Path) -> None:
    store = open_objects(minio.settings(tmp_path))
    store.put(bucket, "k", b"x")
    with pytest.raises(ObjectError, match="version"):
        store.get(bucket, "k", "no-such-version")


@needs_minio
def test_a_server_that_is_killed_loses_nothing_and_is_unreachable_meanwhile(tmp_path: Path) -> None:
    with running_minio(tmp_path / "minio") as server:
        store = open_objects(server.settings(tmp_path))
        stored = store.put("plant", "k", b"kept")
        server.kill()
        with pytest.raises(Unreachable, match=f"object store at {server.url} cannot be reached"):
            store.check()
        server.start()
        assert get_verified(store, stored) == b"kept"


def test_another_secret_is_refused_and_says_so(server: Minio | Swift) -> None:
    store = MinioObjects(server.url, server.user, "another secret", "us-east-1")
    with pytest.raises(ObjectError, match="SignatureDoesNotMatch"):
        store.put("plant", "k", b"")


@pytest.mark.parametrize("endpoint", ["", "localhost:9000", "ftp://localhost", "http://"])
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(ObjectError, match="is not the address of an S3 server"):
        MinioObjects(endpoint, "a", "b", "us-east-1")
