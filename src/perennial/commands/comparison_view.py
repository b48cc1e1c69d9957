"""Terminal output of a comparison of two versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perennial.commands.output import print_table

if TYPE_CHECKING:
    from perennial.core.evaluation.comparison import VersionComparison


def show(comparison: VersionComparison, group: str) -> None:
    """Print the metrics of both versions, the paired gains, and the rows with the largest disagreement."""
    click.echo(
        f"{comparison.rows} rows of {comparison.groups} {group}s, {comparison.first_group} to "
        f"{comparison.last_group}; 95 % intervals over whole {group}s; a gain is positive where "
        f"{comparison.new} is better"
    )
    old, new = comparison.scores["old"], comparison.scores["new"]
    rows = [(name, str(old[name]), str(new[name]), str(gain)) for name, gain in comparison.gains.items()]
    print_table(("metric", comparison.old, comparison.new, "gain (paired)"), rows)
    click.echo(f"{comparison.decisions_changed} of {comparison.rows} answers differ at the threshold")
    if comparison.disagreements:
        names = tuple(comparison.disagreements[0].row)
        cells = [
            (*(str(row.row[name]) for name in names), f"{row.target:g}", f"{row.old:.4f}", f"{row.new:.4f}")
            for row in comparison.disagreements
        ]
        print_table((*names, "target", "old score", "new score"), cells)
