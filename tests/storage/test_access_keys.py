import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from storage import schema
from storage.access import AccessKeys
from storage.errors import StorageError, Unreachable
from storage.records import Role
from storage.settings import Settings
from storage.stores import Stores


def test_a_key_is_found_again_and_no_two_are_alike(stores: Stores) -> None:
    made = [stores.keys.create() for _ in range(20)]
    assert len({key.id for key in made}) == len({key.secret for key in made}) == 20
    assert all(stores.keys.find(key.id) == key for key in made)
    assert all(len(key.id) == 20 and len(key.secret) == 40 for key in made)
    assert stores.keys.first() == made[0]
    assert stores.keys.find("AKIANOBODY") is None


def test_there_is_no_key_until_one_is_made(stores: Stores) -> None:
    assert stores.keys.first() is None


def test_the_first_key_may_be_that_of_the_s3_server_and_is_made_once(stores: Stores) -> None:
    stores.keys.create_first(("vigil-4711", "a secret of the S3 server"))
    stores.keys.create_first()
    first = stores.keys.first()
    assert first is not None
    assert (first.id, first.secret, first.role) == ("vigil-4711", "a secret of the S3 server", Role.ADMIN)
    assert len(stores.keys.all()) == 1


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_the_secret_is_nowhere_in_the_data_directory(stores: Stores, settings: Settings) -> None:
    key = stores.keys.create()
    stores.database.close()
    files = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert any(key.id.encode() in path.read_bytes() for path in files)
    assert not any(key.secret.encode() in path.read_bytes() for path in files)


def test_the_key_file_is_for_its_owner_only(settings: Settings, stores: Stores) -> None:
    assert stores.keys
    assert stat.S_IMODE((settings.data_dir / "secret.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    assert not list(settings.data_dir.glob("secret.key.*")), "nothing is left of its making"


def test_another_key_file_is_a_clear_error(settings: Settings, stores: Stores) -> None:
    key = stores.keys.create()
    other = AccessKeys(stores.database, settings.data_dir / "other.key")
    with pytest.raises(StorageError, match=rf"{key.id} cannot be opened with .*other\.key: put back the file"):
        other.find(key.id)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 31, b"x" * 33, b"x" * 16])
def test_a_damaged_key_file_is_a_clear_error(settings: Settings, stores: Stores, content: bytes) -> None:
    file = settings.data_dir / "secret.key"
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"secret\.key"):
        AccessKeys(stores.database, file)


def test_a_key_file_that_cannot_be_read_is_a_clear_error(settings: Settings, stores: Stores) -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        AccessKeys(stores.database, settings.data_dir)


def test_a_secret_cannot_be_moved_to_another_key(stores: Stores) -> None:
    one, other = stores.keys.create(), stores.keys.create()
    table = schema.access_key
    with stores.database.transaction() as connection:
        sealed = connection.execute(sa.select(table.c.sealed_secret).where(table.c.id == one.id)).scalar_one()
        connection.execute(table.update().where(table.c.id == other.id).values(sealed_secret=sealed))
    with pytest.raises(StorageError, match=other.id):
        stores.keys.find(other.id)


def test_processes_that_start_at_once_agree_on_the_key_file(settings: Settings, stores: Stores) -> None:
    file = settings.data_dir / "new" / "secret.key"
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: AccessKeys(stores.database, file), range(8)))
    key = opened[0].create()
    assert all(keys.find(key.id) == key for keys in opened)
    assert [path.name for path in file.parent.iterdir()] == ["secret.key"]


def test_a_key_is_limited_to_its_projects(stores: Stores) -> None:
    free, limited = stores.keys.create(), stores.keys.create(Role.OPERATOR, ["plates", "lids"])
    assert free.projects is None
    assert limited.projects == {"plates", "lids"}
    assert stores.keys.find(limited.id) == limited
    assert [(key.id, key.role, key.projects) for key in stores.keys.all()] == [
        (free.id, Role.ADMIN, None),
        (limited.id, Role.OPERATOR, {"plates", "lids"}),
    ]


def test_an_admin_of_some_projects_is_not_the_admin_of_all(stores: Stores) -> None:
    stores.keys.create(Role.ADMIN, ["plates"])
    assert stores.keys.first() is None
    free = stores.keys.create()
    assert stores.keys.first() == free
    with pytest.raises(StorageError, match=f"'{free.id}' is the only admin key left that is for all projects"):
        stores.keys.revoke(free.id)
    stores.keys.create()
    stores.keys.revoke(free.id)
    assert stores.keys.find(free.id) is None


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_catalogue_without_an_answer_is_unreachable(stores: Stores) -> None:
    key = stores.keys.create()
    with stores.database.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE access_key RENAME TO elsewhere"))
    with pytest.raises(Unreachable, match="does not answer"):
        stores.keys.find(key.id)
