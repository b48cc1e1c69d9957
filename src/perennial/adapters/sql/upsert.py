"""INSERT with ON CONFLICT, which SQLAlchemy has per dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table


def insert(connection: Connection, table: Table) -> Any:
    """Return an INSERT that supports ON CONFLICT."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as of_dialect
    else:
        # This import takes a sixth of the start of a command; SQLite does without it.
        from sqlalchemy.dialects.postgresql import insert as of_dialect
    return of_dialect(table)
