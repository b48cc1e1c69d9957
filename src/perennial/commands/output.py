"""Output of the commands: tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from perennial.core.display import shown

if TYPE_CHECKING:
    from pydantic import BaseModel

WIDE = 160
"""Columns of output that is no terminal, so that no figure is truncated."""
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def now() -> datetime:
    return datetime.now(UTC)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def print_text(text: str, err: bool = False, fg: str | None = None) -> None:
    """Print a line that may hold words of others: what could mislead is escaped, line ends included.

    Every line of the commands is printed here; `click.echo` would show the words of others as they are.

    Args:
        err: print to stderr.
        fg: colour on a terminal.
    """
    click.echo(click.style(shown(text), fg=fg) if fg else shown(text), err=err)


def print_record(record: BaseModel) -> None:
    """Print a record as JSON, where a missing number is null."""
    print_json(json.loads(record.model_dump_json()))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as a table; a header of empty texts is left out."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    # As Text, a cell's brackets are no markup: a note cannot colour, hide or link anything.
    columns = (Column(Text(shown(name))) for name in header)
    table = Table(*columns, box=None, show_header=any(header))
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console.print(table)


def print_records(records: Sequence[Mapping[str, Any]], as_json: bool, empty: str = "") -> None:
    """Print records with equal keys as JSON, else as a table with a column per key, else the text `empty`."""
    if as_json:
        print_json(records)
    elif records:
        print_table(list(records[0]), [[_cell(*item) for item in record.items()] for record in records])
    else:
        print_text(empty)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return ", ".join(value)
    return str(value)[:12] if name == "digest" else str(value)
