"""Values of targets and labels, and figures of merit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.errors import DataError

Label = bool | int | float | str
"""Value of a target as the data has it. Numbers are compared by value: 1, 1.0 and true are the same label."""
LARGEST_NUMBER = float(np.finfo(np.float32).max)
NO_DECISION = -1
"""Decision of an answer that is the number itself."""


@dataclass(frozen=True)
class Metric:
    """A figure of merit."""

    lower_is_better: bool = False
    required: bool = True
    """False: where the rows do not define it (no row of a class), it is left out."""


def without_gaps(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a feature with the mean of `known` (the training rows) in place of missing values.

    Raises:
        DataError: it is missing in all training rows.
    """
    if np.isnan(known).all():
        raise DataError("a baseline's feature is missing in all training rows", hint="train on more history")
    return np.where(np.isnan(column), np.nanmean(known), column)


def plain(value: Any) -> float | str | None:
    """Return a label in the form in which labels are compared; None for a missing value or another type."""
    if isinstance(value, bool | int | float):
        return None if value != value else float(value)
    return value if isinstance(value, str) else None


def finite_number(value: Any) -> float | None:
    """Return a value that float32 can hold; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST_NUMBER else None  # false for NaN too
