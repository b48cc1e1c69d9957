"""Tables of our SQL database, for SQLite and PostgreSQL, and how a connection to either is made."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.functions import FunctionElement

from perennial.core.governance.ledger import GENESIS
from perennial.errors import SettingsError, StoreUnavailable

BUSY_SECONDS = 15
CREATION_LOCK = 0x5045524E  # of PostgreSQL's advisory locks: one process creates the tables at a time

metadata = MetaData()


class entry_field(FunctionElement):  # noqa: N801 an SQL function
    """A text field of a ledger entry's JSON. Indices are made of it, so what rows are found by is the very
    text that the hash covers: a column of its own could be changed without breaking the chain."""

    type = String()
    inherit_cache = False  # the name of the field is part of the SQL
    name = "entry_field"


@compiles(entry_field, "sqlite")
def _sqlite_field(element, compiler, **kw) -> str:
    column, name = element.clauses
    text = compiler.process(column, **kw)
    # A text that is no JSON, put there by hand, must be found by `ledger verify`, not stop every query.
    return f"(CASE WHEN json_valid({text}) THEN json_extract({text}, '$.{name.value}') END)"


@compiles(entry_field, "postgresql")
def _postgresql_field(element, compiler, **kw) -> str:
    column, name = element.clauses
    return f"(CAST({compiler.process(column, **kw)} AS json) ->> '{name.value}')"


releases = Table(
    "perennial_release",
    metadata,
    Column("release_id", String(64), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("phase", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Index("perennial_release_model", "model", "started_us"),
)

intents = Table(
    "perennial_intent",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(200), nullable=False, unique=True),
    Column("release_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Index("perennial_intent_release", "release_id"),
)

ledger = Table(
    "perennial_ledger",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("model", String(128), nullable=False),
    Column("entry", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("perennial_ledger_model", "model"),
)
Index("perennial_ledger_kind", ledger.c.model, entry_field(ledger.c.entry, "kind"), ledger.c.seq)
Index("perennial_ledger_release", entry_field(ledger.c.entry, "release_id"))

# One row: who appends locks it, so that the chain has one end.
ledger_head = Table(
    "perennial_ledger_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)

feedback = Table(
    "perennial_feedback",
    metadata,
    Column("prediction_id", String(128), primary_key=True),
    Column("label", Float, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Index("perennial_feedback_received", "received_us"),
)


delivery = Table(
    "perennial_delivery",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("leased_us", BigInteger, nullable=False),
)

tokens = Table(
    "perennial_token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("body", Text, nullable=False),
)

NAMES = {
    "sqlite": "SELECT name FROM sqlite_master",
    "postgresql": "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace",
}
"""What is there, tables and indexes: SQLAlchemy's inspector passes over SQLite's indexes on expressions."""

# A table of its own, since a column more would leave databases made before it without one.
rewards = Table(
    "perennial_reward",
    metadata,
    Column("prediction_id", String(128), primary_key=True),
    Column("reward", Float, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Index("perennial_reward_received", "received_us"),
)


class Database:
    """Connections to one database; its tables are made at the first use."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            self._sqlite = parsed.get_backend_name() == "sqlite"
            self._file = Path(parsed.database) if self._sqlite and parsed.database else None
            self._engine = _sqlite_engine(url) if self._sqlite else create_engine(url, pool_pre_ping=True)
            self._snapshot = {"perennial_read": True}
            if not self._sqlite:  # by default each of its queries sees another moment
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
        """A snapshot; writers are not held up.

        Args:
            damaged: text that is no UTF-8, put there by hand, comes with its bytes as lone surrogates instead of
                failing. Only SQLite stores such text; PostgreSQL refuses it.
        """
        with self._reaching():
            self._create()
            with self._engine.connect().execution_options(**self._snapshot) as connection:
                if damaged and self._sqlite:
                    # Of this connection only: it is closed after use.
                    connection.connection.driver_connection.text_factory = partial(
                        str, encoding="utf-8", errors="surrogateescape"
                    )
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: everything in the block or nothing."""
        with self._reaching():
            self._create()
            with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # the caller knows what it means
        except DBAPIError as error:
            raise StoreUnavailable(
                f"{self._shown}: {str(error.orig).strip()}",
                hint="is the database up, and PERENNIAL_DATABASE_URL right?",
            ) from error

    def _create(self) -> None:
        """Several processes may do this at once: the first makes the tables, the others wait."""
        if self._created:
            return
        with self._first_use():
            with self._engine.connect().execution_options(perennial_read=True) as connection:
                complete = _complete(connection)
            if not complete:
                self._make_tables()
        self._created = True

    @contextmanager
    def _first_use(self) -> Iterator[None]:
        """For a file: one process at a time, and write-ahead logging on. Switching to it is refused while
        anybody else has the file open, however long one would wait."""
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
                hint="set PERENNIAL_DATABASE_URL or PERENNIAL_HOME to a place that can be written",
            ) from error

    def _make_tables(self) -> None:
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
    """Whether everything is there. Asked first, since even CREATE INDEX IF NOT EXISTS locks its table: a
    process that comes late would deadlock with those that write."""
    names = set(connection.execute(text(NAMES[connection.dialect.name])).scalars())
    for table in metadata.sorted_tables:
        if not names.issuperset((table.name, *(index.name for index in table.indexes))):
            return False
    return _has_end(connection)


def _has_end(connection: Connection) -> bool:
    """Whether the note of the ledger's end is there, or is lost: over rows that are there it is never made
    anew, which would chain the next row to nothing."""
    return any(connection.execute(select(table.c.seq).limit(1)).first() for table in (ledger_head, ledger))


def _sqlite_engine(url: str) -> Engine:
    """In WAL (see `_first_use`) readers and the one writer do not wait for each other; a write takes its lock
    at once, since a reader that becomes a writer halfway is refused when somebody else wrote meanwhile."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection, record) -> None:
        connection.isolation_level = None  # BEGIN is ours, below
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read = connection.get_execution_options().get("perennial_read", False)
        connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")

    return engine
