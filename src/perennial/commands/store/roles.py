"""Commands `store admit` and `store roles`: which rights a role of PostgreSQL has on our tables."""

from __future__ import annotations

import click

from perennial import settings as environment
from perennial.commands.output import JSON, print_json, print_table, print_text


@click.command()
@click.argument("role")
@click.option(
    "--as", "use", type=click.Choice(["plant", "recorder"]), required=True,
    help="plant: processes and commands; recorder: MLflow's server and Airflow's API server.",
)  # fmt: skip
def admit(role: str, use: str) -> None:
    """Give the PostgreSQL role ROLE the rights of one use, and no others.

    The role must exist; give the command as the role that owns the tables, after each `store upgrade` again.
    """
    from perennial.core.governance.database_use import DatabaseUse
    from perennial.wiring import database

    database.admit(environment.load(), role, DatabaseUse(use))
    print_text(f"{role} has the rights of {use}, and no others")


@click.command()
@JSON
def roles(as_json: bool) -> None:
    """Show which rights each kind of role has on each table; asks no database."""
    from perennial.wiring import database

    rights = {use.value: dict(given) for use, given in database.rights().items()}
    if as_json:
        print_json(rights)
        return
    names = sorted({table for given in rights.values() for table in given})
    rows = [[name, *(", ".join(given.get(name, ("-",))) for given in rights.values())] for name in names]
    print_table(["table", *rights], rows)
