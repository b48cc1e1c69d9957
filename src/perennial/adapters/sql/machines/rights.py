"""Rights of a serving machine's role on PostgreSQL: it reads what is wanted, and writes rows under its own name."""

from __future__ import annotations

import re

from sqlalchemy import text

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import (
    machine_calls,
    machine_counters,
    machines,
    schema_revision,
    wanted,
)
from perennial.errors import UsageError

ROLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
WORDS = ("public", "current_user", "current_role", "session_user", "none")
"""To GRANT these are no roles: `public` is every role."""
OWN = (machines, machine_counters, machine_calls)


def rights(role: str, database: str) -> list[str]:
    """Return the statements that give a role its rights; repeating them changes nothing.

    Machines with one role are named `role` or `role.name`.

    Raises:
        UsageError: no name of a machine.
    """
    if not ROLE.fullmatch(role) or role in WORDS:
        raise UsageError(f"{role!r} cannot be the name of a machine", hint="as serving_a: a-z, 0-9, _")
    policies = [
        statement
        for table in OWN
        for statement in (
            f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY",
            f"DROP POLICY IF EXISTS perennial_own_rows ON {table.name}",
            f"CREATE POLICY perennial_own_rows ON {table.name} "
            "USING (split_part(machine, '.', 1) = current_user)",
        )
    ]
    quoted = database.replace('"', '""')
    return [
        *policies,
        f'GRANT CONNECT ON DATABASE "{quoted}" TO {role}',
        f"GRANT SELECT ON {schema_revision.name}, {wanted.name} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE ON {machines.name}, {machine_counters.name} TO {role}",
        f"GRANT SELECT, UPDATE (answer) ON {machine_calls.name} TO {role}",
    ]


def admit(database: Database, role: str) -> None:
    """Give an existing role the rights of the machine of its name.

    Raises:
        UsageError: no name of a machine, or the database has no roles. StoreUnavailable: there is no such role.
    """
    with database.writing() as connection:
        if connection.dialect.name != "postgresql":
            raise UsageError("SQLite has no roles", hint="PERENNIAL_DATABASE_URL of a PostgreSQL database")
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        for statement in rights(role, name):
            connection.exec_driver_sql(statement)
