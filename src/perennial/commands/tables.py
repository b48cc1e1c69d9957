"""Tables for people, as every command prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDE = 160
"""Columns where the output is no terminal: nobody reads a figure that was cut to fit."""


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    table = Table(*header, box=None)
    for row in rows:
        table.add_row(*row)
    console.print(table)
