import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from storage.database import Database
from storage.errors import Conflict
from storage.stores import Stores
from tests.storage.arrange import abandoned


@pytest.fixture
def database(stores: Stores) -> Database:
    return stores.database


def names(stores: Stores) -> list[str]:
    return [project.name for project in stores.catalogue.projects()]


def test_a_transaction_that_raises_leaves_nothing(stores: Stores) -> None:
    with abandoned(stores.database.transaction()):
        stores.catalogue.create_project("a")
        with stores.database.transaction():
            stores.catalogue.create_project("b")
    assert names(stores) == []


def test_calls_within_a_transaction_see_its_changes_and_others_do_not(stores: Stores) -> None:
    with stores.database.transaction():
        stores.catalogue.create_project("a")
        assert names(stores) == ["a"]
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(names, stores).result(30) == [], "a reader waits for no writer"
    assert names(stores) == ["a"]


def test_an_attempt_is_undone_alone(stores: Stores) -> None:
    with stores.database.transaction():
        stores.catalogue.create_project("a")
        with pytest.raises(Conflict):
            stores.catalogue.create_project("a")
        with abandoned(stores.database.attempt()):
            stores.catalogue.create_project("b")
        stores.catalogue.create_project("c")
    assert names(stores) == ["a", "c"]


def test_callbacks_wait_for_the_commit_and_are_dropped_with_it(database: Database) -> None:
    called: list[str] = []
    with database.transaction():
        database.after_commit(lambda: called.append("outer"))
        with database.transaction():
            database.after_commit(lambda: called.append("inner"))
        assert called == []
    assert called == ["outer", "inner"]
    with abandoned(database.transaction()):
        database.after_commit(lambda: called.append("never"))
    with database.transaction():
        pass
    assert called == ["outer", "inner"]


def test_writers_wait_for_each_other(stores: Stores) -> None:
    """A counter that is read and written by many threads at once loses nothing."""
    stores.catalogue.create_project("p")
    start = threading.Barrier(6)

    def count(_: int) -> None:
        start.wait()
        for _ in range(10):
            with stores.database.transaction() as connection:
                value = connection.execute(sa.text("SELECT last_version FROM project")).scalar_one()
                connection.execute(sa.text("UPDATE project SET last_version = :v"), {"v": value + 1})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(count, range(6)))
    assert stores.catalogue.next_version("p") == 61
