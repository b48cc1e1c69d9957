"""Regression: a real value in a unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from perennial.core.tasks.task import NO_DECISION, Metric, Scored, Task, without_gaps

LARGEST = float(np.finfo(np.float32).max)
FLAT = 1e-12
"""Share of the squares below which targets count as all the same: the rest is rounding."""


class Regression(Task):
    """A number; live quality counts the answers within `tolerance`."""

    kind: Literal["regression"] = "regression"
    output: ClassVar[str] = "value"
    valid: ClassVar[str] = "a finite number"
    has_positive: ClassVar[bool] = False
    one_number: ClassVar[bool] = True
    is_number: ClassVar[bool] = True
    fairness: ClassVar[frozenset[str]] = frozenset({"error_rate"})

    unit: Annotated[str, Field(min_length=1)] = Field(description="unit of the target, for people")
    tolerance: Annotated[float, Field(gt=0)] = Field(
        description="largest error of an answer that counts as right, in the unit of the target"
    )

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return {
            "mae": Metric(lower_is_better=True),
            "rmse": Metric(lower_is_better=True),
            "r2": Metric(),
            "within_tolerance": Metric(),
        }

    def valid_label(self) -> str:
        return "a finite number"

    def label(self, value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) <= LARGEST else None  # false for NaN too

    def invalid(self, answer: np.ndarray) -> np.ndarray:
        return np.asarray(~np.isfinite(answer))

    def decisions(self, answer: np.ndarray) -> np.ndarray:
        """Return `NO_DECISION`: what a caller does with a value is not known here."""
        return np.full(len(answer), NO_DECISION, dtype=np.int64)

    def right(self, summary: np.ndarray, decision: np.ndarray, label: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(summary - label) <= self.tolerance, dtype=float)

    def differs(
        self, summary: np.ndarray, decision: np.ndarray, other: np.ndarray, other_decision: np.ndarray
    ) -> np.ndarray:
        """Return where two values differ by more than the tolerance."""
        return np.asarray(np.abs(summary - other) > self.tolerance)

    def change(self, before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
        return np.asarray(np.abs(after.astype(float) - before) / scale)

    def scale(self, target: np.ndarray) -> float:
        """Return the standard deviation of the target; 1 where it does not vary."""
        return float(np.std(target, dtype=float)) or 1.0

    def baselines(self, target: np.ndarray, rows: int) -> dict[str, np.ndarray]:
        """Return the mean of the training targets."""
        return {"mean": np.full(rows, float(np.mean(target, dtype=float)))}

    def from_feature(self, column: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return a feature as the value itself, for example the last known value of the target."""
        return without_gaps(column, known)

    def rule(self, column: str) -> str:
        return (
            f"The answer is {column} in {self.unit}; an answer within {self.tolerance:g} {self.unit} of the "
            "label counts as right."
        )

    def fields(self, answer: np.ndarray) -> list[dict[str, Any]]:
        return [{"value": value} for value in answer]

    def scored(self, target: np.ndarray, answer: np.ndarray, group: np.ndarray) -> MeasuredValues:
        return MeasuredValues(self, target, answer, group)


class MeasuredValues(Scored):
    """Measured values: sums of errors and of targets for each group."""

    def __init__(self, task: Regression, target: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        super().__init__(task, target, answer, group)
        self.task: Regression = task
        errors, centred = self.answer - self.target, self.target - self.target.mean()
        self._absolute, self._squares = self._by_group(np.abs(errors)), self._by_group(errors**2)
        self._within = self._by_group(np.abs(errors) <= task.tolerance)
        # Centred: sums of squares far from zero would lose their digits.
        self._targets, self._target_squares = self._by_group(centred), self._by_group(centred**2)

    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        weights = self._weights(weights)
        rows, squares = weights @ self._rows, weights @ self._squares
        raw = weights @ self._target_squares
        spread = raw - (weights @ self._targets) ** 2 / rows
        return {
            "mae": float(weights @ self._absolute / rows),
            "rmse": float(np.sqrt(squares / rows)),
            "r2": float(1 - squares / spread) if spread > FLAT * raw else float("nan"),
            "within_tolerance": float(weights @ self._within / rows),
        }
