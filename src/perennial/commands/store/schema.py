"""Command `store`: the revision of the SQL database's schema, forward and back."""

from __future__ import annotations

import click

from perennial import settings as environment
from perennial.commands.output import JSON, print_json, print_text
from perennial.commands.store import roles
from perennial.errors import SchemaMismatch, UsageError

SQL = click.option("--sql", "as_sql", is_flag=True, help="Print the SQL instead of running it.")


@click.group()
def store() -> None:
    """Show and migrate the schema of the database of releases, ledger, feedback and tokens, and admit its roles."""


store.add_command(roles.admit)
store.add_command(roles.roles)


@store.command()
@JSON
def status(as_json: bool) -> None:
    """Show the database's schema revision and what an upgrade would apply; changes nothing.

    Exits with 72 where other commands would refuse the database.
    """
    from perennial.wiring import database

    target = database.schema(environment.load())
    stored, titles = target.stored(), database.revisions()
    newest = list(titles)[-1]
    pending = [] if stored.is_empty else [{"revision": name, "what": titles[name]} for name in stored.pending]
    if as_json:
        print_json(
            {"database": target.shown, "revision": stored.revision, "newest": newest, "pending": pending}
        )
    else:
        made = (
            "none: made before revisions were recorded" if stored.tables else "none: the first use creates it"
        )
        print_text(f"database  {target.shown}")
        print_text(f"revision  {stored.revision or made}")
        print_text(f"newest    {newest}: {titles[newest]}")
        for step in pending:
            print_text(f"pending   {step['revision']}: {step['what']}")
    target.refuse_other_revision(stored)


@store.command()
@click.option("--to", help="Revision; the newest by default.")
@SQL
def upgrade(to: str | None, as_sql: bool) -> None:
    """Bring the schema forward; the ledger is verified before and after.

    An SQLite file is copied first. Stop the processes of this version before: perennial local down.
    """
    _move(to, as_sql, forward=True)


@store.command()
@click.option("--to", required=True, help="Revision of the older version of Perennial.")
@SQL
def downgrade(to: str, as_sql: bool) -> None:
    """Bring the schema back for an older version of Perennial; no row is lost.

    Stop the processes first, and give no other command of this version: it upgrades an SQLite file again.
    """
    _move(to, as_sql, forward=False)


def _move(to: str | None, as_sql: bool, *, forward: bool) -> None:
    from perennial.wiring import database

    target = database.schema(environment.load())
    names = list(database.revisions())
    goal = names[-1] if to is None else to
    if goal not in names:
        raise UsageError(f"{goal} is no schema revision of this version", hint=f"one of {', '.join(names)}")
    _refuse_direction(target.shown, target.stored().revision, names, goal, forward)
    if as_sql:
        for line in target.migration_sql(goal).expandtabs(4).splitlines():
            print_text(line)
        return
    before, backup = target.migrate(goal)
    if before.revision == goal:
        print_text(f"{target.shown} has revision {goal} already")
        return
    print_text(f"{target.shown}: revision {before.revision or 'none'} is now {goal}; the ledger holds")
    if backup is not None:
        print_text(f"backup: {backup}")


def _refuse_direction(shown: str, stored: str | None, names: list[str], goal: str, forward: bool) -> None:
    """Refuse a step back by `upgrade` and one forward by `downgrade`; the migration refuses unknown revisions."""
    if stored is None and not forward:
        raise SchemaMismatch(
            f"{shown} has no schema revision to go back from", hint="perennial store upgrade"
        )
    if stored not in names:
        return
    steps = names.index(goal) - names.index(stored)
    if steps < 0 if forward else steps > 0:
        other = "downgrade" if forward else "upgrade"
        raise UsageError(f"{shown} has revision {stored}", hint=f"perennial store {other} --to {goal}")
