"""Which revision of the schema a database has, read without Alembic, whose import would slow every command."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select, text

from perennial.adapters.sql.schema import NEWEST, REVISIONS, schema_revision
from perennial.errors import SchemaMismatch

NAMES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}
PREFIX = "perennial_"
"""Prefix of our tables: others' tables may be in the same database."""


class StoredSchema(NamedTuple):
    """Tables of ours in a database, and their revision."""

    tables: frozenset[str]
    revision: str | None
    """None: the database is empty, or was made before revisions were recorded."""

    @property
    def is_empty(self) -> bool:
        return not self.tables

    @property
    def is_newer(self) -> bool:
        """Return whether this code does not know the revision."""
        return self.revision is not None and self.revision not in REVISIONS

    @property
    def pending(self) -> tuple[str, ...]:
        """Return the revisions that an upgrade applies, in order."""
        if self.is_newer:
            return ()
        return REVISIONS if self.revision is None else REVISIONS[REVISIONS.index(self.revision) + 1 :]


NOTHING = StoredSchema(frozenset(), None)


def stored_schema(connection: Connection) -> StoredSchema:
    """Read the tables and the revision."""
    names = connection.execute(text(NAMES[connection.dialect.name])).scalars()
    tables = frozenset(name for name in names if name.startswith(PREFIX))
    if schema_revision.name not in tables:
        return StoredSchema(tables, None)
    stamps = connection.execute(select(schema_revision.c.version_num)).scalars().all()
    return StoredSchema(tables, ",".join(sorted(stamps)) or None)


def refuse_newer(schema: StoredSchema, shown: str) -> None:
    """Refuse a revision that this code does not know.

    Args:
        shown: address of the database without its password.
    """
    if schema.is_newer:
        raise SchemaMismatch(
            f"{shown} has schema revision {schema.revision}; this version of Perennial knows up to {NEWEST}",
            hint="use the newer version of Perennial, or with it: "
            f"perennial store downgrade --to {NEWEST} (docs/guide/operations.md)",
        )


def refuse_older(schema: StoredSchema, shown: str) -> None:
    """Refuse a database whose upgrade a person starts."""
    if schema.pending:
        revision = schema.revision or "from before revisions were recorded"
        raise SchemaMismatch(
            f"{shown} has schema revision {revision}; this version of Perennial needs {NEWEST}",
            hint="stop the processes, make a backup, then: perennial store upgrade, as a role that owns the tables",
        )
