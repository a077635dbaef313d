"""The catalogue's database: one engine, and transactions that the calls of one thread join."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from storage.errors import StorageError
from storage.schema import migrate

BUSY_TIMEOUT_MS = 30_000
_LOG_BYTES = 4_500_000  # over SQLite's default of 1000 pages of 4 KiB
_POSTGRESQL_FULL = "53100"
_WRITERS = 7580  # the advisory lock of all who write; any number that nothing else in the database locks

log = logging.getLogger(__name__)


def is_full(error: sa.exc.DBAPIError) -> bool:
    """Whether the disk of the database is full: the same may go through later."""
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
    return getattr(error.orig, "sqlstate", None) == _POSTGRESQL_FULL


def unless_away(action: Callable[[], object]) -> None:
    """Do it; where the catalogue cannot be reached only say so, for who does the same again soon."""
    try:
        action()
    except sa.exc.OperationalError as error:
        log.warning("the catalogue cannot be reached now, trying again: %s", error)


class Database:
    """Opens connections. Within `transaction()` every read and write of the same thread is part of it."""

    def __init__(self, url: str) -> None:
        # A connection that a restart of the server has broken is noticed before it is used, not by the caller.
        self._engine = sa.create_engine(url, connect_args=_connect_args(url), pool_pre_ping=True)
        self._local = threading.local()
        if self._engine.dialect.name == "sqlite":
            if self._engine.url.database:
                Path(self._engine.url.database).parent.mkdir(parents=True, exist_ok=True)
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
            self._reading: dict[str, object] = {}
        else:
            sa.event.listen(self._engine, "begin", _begin_postgresql)
            self._reading = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def migrate(self) -> None:
        """Create or update the tables."""
        migrate(self._engine)

    def reserve(self) -> None:
        """Grow SQLite's log to the length at which it begins anew: then small changes, as of leases, need no more disk.

        For a process that keeps the database open, since the log goes when the last one closes it.
        """
        file = Path(f"{self._engine.url.database}-wal")
        if self._engine.dialect.name == "sqlite" and not (file.exists() and file.stat().st_size >= _LOG_BYTES):
            with self.transaction() as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filler (content BLOB)")
                connection.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(?))", (_LOG_BYTES,))
            with self.transaction() as connection:
                connection.exec_driver_sql("DROP TABLE IF EXISTS filler")

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A write transaction, committed at the end, rolled back by an exception; joins the one already open."""
        current: sa.Connection | None = getattr(self._local, "connection", None)
        if current is not None:
            yield current
            return
        after: list[Callable[[], object]] = []
        undo: list[Callable[[], object]] = []
        self._local.after, self._local.undo = after, undo
        try:
            with self._engine.connect() as connection, connection.begin():
                self._local.connection = connection
                yield connection
        except BaseException:
            for callback in undo:
                try:
                    callback()
                except StorageError as error:
                    log.warning("what belonged to a transaction that was rolled back is left: %s", error)
            raise
        finally:
            self._local.connection = None
        for action in after:
            action()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of the open transaction that is undone alone when it raises."""
        with self.transaction() as connection, connection.begin_nested():
            yield

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view that waits for no writer; joins the transaction already open."""
        current: sa.Connection | None = getattr(self._local, "connection", None)
        if current is not None:
            yield current
            return
        with self._engine.connect().execution_options(reading=True, **self._reading) as connection:
            yield connection

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call back once the open transaction is committed; never when it is rolled back."""
        self._local.after.append(callback)

    def after_rollback(self, callback: Callable[[], None]) -> None:
        """Call back once the open transaction is rolled back, also by a commit that fails. For what is no record."""
        self._local.undo.append(callback)


def _connect_args(url: str) -> dict[str, object]:
    return {"check_same_thread": False} if url.startswith("sqlite") else {}


def _prepare_sqlite(connection: object, _record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "case_sensitive_like=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A write transaction takes the lock at once: one that starts as a reader cannot wait for a writer later.
    reading = connection.get_execution_options().get("reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: sa.Connection) -> None:
    # One writer at a time, as on SQLite: what a transaction has looked up still holds when it writes.
    if not connection.get_execution_options().get("reading"):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITERS)))
