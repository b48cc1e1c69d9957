"""Tables in the output of commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDE = 160
"""Columns of output that is no terminal, so that no figure is truncated."""


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as a table; a header of empty texts is left out."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    table = Table(*header, box=None, show_header=any(header))
    for row in rows:
        table.add_row(*row)
    console.print(table)
