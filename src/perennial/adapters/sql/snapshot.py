"""A copy of the database of releases and ledger, with the end of the ledger as the copy has it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from perennial.adapters.backup import postgres_dump, sqlite_copy
from perennial.adapters.database_address import shown
from perennial.adapters.sql.chain_rows import stored_end, stored_rows
from perennial.adapters.sql.revision import NOTHING, StoredSchema, stored_schema
from perennial.core.governance.ledger import GENESIS, StoredRow
from perennial.errors import StoreUnavailable


class StoreSnapshot(NamedTuple):
    """Schema and ledger of a copy."""

    schema: StoredSchema
    end: tuple[int, str]
    rows: list[StoredRow]


EMPTY = StoreSnapshot(NOTHING, (0, GENESIS), [])


def save(url: str, target: Path) -> StoreSnapshot:
    """Copy the database and return what the copy holds, read of the same moment. The schema may be an older one.

    Raises:
        StoreUnavailable: the database does not answer, or refuses the copy.
        LedgerBroken: the head of the ledger is lost.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        sqlite_copy.copy(Path(str(address.database)), target)
        return read(f"sqlite:///{target}")
    try:
        engine = create_engine(url, isolation_level="REPEATABLE READ", poolclass=NullPool)
        with engine.connect() as connection:
            name = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            snapshot = _read(connection)
            postgres_dump.dump(url, target, name)
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"{shown(url)}: {error}", hint="does it run?") from error
    return snapshot


def read(url: str) -> StoreSnapshot:
    """Read a database that nobody writes to."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return _read(connection)


def _read(connection: Connection) -> StoreSnapshot:
    if connection.dialect.name == "sqlite":  # text that is not UTF-8 breaks the chain, and not the reader
        connection.connection.driver_connection.text_factory = partial(
            str, encoding="utf-8", errors="surrogateescape"
        )
    schema = stored_schema(connection)
    if schema.is_empty:
        return EMPTY
    return StoreSnapshot(schema, stored_end(connection), list(stored_rows(connection)))
