"""Split rows in time by whole groups: training rows are always earlier than evaluation rows."""

from __future__ import annotations

import math

import numpy as np

from perennial.errors import DataError


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
