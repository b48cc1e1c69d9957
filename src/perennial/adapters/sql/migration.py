"""Migrations of the SQL schema with Alembic, in one transaction each, over a ledger that holds before and after."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from perennial.adapters.sql import migrations
from perennial.adapters.sql.chain_rows import HEAD, stored_end, stored_rows
from perennial.adapters.sql.revision import StoredSchema
from perennial.adapters.sql.schema import REVISIONS, ledger, ledger_head, schema_revision
from perennial.core.governance.ledger import COMPARE, GENESIS, compare_end, verify_stored
from perennial.errors import LedgerBroken

WAIT = "15s"
"""How long a migration waits for those who write to the tables."""


def migrate(connection: Connection, schema: StoredSchema, target: str) -> None:
    """Bring the tables from the stored revision to `target`, forward or back, in the caller's transaction.

    Raises:
        LedgerBroken: the chain or its head does not hold, before or after.
    """
    if connection.dialect.name == "postgresql":
        _lock(connection, schema)
    before = _verified(connection, schema, "before the migration, which was not begun")
    context = _context(schema.revision, target)
    with context:
        context.configure(connection=connection, version_table=schema_revision.name)
        context.run_migrations()
    after = _verified(connection, schema, "after the migration, which was undone")
    if before != after:
        raise LedgerBroken(f"the migration changed the ledger: {before} is now {after}", hint=COMPARE)


def migration_sql(dialect: str, start: str | None, target: str) -> str:
    """Return the SQL of a migration for somebody else to run."""
    output = StringIO()
    context = _context(start, target, as_sql=True, starting_rev=start, destination_rev=target)
    with context:
        context.configure(dialect_name=dialect, version_table=schema_revision.name, output_buffer=output)
        with context.begin_transaction():
            context.run_migrations()
    return output.getvalue()


def titles() -> dict[str, str]:
    """Return the first line of each revision's description, oldest first."""
    scripts = _scripts()
    return {name: scripts.get_revision(name).doc for name in REVISIONS}


def _scripts() -> ScriptDirectory:
    folder = str(Path(migrations.__file__).parent)
    return ScriptDirectory(folder, version_locations=[folder])


def _context(start: str | None, target: str, **options: Any) -> EnvironmentContext:
    """Return Alembic's context without an `env.py`: the connection and its transaction are the caller's."""
    scripts = _scripts()
    forward = start is None or REVISIONS.index(start) <= REVISIONS.index(target)
    steps: Callable[[str, Any], Any] = scripts._upgrade_revs if forward else scripts._downgrade_revs
    return EnvironmentContext(Config(), scripts, fn=lambda current, _: steps(target, current), **options)


def _lock(connection: Connection, schema: StoredSchema) -> None:
    """Lock the tables in the order in which writers take them: a writer holds others when it locks the head."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT}'"))
    last = [ledger_head.name, ledger.name]
    for name in [*sorted(schema.tables - set(last)), *(name for name in last if name in schema.tables)]:
        connection.execute(text(f'LOCK TABLE "{name}" IN ACCESS EXCLUSIVE MODE'))


def _verified(connection: Connection, schema: StoredSchema, when: str) -> tuple[int, str]:
    """Return number and hash of the last entry, which covers all before it.

    A head that was kept elsewhere names one of these hashes, so it holds afterwards where it held before.
    """
    if ledger.name not in schema.tables:
        return 0, GENESIS
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        driver.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    rows = list(stored_rows(connection))
    broken = verify_stored(rows)
    end = (len(rows), rows[-1].hash if rows else GENESIS)
    wrong = (
        compare_end(*end, stored_end(connection, HEAD))
        if broken is None
        else f"the chain breaks at entry {broken} of {len(rows)}"
    )
    if wrong:
        raise LedgerBroken(f"{wrong}, {when}", hint=COMPARE)
    return end
