"""Rights of the PostgreSQL roles that use our tables without owning them: one table, and the statements that grant it.

The owner of the tables makes and migrates them (`perennial store upgrade`), admits roles and dumps the database. No
process runs as the owner, who could rewrite the ledger or drop it (ADR 61).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, Table, text

from perennial.adapters.sql import schema as tables
from perennial.adapters.sql.database import Database
from perennial.core.governance.database_use import DatabaseUse
from perennial.errors import UsageError

ROLE = re.compile(r"[a-z][a-z0-9_]{0,39}")
WORDS = ("public", "current_user", "current_role", "session_user", "none")
"""To GRANT these are no roles: `public` is every role."""


READ, ADD = ("SELECT",), ("SELECT", "INSERT")
CHANGE, TAKE_OUT = ("SELECT", "INSERT", "UPDATE"), ("SELECT", "DELETE")
RIGHTS: Mapping[DatabaseUse, Mapping[Table, tuple[str, ...]]] = {
    DatabaseUse.PLANT: {
        tables.schema_revision: READ,
        tables.tenant: READ,
        tables.ledger: ADD,
        tables.ledger_head: ("SELECT", "UPDATE (seq, hash)"),
        tables.releases: CHANGE,
        tables.release_passes: CHANGE,
        tables.intents: ADD,
        tables.feedback: CHANGE,
        tables.reviews: CHANGE,
        tables.label_changes: CHANGE,
        tables.deliveries: CHANGE,
        tables.version_numbers: ADD,
        tables.detectors: CHANGE,
        tables.tokens: CHANGE,
        tables.wanted: CHANGE,
        tables.machines: TAKE_OUT,
        tables.machine_counters: READ,
        tables.machine_calls: ("SELECT", "INSERT", "DELETE", "UPDATE (asked_us)"),  # to lock a row
    },
    DatabaseUse.RECORDER: {
        tables.schema_revision: READ,
        tables.tenant: READ,
        tables.ledger: ADD,
        tables.ledger_head: ("SELECT", "UPDATE (seq, hash)"),
    },
    # Rights to single columns let nobody lock a table, which those to the whole table do.
    DatabaseUse.MACHINE: {
        tables.schema_revision: READ,
        tables.tenant: READ,
        tables.wanted: READ,
        tables.machines: ("SELECT", "INSERT", "UPDATE (seen_us, body)"),
        tables.machine_counters: ("SELECT", "INSERT", "UPDATE (body)"),
        tables.machine_calls: ("SELECT", "UPDATE (answer)"),
    },
}
"""Use -> table -> rights; what is not here is refused by the database."""
SEQUENCES: Mapping[Table, str] = {tables.intents: "perennial_intent_seq_seq"}
"""Table -> sequence of its numbers, which whoever inserts a row uses."""
MOST: Mapping[Table, tuple[int, str, int]] = {
    tables.machines: (200, "body", 4 * 1024 * 1024),
    tables.machine_counters: (5_000, "body", 64 * 1024),
    tables.machine_calls: (0, "answer", 16 * 1024 * 1024),
}
"""Table of rows by machine -> most rows of a role (0: it adds none), and most bytes of a column."""

COUNT = """
CREATE OR REPLACE FUNCTION perennial_few_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = "{schema}", pg_temp AS $$
DECLARE rows bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM %I.%I WHERE split_part(machine, ''.'', 1) = $1', TG_TABLE_SCHEMA, TG_TABLE_NAME)
    INTO rows USING session_user;
  IF rows > TG_ARGV[0]::bigint THEN
    RAISE insufficient_privilege USING
      MESSAGE = format('%s has more than %s rows in %s', session_user, TG_ARGV[0], TG_TABLE_NAME);
  END IF;
  RETURN NULL;
END $$
"""
"""Trigger that refuses a statement after which a role has too many rows. It counts as the owner of the table."""


MORE = """
SELECT tablename, kind FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) kind
WHERE schemaname = current_schema() AND tablename LIKE 'perennial\\_%'
  AND has_table_privilege(:role, quote_ident(schemaname) || '.' || quote_ident(tablename), kind)
