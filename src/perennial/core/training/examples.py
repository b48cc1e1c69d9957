"""Examples: the rows of training and evaluation as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
