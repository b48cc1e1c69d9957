"""Whose database it is: its tenant, which each first use compares with that of the settings."""

from __future__ import annotations

from sqlalchemy import Connection, select

from perennial.adapters.sql.revision import StoredSchema
from perennial.adapters.sql.schema import tenant as table
from perennial.state_folder import refuse_other


def stored_owner(connection: Connection, stored: StoredSchema) -> str | None:
    """Return the tenant of a database; None: a plant without a tenant, or nobody's."""
    if table.name not in stored.tables:
        return None
    return connection.execute(select(table.c.name)).scalar_one_or_none()


def refuse_other_owner(connection: Connection, stored: StoredSchema, tenant: str | None, shown: str) -> None:
    """Refuse a database that is not of this tenant; an empty one is nobody's.

    Args:
        shown: address of the database without its password.

    Raises:
        OtherTenant: it is of another, or of none.
    """
    if not stored.is_empty:
        refuse_other(f"the database {shown}", stored_owner(connection, stored), tenant)


def write_owner(connection: Connection, tenant: str | None) -> None:
    """Store the tenant of a database whose tables are there."""
    if tenant is not None:
        connection.execute(table.insert().values(name=tenant))
