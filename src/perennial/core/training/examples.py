"""Rows to learn from and to be judged on."""

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
    """int64 [n], ascending: rows of one group are ranked together (a CI cycle)."""

    def __len__(self) -> int:
        return len(self.target)

    def where(self, chosen: np.ndarray) -> Examples:
        """The rows of a mask [n]."""
        return Examples(self.features[chosen], self.target[chosen], self.group[chosen])
