import sqlite3
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from storage import schema
from storage.database import Database
from storage.schema import metadata, migrate
from storage.settings import Settings
from storage.stores import open_stores


def test_migrations_of_an_empty_database_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'c.sqlite'}")
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert set(sa.inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}
    engine.dispose()


def test_migrating_twice_keeps_what_is_there(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'c.sqlite'}")
    database.migrate()
    with database.transaction() as connection:
        connection.execute(sa.text("INSERT INTO project VALUES ('p', 1.5, 7)"))
    database.migrate()
    with database.reading() as connection:
        assert connection.execute(sa.text("SELECT * FROM project")).all() == [("p", 1.5, 7)]
    database.close()


def test_keys_of_the_first_version_are_for_all_projects(tmp_path: Path) -> None:
    """A data directory whose catalogue was made before keys could be limited."""
    settings = Settings(data_dir=tmp_path / "data")
    stores = open_stores(settings)
    key = stores.keys.create()
    with stores.database.reading() as connection:
        row = dict(connection.execute(sa.text("SELECT * FROM access_key")).mappings().one())
    stores.database.close()
    (settings.data_dir / "catalogue.sqlite").unlink()
    del row["projects"]
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    engine = sa.create_engine(settings.catalogue)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.insert(sa.table("access_key", *map(sa.column, row))).values(row))
    engine.dispose()
    stores = open_stores(settings)
    assert stores.keys.find(key.id) == key
    assert key.projects is None
    stores.database.close()


def test_the_database_survives_a_loss_of_power_and_checks_its_references(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'c.sqlite'}")
    with database.reading() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    database.close()


def test_every_reference_between_tables_is_enforced(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'c.sqlite'}")
    database.migrate()
    database.close()
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        found = {
            table: {row[2] for row in connection.execute(f"PRAGMA foreign_key_list({table})")}
            for table in metadata.tables
        }
    connection.close()
    expected = {table.name: {key.column.table.name for key in table.foreign_keys} for table in metadata.tables.values()}
    assert found == expected
    assert expected["unit"] == {"model"}


START = """
import sys
from storage.settings import Settings
from storage.stores import open_stores
settings = Settings(data_dir=sys.argv[1], catalogue_url=sys.argv[2])
sys.stdin.read()  # until all are here
open_stores(settings).keys.create_first()
"""


def test_processes_that_start_together_make_one_schema_and_one_key(settings: Settings) -> None:
    command = [sys.executable, "-c", START, str(settings.data_dir), settings.catalogue]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    stores = open_stores(settings)
    assert len(stores.keys.all()) == 1
    stores.database.close()
