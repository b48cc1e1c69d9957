"""How a comparison of two versions looks to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perennial.commands.tables import print_table

if TYPE_CHECKING:
    from perennial.core.evaluation.comparison import VersionComparison


def show(found: VersionComparison, group: str) -> None:
    """The figures of both, the paired difference, and the rows that they see most differently."""
    click.echo(
        f"{found.rows} rows of {found.groups} {group}s, {found.first_group} to {found.last_group}; "
        f"95 % intervals over whole {group}s; a gain is positive where {found.new} is better"
    )
    old, new = found.scores["old"], found.scores["new"]
    rows = [(metric, str(old[metric]), str(new[metric]), str(gain)) for metric, gain in found.gains.items()]
    print_table(("metric", found.old, found.new, "gain (paired)"), rows)
    click.echo(f"{found.decisions_changed} of {found.rows} answers differ at the threshold")
    if found.disagreements:
        names = tuple(found.disagreements[0].row)
        told = [
            (*(str(one.row[name]) for name in names), f"{one.target:g}", f"{one.old:.4f}", f"{one.new:.4f}")
            for one in found.disagreements
        ]
        print_table((*names, "came true", "old score", "new score"), told)
