"""Read the observations of an A/B test from a CSV file with columns arm, outcome and, for counts, exposure."""

from __future__ import annotations

import csv
from pathlib import Path

from perennial.core.experiment.posterior import Variant
from perennial.errors import MalformedInput

LARGEST = 1e12
"""Largest outcome, as for rewards: the squares are summed, and a sum of larger squares loses its precision."""


def read_variants(path: Path) -> list[Variant]:
    """Return the sums of each variant, ordered by name.

    Raises:
        MalformedInput: names the line where a column is missing, a value is not a number or too large to be
            summed, or an exposure is not positive.
    """
    sums: dict[str, list[float]] = {}
    line = 1
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            for row in rows:
                line = rows.line_num
                name, outcome, exposure = _observation(row)
                totals = sums.setdefault(name, [0, 0.0, 0.0, 0.0])
                for place, value in enumerate((1, outcome, outcome * outcome, exposure)):
                    totals[place] += value
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise MalformedInput(
            f"{path}, line {line}: {error}",
            hint="columns arm and outcome, and exposure for counts; outcomes are numbers",
        ) from error
    return [
        Variant(name=name, n=int(n), total=total, squares=squares, exposure=exposure or None)
        for name, (n, total, squares, exposure) in sorted(sums.items())
    ]


def _observation(row: dict[str, str]) -> tuple[str, float, float]:
    """Return variant, outcome and exposure of a row."""
    if row["arm"] is None:  # the row is too short
        raise ValueError("there is no arm")
    name, outcome, exposure = row["arm"], float(row["outcome"]), float(row.get("exposure") or 1.0)
    if not abs(outcome) <= LARGEST:  # this form also rejects NaN
        raise ValueError(f"outcome is {row['outcome']}: a number from {-LARGEST:g} to {LARGEST:g}")
    if not 0.0 < exposure <= LARGEST:
        raise ValueError(f"exposure is {row['exposure']}: a number above 0, at most {LARGEST:g}")
    return name, outcome, exposure
