"""Every storage test runs on SQLite and on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.settings import Settings
from tests.postgres import PROGRAM, Postgres, running_postgres

needs_postgres = pytest.mark.skipif(PROGRAM is None, reason="PostgreSQL is not tested: it is not installed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests; each takes a database of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def broker() -> str | None:
    """Folders, where a test does not say otherwise."""
    return None


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def settings(request: pytest.FixtureRequest, broker: str | None, tmp_path: Path) -> Settings:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    return Settings(data_dir=tmp_path / "data", catalogue_url=url, broker_url=broker, replica_wait_seconds=1)
