import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.directory_objects import DirectoryObjects
from storage.errors import Corrupt, Full, NoSuchObject, ObjectError
from storage.objects import (
    LONGEST_KEY,
    Objects,
    get_verified,
)
from storage.records import Stored
from tests.conftest import wait_until
from tests.small_disk import small_disk

FEW = settings(max_examples=60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def objects(root: Path) -> Objects:
    return DirectoryObjects(root)


def test_what_is_stored_is_read_back(objects: Objects) -> None:
    stored = objects.put("plant", "a/b c/ü 中 😀.png", b"\x00\xff")
    assert stored == Stored("plant", "a/b c/ü 中 😀.png", hashlib.sha256(b"\x00\xff").hexdigest(), 2)
    assert objects.get("plant", stored.key) == b"\x00\xff"
    assert get_verified(objects, stored) == b"\x00\xff"
    assert objects.size("plant", stored.key) == 2
    assert objects.put("plant", "empty", b"").size == 0
    assert objects.size("plant", "empty") == 0


def test_a_second_write_replaces_the_first(objects: Objects) -> None:
    objects.put("plant", "k", b"first, and longer")
    objects.put("plant", "k", b"second")
    assert objects.get("plant", "k") == b"second"
    assert list(objects.keys("plant")) == ["k"]


def test_what_is_not_there(objects: Objects) -> None:
    objects.put("plant", "a/b", b"x")
    for bucket, key in (("plant", "c"), ("plant", "a"), ("plant", "a/b/c"), ("other", "a/b")):
        with pytest.raises(NoSuchObject, match=f"s3://{bucket}/{key} does not exist"):
            objects.get(bucket, key)
        assert objects.size(bucket, key) is None
        objects.delete(bucket, key)
    assert objects.get("plant", "a/b") == b"x"
    assert list(objects.keys("nothing")) == []


def test_a_deleted_object_is_gone(objects: Objects) -> None:
    objects.put("plant", "a/b", b"x")
    objects.delete("plant", "a/b")
    assert list(objects.keys("plant")) == []
    objects.put("plant", "a/b", b"y")
    assert objects.get("plant", "a/b") == b"y"


def test_keys_are_listed_sorted_by_prefix(objects: Objects) -> None:
    for key in ("b", "a/2", "a/10", "ab", "a/c/d"):
        objects.put("plant", key, b"")
    assert list(objects.keys("plant")) == ["a/10", "a/2", "a/c/d", "ab", "b"]
    assert list(objects.keys("plant", "a")) == ["a/10", "a/2", "a/c/d", "ab"]
    assert list(objects.keys("plant", "a/")) == ["a/10", "a/2", "a/c/d"]
    assert list(objects.keys("plant", "x")) == []


BAD_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "./a",
    "a/./b",
    "a\0b",
    "\ud800",
    "k" * (LONGEST_KEY + 1),
    "ü" * (LONGEST_KEY // 2 + 1),
    "k" * 256,
    "ü" * 128,
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_cannot_be_a_file_is_refused_everywhere(objects: Objects, root: Path, key: str) -> None:
    for call in (
        lambda: objects.put("plant", key, b"x"),
        lambda: objects.get("plant", key),
        lambda: objects.size("plant", key),
        lambda: objects.delete("plant", key),
    ):
        with pytest.raises(ObjectError, match="cannot be"):
            call()
    assert not root.exists()


@pytest.mark.parametrize("bucket", ["", "ab", "a" * 64, ".incoming", "..", "-ab", "_ab", "a/b", "a b", "äöü", "ab\0"])
def test_a_bucket_that_cannot_be_a_folder_is_refused_everywhere(objects: Objects, root: Path, bucket: str) -> None:
    for call in (
        lambda: objects.put(bucket, "k", b"x"),
        lambda: objects.get(bucket, "k"),
        lambda: objects.size(bucket, "k"),
        lambda: list(objects.keys(bucket)),
    ):
        with pytest.raises(ObjectError, match="cannot be the name of a bucket"):
            call()
    assert not root.exists()


PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@FEW
@given(st.lists(PARTS, min_size=1, max_size=4), st.binary(max_size=50))
def test_every_key_stays_in_its_bucket_or_is_refused(
    objects: Objects, root: Path, parts: list[str], data: bytes
) -> None:
    key = "/".join(parts)
    if {".", ".."} & set(parts):
        with pytest.raises(ObjectError):
            objects.put("plant", key, data)
        return
    objects.put("plant", key, data)
    try:
        assert objects.get("plant", key) == data
        assert list(objects.keys("plant")) == [key]
        written = [path for path in root.rglob("*") if path.is_file()]
        assert [path.relative_to(root).parts[0] for path in written] == ["plant"]
    finally:
        objects.delete("plant", key)
        for folder in sorted((root / "plant").rglob("*"), reverse=True):
            folder.rmdir()


def test_a_key_cannot_be_a_folder_of_other_keys(objects: Objects) -> None:
    objects.put("plant", "a/b", b"x")
    objects.put("plant", "c", b"x")
    for key in ("a", "c/d", "c/d/e"):
        with pytest.raises(ObjectError, match=f"s3://plant/{key} cannot be stored"):
            objects.put("plant", key, b"y")
    assert list(objects.keys("plant")) == ["a/b", "c"]
    assert objects.get("plant", "c") == b"x"


def test_a_write_that_fails_leaves_nothing_behind(objects: Objects, root: Path) -> None:
    objects.put("plant", "a/b", b"x")
    with pytest.raises(ObjectError):
        objects.put("plant", "a", b"y")
    assert [path for path in root.rglob("*") if path.is_file()] == [root / "plant" / "a" / "b"]


def test_the_store_itself_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "objects").write_bytes(b"a file")
    objects = DirectoryObjects(tmp_path / "objects")
    with pytest.raises(ObjectError, match="cannot be written"):
        objects.check()
    with pytest.raises(ObjectError, match="cannot be stored"):
        objects.put("plant", "k", b"x")


def test_a_check_of_a_good_store_passes_and_makes_it(objects: Objects, root: Path) -> None:
    objects.check()
    assert root.is_dir()
    assert list(objects.keys("plant")) == []


def test_damaged_bytes_are_noticed(objects: Objects, root: Path) -> None:
    stored = objects.put("vigil", "models/m", b"x" * 1000)
    file = root / "vigil" / "models" / "m"
    for damaged in (b"x" * 999 + b"y", b"x" * 999, b"", b"x" * 1001):
        file.write_bytes(damaged)
        with pytest.raises(Corrupt, match=rf"s3://vigil/models/m is damaged.*{stored.sha256[:12]}"):
            get_verified(objects, stored)
    file.unlink()
    with pytest.raises(NoSuchObject):
        get_verified(objects, stored)


def test_a_version_cannot_be_asked_of_a_directory(objects: Objects) -> None:
    objects.put("plant", "k", b"x")
    with pytest.raises(ObjectError, match="keeps no versions"):
        objects.get("plant", "k", "1")


WRITER = """
import sys
from pathlib import Path
from storage.directory_objects import DirectoryObjects
objects = DirectoryObjects(Path(sys.argv[1]))
while True:
    for letter in (b"a", b"b"):
        objects.put("plant", "k", letter * 4_000_000)
        print(letter.decode(), flush=True)
"""


@pytest.fixture
def writer(root: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that writes one object over and over."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_a_writer_killed_in_mid_write_leaves_a_whole_object(
    objects: Objects, root: Path, writer: "subprocess.Popen[str]"
) -> None:
    assert writer.stdout is not None
    assert writer.stdout.readline() == "a\n"
    incoming = root / ".incoming"

    def in_mid_write() -> bool:
        data = objects.get("plant", "k")
        assert data in (b"a" * 4_000_000, b"b" * 4_000_000), "a reader never sees a part"
        return any(incoming.iterdir())

    wait_until(in_mid_write, 60, "the writer to be in the middle of a write")
    writer.kill()
    writer.wait()
    assert objects.get("plant", "k") in (b"a" * 4_000_000, b"b" * 4_000_000)
    assert list(objects.keys("plant")) == ["k"], "what is left of the write is no object"
    objects.put("plant", "k", b"after")
    assert objects.get("plant", "k") == b"after"


def test_a_full_disk_is_told_and_what_was_begun_is_removed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        objects = DirectoryObjects(disk.folder / "objects")
        kept = objects.put("plant", "kept", b"x" * 1000)
        with pytest.raises(Full, match=f"the disk of the object store is full; make room on the disk of {disk.folder}"):
            objects.put("plant", "large", bytes(8 * 1024 * 1024))
        disk.fill()
        with pytest.raises(Full):
            objects.put("plant", "kept", b"y" * 100_000)
        assert list((disk.folder / "objects" / ".incoming").iterdir()) == []
        assert get_verified(objects, kept) == b"x" * 1000
        disk.free()
        assert objects.put("plant", "large", bytes(1024 * 1024)).size == 1024 * 1024


def test_what_killed_writers_left_is_removed_after_an_hour(objects: Objects, root: Path) -> None:
    objects.put("plant", "k", b"x")
    old, young = root / ".incoming" / "old", root / ".incoming" / "young"
    for file, hours in ((old, 1.1), (young, 0.9)):
        file.write_bytes(b"half")
        os.utime(file, (time.time() - hours * 3600,) * 2)
    assert list(DirectoryObjects(root).keys("plant")) == ["k"]
    assert list((root / ".incoming").iterdir()) == [young]


def test_folders_go_with_their_last_object_and_the_bucket_stays(objects: Objects, root: Path) -> None:
    objects.put("plant", "a/b/c", b"x")
    objects.put("plant", "a/d", b"x")
    objects.delete("plant", "a/b/c")
    assert [path.name for path in (root / "plant" / "a").iterdir()] == ["d"]
    objects.delete("plant", "a/d")
    assert list((root / "plant").iterdir()) == []


def test_writing_into_a_folder_that_is_being_removed(objects: Objects) -> None:
    def write_and_delete(name: str) -> None:
        for _ in range(150):
            objects.put("plant", f"a/b/{name}", b"x")
            assert objects.get("plant", f"a/b/{name}") == b"x"
            objects.delete("plant", f"a/b/{name}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_delete, "wxyz"))
    assert list(objects.keys("plant")) == []
