"""The catalogue's database: one engine, and transactions that the calls of one thread join."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from storage.schema import migrate

BUSY_TIMEOUT_MS = 30_000
_WRITERS = 7580  # the advisory lock of all who write; any number that nothing else in the database locks


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
        after: list[Callable[[], None]] = []
        self._local.after = after
        try:
            with self._engine.connect() as connection, connection.begin():
                self._local.connection = connection
                yield connection
        finally:
            self._local.connection = None
        for callback in after:
            callback()

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

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the open transaction is committed; never when it is rolled back."""
        self._local.after.append(callback)


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
