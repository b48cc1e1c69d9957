"""Examples, the rows of training and evaluation as arrays, and their split in time by whole groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perennial.errors import DataError


@dataclass(frozen=True)
class Examples:
    """Rows in time order."""

    features: np.ndarray
    """float32 [n, features], columns in the order of the spec; NaN where a value was not known."""
    target: np.ndarray
    """float32 [n]."""
    group: np.ndarray
    """int64 [n], ascending: rows of a group are ranked together (a CI cycle)."""

    def __len__(self) -> int:
        return len(self.target)

    def where(self, mask: np.ndarray) -> Examples:
        """Return the rows that a mask [n] selects."""
        return Examples(self.features[mask], self.target[mask], self.group[mask])

    def refuse_one_target(self) -> None:
        """Check that there is something to learn.

        Raises:
            DataError: all rows have the same target.
        """
        if len(np.unique(self.target)) < 2:
            raise DataError("all training rows have the same target", hint="train on more rows")


def first_later_group(group: np.ndarray, fraction: float) -> int:
    """Return the first group after the first `fraction` of the groups.

    Args:
        group: [n] integers that rise with time.
        fraction: share of the distinct groups on the early side, in (0, 1).

    Raises:
        DataError: either side would be empty.
    """
    groups = np.unique(group)
    early = math.floor(len(groups) * fraction)
    if early < 1 or early >= len(groups):
        raise DataError(
            f"{len(groups)} groups cannot be split at {fraction:.0%}",
            hint="bring more history: both sides need a group",
        )
    return int(groups[early])
