"""Connections to the SQL database: snapshots, transactions, and the creation of the tables at first use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel
from sqlalchemy import Connection, Engine, Select, create_engine, event, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from perennial.adapters.sql.schema import ledger, ledger_head, metadata
from perennial.core.governance.ledger import GENESIS
from perennial.errors import SettingsError, StoreUnavailable

BUSY_SECONDS = 15
CREATION_LOCK = 0x5045524E
"""Key of PostgreSQL's advisory lock: one process at a time creates the tables."""
NAMES = {
    "sqlite": "SELECT name FROM sqlite_master",
    "postgresql": "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace",
}
"""Queries for the names of all tables and indexes: SQLAlchemy's inspector skips SQLite's indexes on expressions."""

Value = TypeVar("Value", bound=BaseModel)


class Database:
    """Connections to a database. The tables are created at first use.

    Args:
        url: an SQLAlchemy address: `sqlite:///<file>` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            self._sqlite = parsed.get_backend_name() == "sqlite"
            self._file = Path(parsed.database) if self._sqlite and parsed.database else None
            self._engine = _sqlite_engine(url) if self._sqlite else create_engine(url, pool_pre_ping=True)
            self._snapshot: dict[str, Any] = {"perennial_read": True}
            if not self._sqlite:  # PostgreSQL's default lets each query see another moment
                self._snapshot["isolation_level"] = "REPEATABLE READ"
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise SettingsError(
                f"the database address cannot be used: {error}",
                hint="sqlite:///<file>, or postgresql+psycopg://<user>@<host>/<database> with the extra `postgres`",
            ) from error
        self._shown = parsed.render_as_string(hide_password=True)
        self._created = False

    @contextmanager
    def reading(self, *, damaged: bool = False) -> Iterator[Connection]:
        """Yield a connection that reads a snapshot; writers do not wait for it.

        Args:
            damaged: decode text that is not UTF-8 to lone surrogates instead of failing. Only SQLite stores such
                text; PostgreSQL refuses it.
        """
        with self._reaching():
            self._create()
            with self._engine.connect().execution_options(**self._snapshot) as connection:
                if damaged and self._sqlite:
                    # For this connection only: it is closed after use.
                    connection.connection.driver_connection.text_factory = partial(
                        str, encoding="utf-8", errors="surrogateescape"
                    )
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: everything in the block is written, or nothing."""
        with self._reaching():
            self._create()
            with self._engine.begin() as connection:
                yield connection

    def values(self, query: Select[tuple[str]], kind: type[Value]) -> list[Value]:
        """Return the JSON texts that a query selects, parsed as values of `kind`."""
        with self.reading() as connection:
            return [kind.model_validate_json(body) for body in connection.execute(query).scalars()]

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # the caller handles it
        except DBAPIError as error:
            raise StoreUnavailable(
                f"{self._shown}: {str(error.orig).strip()}",
                hint="check that the database runs, and PERENNIAL_DATABASE_URL",
            ) from error

    def _create(self) -> None:
        """Create the tables once. Several processes may try: the first creates them, the others wait."""
        if self._created:
            return
        with self._first_use():
            with self._engine.connect().execution_options(perennial_read=True) as connection:
                complete = _complete(connection)
            if not complete:
                self._create_tables()
        self._created = True

    @contextmanager
    def _first_use(self) -> Iterator[None]:
        """Lock the SQLite file and turn write-ahead logging on, which SQLite refuses while another process has the
        file open. PostgreSQL needs neither."""
        if self._file is None:
            yield
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._file}.lock", timeout=BUSY_SECONDS):
                with closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
                yield
        except (OSError, Timeout, sqlite3.Error) as error:
            raise StoreUnavailable(
                f"{self._shown}: cannot be opened: {error}",
                hint="set PERENNIAL_DATABASE_URL or PERENNIAL_HOME to a writable place",
            ) from error

    def _create_tables(self) -> None:
        with self._engine.begin() as connection:
            if not self._sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATION_LOCK})
            for table in metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))
            if not _has_end(connection):
                connection.execute(ledger_head.insert().values(id=1, seq=0, hash=GENESIS))


def _complete(connection: Connection) -> bool:
    """Return whether all tables and indexes exist. Checked first, because even CREATE INDEX IF NOT EXISTS locks its
    table: a late process would deadlock with writers."""
    names = set(connection.execute(text(NAMES[connection.dialect.name])).scalars())
    for table in metadata.sorted_tables:
        if not names.issuperset((table.name, *(index.name for index in table.indexes))):
            return False
    return _has_end(connection)


def _has_end(connection: Connection) -> bool:
    """Return whether the head exists or was lost. A lost head over existing rows is never recreated: the next row
    would be chained to nothing."""
    return any(connection.execute(select(table.c.seq).limit(1)).first() for table in (ledger_head, ledger))


def _sqlite_engine(url: str) -> Engine:
    """Return an engine whose readers and writer do not wait for each other (WAL, see `_first_use`). A write takes its
    lock at once: SQLite refuses a reader that becomes a writer after another process wrote."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # `_begin` sends BEGIN
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read = connection.get_execution_options().get("perennial_read", False)
        connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")

    return engine