"""
"""Rights to whole tables that a role has, from whomever: also by another role, as everybody, or as a superuser."""


def statements(role: str, use: DatabaseUse, database: str, schema: str) -> Iterator[str]:
    """Yield the statements that give a role the rights of a use, and no others; repeating them changes nothing.

    Machines with one role are named `role` or `role.name`.

    Args:
        database, schema: names as they stand within double quotes.

    Raises:
        UsageError: no name of a role.
    """
    if not ROLE.fullmatch(role) or role in WORDS:
        raise UsageError(
            f"{role!r} cannot be the name of a role here", hint="as serving_a: 40 of a-z, 0-9, _"
        )
    role = f'"{role}"'  # a name such as `user` is a word of SQL
    yield f'GRANT CONNECT ON DATABASE "{database}" TO {role}'
    yield f"REVOKE ALL ON {', '.join(table.name for table in tables.metadata.sorted_tables)} FROM {role}"
    yield f"REVOKE ALL ON {', '.join(SEQUENCES.values())} FROM {role}"
    for table, rights in RIGHTS[use].items():
        yield f"GRANT {', '.join(rights)} ON {table.name} TO {role}"
        if "INSERT" in rights and table in SEQUENCES:
            yield f"GRANT USAGE ON {SEQUENCES[table]} TO {role}"
    yield from _row_rules(schema)


def _row_rules(schema: str) -> Iterator[str]:
    """Yield the rules of row-level security: machines have their own rows, within limits; who reads the ledger has all.

    They name no role: a dump of them can be restored where the roles do not exist.
    """
    yield COUNT.format(schema=schema)
    for table, (most, column, size) in MOST.items():
        own = "split_part(machine, '.', 1) = current_user"
        fits = f"octet_length(coalesce({column}, '')) <= {size}"
        reads_ledger = f"has_table_privilege(current_user, '{tables.ledger.name}'::regclass, 'SELECT')"
        yield f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY"
        for name, rule in {
            "perennial_own_rows": f"({own}) WITH CHECK ({own} AND {fits})",
            "perennial_rows_of_all": f"({reads_ledger})",
        }.items():
            yield f"DROP POLICY IF EXISTS {name} ON {table.name}"
            yield f"CREATE POLICY {name} ON {table.name} USING {rule}"
        if most:
            yield (
                f"CREATE OR REPLACE TRIGGER perennial_few_rows AFTER INSERT ON {table.name} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION perennial_few_rows({most})"
            )


def admit(database: Database, role: str, use: DatabaseUse) -> None:
    """Give an existing role the rights of a use, in place of those that it had.

    Raises:
        UsageError: no name of a role, the database has no roles, or the role would keep more rights than these.
        StoreUnavailable: there is no such role, or this one does not own the tables. Nothing has changed then.
    """
    with database.writing() as connection:
        if connection.dialect.name != "postgresql":
            raise UsageError("SQLite has no roles", hint="PERENNIAL_DATABASE_URL of a PostgreSQL database")
        _refuse_owner(connection, role)
        place = connection.execute(text("SELECT current_database(), current_schema()")).one()
        for statement in statements(role, use, *(part.replace('"', '""') for part in place)):
            connection.exec_driver_sql(statement.replace("%", "%%"))  # the driver looks for parameters
        _refuse_more(connection, role, use)


def _refuse_owner(connection: Connection, role: str) -> None:
    """Refuse the owner of the tables, from whom a REVOKE would take them."""
    query = text("SELECT tableowner FROM pg_tables WHERE schemaname = current_schema() AND tablename = :name")
    owner = connection.execute(query, {"name": tables.ledger.name}).scalar_one_or_none()
    if owner == role:
        raise UsageError(
            f"{role} owns the tables", hint="make a role for the processes: docs/guide/production.md"
        )


def _refuse_more(connection: Connection, role: str, use: DatabaseUse) -> None:
    """Refuse a role that has rights which a REVOKE from it does not take: those of a superuser, or of another role."""
    granted = {(table.name, right) for table, rights in RIGHTS[use].items() for right in rights}
    more = [f"{kind} on {table}" for table, kind in connection.execute(text(MORE), {"role": role})
            if (table, kind) not in granted]  # fmt: skip
    passes = text("SELECT rolbypassrls FROM pg_roles WHERE rolname = :role")
    if not more and connection.execute(passes, {"role": role}).scalar_one():
        more = ["BYPASSRLS"]
    if more:
        raise UsageError(
            f"{role} would keep {more[0]} and {len(more) - 1} more, by another role, PUBLIC or as a superuser",
            hint=f"take them away (psql: \\du {role}); nothing was changed",
        )
