"""The base of the kinds whose target is a number with a unit."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from perennial.core.tasks.task import Task
from perennial.core.tasks.values import NO_DECISION, finite_number


class NumberTask(Task):
    """A kind whose target is a number: errors are absolute, and changes count in standard deviations."""

    has_positive: ClassVar[bool] = False
    is_number: ClassVar[bool] = True
    fairness: ClassVar[frozenset[str]] = frozenset({"error_rate"})

    def valid_label(self) -> str:
        return "a finite number"

    def label(self, value: Any) -> float | None:
        return finite_number(value)

    def decisions(self, answer: np.ndarray) -> np.ndarray:
        """Return `NO_DECISION`: what a caller does with a value is not known here."""
        return np.full(len(answer), NO_DECISION, dtype=np.int64)

    def losses(self, summary: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return the absolute errors."""
        return np.asarray(np.abs(summary - label), dtype=float)

    def scale(self, target: np.ndarray) -> float:
        """Return the standard deviation of the target; 1 where it does not vary."""
        return float(np.std(target, dtype=float)) or 1.0
