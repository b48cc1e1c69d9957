"""Connections to the SQL database: snapshots, transactions, and the tables, which are made or checked at first use."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel
from sqlalchemy import Connection, Engine, Select, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from perennial.adapters.sql.owner import refuse_other_owner, stored_owner, write_owner
from perennial.adapters.sql.revision import NOTHING, StoredSchema, refuse_newer, refuse_older, stored_schema
from perennial.adapters.sql.schema import NEWEST, ledger_head, metadata, schema_revision
from perennial.core.governance.ledger import GENESIS
from perennial.errors import SettingsError, StoreUnavailable
from perennial.files import PRIVATE
from perennial.state_folder import refuse_other

BUSY_SECONDS = 15
MIGRATION_LOCK = 0x5045524E
"""Key of PostgreSQL's advisory lock: one process at a time creates or changes the tables."""
LOG = logging.getLogger(__name__)

Value = TypeVar("Value", bound=BaseModel)


class Database:
    """Connections to a database. At first use the tables are created; those of an older SQLite file are upgraded, and
    any other revision than that of this code is refused.

    Args:
        url: an SQLAlchemy address: `sqlite:///<file>` or `postgresql+psycopg://...`.
        tenant: whose database it must be, and becomes where it is empty; None: of a plant without a tenant.
    """

    def __init__(self, url: str, tenant: str | None = None) -> None:
        self._tenant = tenant
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
        self.shown = parsed.render_as_string(hide_password=True)
        self._prepared = False

    @contextmanager
    def reading(self, *, damaged: bool = False) -> Iterator[Connection]:
        """Yield a connection that reads a snapshot; writers do not wait for it.

        Args:
            damaged: decode text that is not UTF-8 to lone surrogates instead of failing. Only SQLite stores such
                text; PostgreSQL refuses it.
        """
        with self._reaching():
            self._prepare()
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
            self._prepare()
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
                f"{self.shown}: {str(error.orig).strip()}",
                hint="check that the database runs, and PERENNIAL_DATABASE_URL",
            ) from error

    def stored(self) -> StoredSchema:
        """Return which revision the database has; creates nothing."""
        if self._file is not None and not self._file.exists():
            return NOTHING
        with self._reaching(), self._engine.connect().execution_options(**self._snapshot) as connection:
            return stored_schema(connection)

    def refuse_other_revision(self, stored: StoredSchema) -> None:
        """Refuse what neither has the newest revision nor gets it by itself, as an empty database or an SQLite file."""
        refuse_newer(stored, self.shown)
        if not self._sqlite and not stored.is_empty:
            refuse_older(stored, self.shown)

    def refuse_other_owner(self) -> None:
        """Refuse the database of another tenant; creates nothing.

        Raises:
            OtherTenant: it is not of the tenant of these settings.
        """
        if self._file is not None and not self._file.exists():
            return
        with self._reaching(), self._engine.connect().execution_options(**self._snapshot) as connection:
            refuse_other_owner(connection, stored_schema(connection), self._tenant, self.shown)

    def claim(self, tenant: str) -> None:
        """Make a database of no tenant the tenant's; an empty one becomes so at its first use.

        Raises:
            OtherTenant: it is of another. SchemaMismatch: it has another revision.
        """
        with self._reaching(), self._first_use(), self._engine.begin() as connection:
            stored = stored_schema(connection)
            owner = stored_owner(connection, stored)
            if owner is not None:
                refuse_other(f"the database {self.shown}", owner, tenant)
            elif not stored.is_empty:
                refuse_newer(stored, self.shown)
                refuse_older(stored, self.shown)
                write_owner(connection, tenant)

    def prepare(self) -> None:
        """Create or upgrade the tables, or refuse them, as the first use does."""
        with self._reaching():
            self._prepare()

    def migrate(self, target: str = NEWEST) -> tuple[StoredSchema, Path | None]:
        """Bring the tables to a revision, forward or back; one process at a time.

        Returns:
            What was stored before, and the backup of an SQLite file that was made first.

        Raises:
            SchemaMismatch: the stored revision is newer than this code.
            LedgerBroken: the ledger does not hold; nothing has changed.
        """
        with self._reaching(), self._first_use():
            return self._migrate(target)

    def migration_sql(self, target: str = NEWEST) -> str:
        """Return the SQL of a migration from the stored revision; changes nothing."""
        from perennial.adapters.sql import migration

        stored = self.stored()
        refuse_newer(stored, self.shown)
        return migration.migration_sql(self._engine.dialect.name, stored.revision, target)

    def _prepare(self) -> None:
        """Create or upgrade the tables once. Several processes may try: the first does it, the others wait.

        Only an SQLite file is upgraded here: it belongs to one installation, and has a backup. See ADR 48.
        """
        if self._prepared:
            return
        with self._first_use():
            with self._engine.connect().execution_options(perennial_read=True) as connection:
                stored = stored_schema(connection)
                refuse_other_owner(connection, stored, self._tenant, self.shown)
            self.refuse_other_revision(stored)
            if stored.pending:
                before, backup = self._migrate(NEWEST)
                if backup is not None:
                    LOG.warning(
                        "%s: schema %s is now %s; backup: %s", self.shown, before.revision, NEWEST, backup
                    )
        self._prepared = True

    def _migrate(self, target: str) -> tuple[StoredSchema, Path | None]:
        with self._engine.begin() as connection:
            if not self._sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            stored = stored_schema(connection)  # another process may have been first
            refuse_other_owner(connection, stored, self._tenant, self.shown)
            refuse_newer(stored, self.shown)
            if stored.is_empty and target == NEWEST:
                _create_tables(connection)
                write_owner(connection, self._tenant)
                return stored, None
            if stored.revision == target:
                return stored, None
            backup = None if self._file is None or stored.is_empty else _back_up(self._file, stored.revision)
            from perennial.adapters.sql import migration  # Alembic's import takes a fifth of a second

            try:
                migration.migrate(connection, stored, target)
            except BaseException:
                if backup is not None:  # nothing has changed; a process that is restarted would fill the disk
                    backup.unlink()
                raise
            return stored, backup

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
                f"{self.shown}: cannot be opened: {error}",
                hint="set PERENNIAL_DATABASE_URL or PERENNIAL_HOME to a writable place",
            ) from error


def _create_tables(connection: Connection) -> None:
    """Create the newest schema at once, as the revisions make it step by step (a test compares the two)."""
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table))
        for index in table.indexes:
            connection.execute(CreateIndex(index))
    connection.execute(ledger_head.insert().values(id=1, seq=0, hash=GENESIS))
    connection.execute(schema_revision.insert().values(version_num=NEWEST))


def _back_up(file: Path, revision: str | None) -> Path:
    """Copy an SQLite file while the caller's transaction keeps writers out; only its owner may read the copy."""
    copy = file.with_name(
        f"{file.name}.{revision or 'unversioned'}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.backup"
    )
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
    address = f"{file.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


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
