"""Data keys: where KmsKeyId leads to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.data_keys import DataKeys, name_of
from storage.errors import DataKeyError

AWS_PATTERN = r"[A-Za-z0-9][A-Za-z0-9:_/+=,@.-]{0,300}"


@pytest.fixture
def keys(tmp_path: Path) -> DataKeys:
    return DataKeys(tmp_path / "kms-keys")


@pytest.mark.parametrize(
    "key_id",
    [
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "alias/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws-cn:kms:cn-north-1:111122223333:alias/1234abcd-12ab-34cd-56ef-1234567890ab",
    ],
)
def test_the_four_forms_lead_to_one_key(keys: DataKeys, key_id: str) -> None:
    keys.create("1234abcd-12ab-34cd-56ef-1234567890ab")
    assert keys.read(key_id)[0] == "1234abcd-12ab-34cd-56ef-1234567890ab"


@given(st.from_regex(AWS_PATTERN, fullmatch=True))
def test_whatever_aws_allows_stays_in_the_folder(key_id: str) -> None:
    keys = DataKeys(Path("/nowhere/kms-keys"))
    try:
        keys.read(key_id)
    except DataKeyError as error:
        if "does not exist" in str(error):
            shown = str(error).removesuffix(" does not exist").rpartition("the file ")[2]
            assert Path(shown).parent == Path("/nowhere/kms-keys")
            assert ".." not in Path(shown).parts
    else:
        pytest.fail("a key that nobody made was read")


@pytest.mark.parametrize("name", ["a", "plant/line-3", "..", "../../secret", ".", "a:b+c=d,e@f.key"])
def test_names_of_all_kinds_are_made_listed_and_read(keys: DataKeys, name: str) -> None:
    path = keys.create(f"alias/{name}")
    assert path.parent == keys.folder
    assert [file.name for file in keys.folder.iterdir()] == [path.name]
    assert list(keys.names()) == [name]
    assert keys.read(f"alias/{name}") == (name, path.read_bytes())
    assert (len(path.read_bytes()), path.stat().st_mode & 0o777) == (32, 0o600)
    assert keys.folder.stat().st_mode & 0o777 == 0o700
    assert keys.exposed() == []


@pytest.mark.parametrize(
    "key_id", ["", "a b", "ü", "a/b", "arn:aws:kms:us-east-1:1:grant/x", "alias/", "/a", "k" * 201]
)
def test_what_is_no_key_id_is_refused(key_id: str) -> None:
    with pytest.raises(DataKeyError, match=r"not of the form|too long"):
        name_of(key_id)


def test_a_key_is_never_replaced(keys: DataKeys) -> None:
    content = keys.create("a").read_bytes()
    with pytest.raises(DataKeyError, match="the data key 'a' is there already"):
        keys.create("a")
    assert keys.read("a")[1] == content


def test_a_key_that_is_missing_or_damaged_names_its_file(keys: DataKeys) -> None:
    with pytest.raises(DataKeyError, match=rf"no data key 'a': the file {keys.folder}/a\.key does not exist"):
        keys.read("a")
    keys.create("a").write_bytes(b"short")
    with pytest.raises(DataKeyError, match=rf"damaged: {keys.folder}/a\.key has 5 bytes instead of 32"):
        keys.read("a")


def test_keys_that_others_may_read_are_found(keys: DataKeys) -> None:
    path = keys.create("a")
    path.chmod(0o640)
    assert keys.exposed() == [path]
    keys.folder.chmod(0o755)
    assert keys.exposed() == [keys.folder, path]
