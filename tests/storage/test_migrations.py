import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from storage.database import Database
from storage.schema import metadata, migrate


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
