"""`perennial data import-csv`, `import-sql`, `append`: tables that Perennial keeps in its state folder."""

from __future__ import annotations

import re
from pathlib import Path

import click

from perennial.commands.output import print_text
from perennial.errors import UsageError
from perennial.settings import Settings, load

missing_option = click.option("--missing", multiple=True, help="Further text of a missing value; repeatable.")


@click.command("import-csv")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@missing_option
def import_csv(name: str, file: Path, missing: tuple[str, ...]) -> None:
    """Keep a CSV or Parquet file as the new table NAME."""
    from perennial.wiring import tables

    settings = load()
    table = tables.kept(settings, _checked(name))
    if table.exists():
        raise UsageError(f"there is a table {name!r}", hint=f"perennial data append {name} FILE adds rows")
    _say(settings, name, tables.add_file(table, file, missing))


@click.command("append")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@missing_option
def append(name: str, file: Path, missing: tuple[str, ...]) -> None:
    """Append the rows of a CSV or Parquet file to the table NAME; the same file again changes nothing."""
    from perennial.wiring import tables

    settings = load()
    table = tables.kept(settings, _checked(name))
    if not table.exists():
        raise UsageError(
            f"there is no table {name!r}", hint=f"perennial data import-csv {name} FILE makes it"
        )
    _say(settings, name, tables.add_file(table, file, missing))


@click.command("import-sql")
@click.argument("name")
@click.argument("query")
@click.option("--connection", metavar="ENVVAR", required=True,
              help="Environment variable with the address of the database.")  # fmt: skip
@click.option(
    "--high-water", metavar="COLUMN", help="Column that only rises: read only what is above the last read."
)
def import_sql(name: str, query: str, connection: str, high_water: str | None) -> None:
    """Keep the rows of a query as the table NAME; again with --high-water: append those that are new."""
    from perennial.wiring import tables

    settings = load()
    _say(settings, name, tables.add_query(settings, _checked(name), query, connection, high_water))


def _checked(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
        raise UsageError(f"{name!r} cannot be the name of a table", hint="small letters, digits, _ and -")
    return name


def _say(settings: Settings, name: str, added: int) -> None:
    from perennial.wiring import tables

    table = tables.kept(settings, name)
    print_text(f"table {name}: {added} rows added, {table.rows()} rows; data.source.path: {table.folder}")
