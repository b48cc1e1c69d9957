"""Regression: a real value in a unit, with an interval that holds the target with a stated chance if the spec asks.

The interval is split-conformal (V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005;
J. Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018): value +- a quantile of the absolute
errors on rows that the model has not learnt from. It has the same width for every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from perennial.core.tasks.conformal import absolute_quantile
from perennial.core.tasks.number import NumberTask
from perennial.core.tasks.task import Scored
from perennial.core.tasks.values import Metric, without_gaps

FLAT = 1e-12
"""Share of the squares below which targets count as all the same: the rest is rounding."""


class Regression(NumberTask):
    """A number; live quality counts the answers within `tolerance`, else those whose interval holds the label."""

    kind: Literal["regression"] = "regression"
    output: ClassVar[str] = "value"
    explained: ClassVar[str] = "value"
    valid: ClassVar[str] = "a finite number"
    one_number: ClassVar[bool] = True

    unit: Annotated[str, Field(min_length=1)] = Field(description="unit of the target, for people")
    tolerance: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="largest error of an answer that counts as right, in the unit of the target; null: the interval "
        "decides",
    )
    interval: Annotated[float, Field(ge=0.5, lt=1)] | None = Field(
        None, description="chance that the interval of an answer holds the target; null: no intervals"
    )
    half_width: Annotated[float, Field(ge=0)] | None = Field(
        None, description="half the width of the interval, measured by the training; never in a spec"
    )

    @model_validator(mode="after")
    def knows_what_is_right(self) -> Self:
        if self.tolerance is None and self.interval is None:
            raise ValueError("name a tolerance, an interval, or both: one says which answers are right")
        if self.half_width is not None and self.interval is None:
            raise ValueError("half_width belongs to an interval")
        return self

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Return the errors; coverage and width of the interval need a calibrated model."""
        always = {"mae": Metric(lower_is_better=True), "rmse": Metric(lower_is_better=True), "r2": Metric()}
        if self.tolerance is not None:
            always["within_tolerance"] = Metric()
        if self.interval is not None:
            always["coverage"] = Metric(required=False)
            always["interval_width"] = Metric(lower_is_better=True, required=False)
        return always

    @property
    def needs_calibration(self) -> bool:
        return self.interval is not None

    def calibrated(self, target: np.ndarray, answer: np.ndarray) -> Self:
        if self.interval is None:
            return self
        errors = self.checked(answer, len(target)) - target
        return self.model_copy(update={"half_width": absolute_quantile(errors, self.interval)})

    def as_specified(self) -> Self:
        return self.model_copy(update={"half_width": None})

    @property
    def reach(self) -> float:
        """Return the largest error of an answer that counts as right: the tolerance, else half the interval.

        Infinite for a task without a tolerance that is not calibrated yet.
        """
        if self.tolerance is not None:
            return self.tolerance
        return np.inf if self.half_width is None else self.half_width

    def invalid(self, answer: np.ndarray) -> np.ndarray:
        return np.asarray(~np.isfinite(answer))

    @property
    def answer_tells_right(self) -> bool:
        return self.interval is not None

    def right(
        self,
        summary: np.ndarray,
        decision: np.ndarray,
        label: np.ndarray,
        answer: np.ndarray | None = None,
    ) -> np.ndarray:
        return np.asarray(np.abs(summary - label) <= self.reach, dtype=float)

    @property
    def claimed(self) -> float | None:
        return None if self.half_width is None else self.interval

    def covered(self, summary: np.ndarray, label: np.ndarray, answer: np.ndarray | None = None) -> np.ndarray:
        if self.half_width is None:
            return super().covered(summary, label)
        return np.asarray(np.abs(summary - label) <= self.half_width, dtype=float)

    def differs(
        self, summary: np.ndarray, decision: np.ndarray, other: np.ndarray, other_decision: np.ndarray
    ) -> np.ndarray:
        """Return where two values differ by more than an answer that counts as right may err."""
        return np.asarray(np.abs(summary - other) > self.reach)

    def change(self, before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
        return np.asarray(np.abs(after.astype(float) - before) / scale)

    def baselines(
        self,
        target: np.ndarray,
        rows: int,
        known: np.ndarray | None = None,
        judged: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the mean of the training targets."""
        return {"mean": np.full(rows, float(np.mean(target, dtype=float)))}

    def from_feature(self, column: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return a feature as the value itself, for example the last known value of the target."""
        return without_gaps(column, known)

    def rule(self, column: str) -> str:
        right = "" if self.tolerance is None else f" within {self.tolerance:g} {self.unit} of the label"
        right = f"an answer{right or ' whose interval holds the label'} counts as right."
        interval = "" if self.interval is None else f" with a split-conformal {self.interval:.0%} interval"
        return f"The answer is {column} in {self.unit}{interval}; {right}"

    def fields(self, answer: np.ndarray) -> list[dict[str, Any]]:
        """Return the value, and its interval where the model is calibrated."""
        if self.half_width is None:
            return [{"value": value} for value in answer]
        low, high = answer - np.float32(self.half_width), answer + np.float32(self.half_width)
        return [
            {"value": value, "interval": {"low": lower, "high": other, "level": self.interval}}
            for value, lower, other in zip(answer, low, high, strict=True)
        ]

    def columns(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        if self.half_width is None:
            return {"value": answer}
        half, level = np.float32(self.half_width), np.full(len(answer), self.interval)
        return {
            "value": answer,
            "interval.low": answer - half,
            "interval.high": answer + half,
            "interval.level": level,
        }

    def derived(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Return the interval, [n, 2], where the model is calibrated."""
        if self.half_width is None:
            return {}
        half = np.float32(self.half_width)
        return {"interval": np.stack([answer - half, answer + half], axis=1)}

    def scored(
        self, target: np.ndarray, answer: np.ndarray, group: np.ndarray, features: np.ndarray | None = None
    ) -> MeasuredValues:
        return MeasuredValues(self, target, answer, group)


class MeasuredValues(Scored):
    """Measured values: sums of errors and of targets for each group."""

    def __init__(self, task: Regression, target: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        super().__init__(task, target, answer, group)
        self.task: Regression = task
        errors, centred = self.answer - self.target, self.target - self.target.mean()
        self._absolute, self._squares = self._by_group(np.abs(errors)), self._by_group(errors**2)
        self._within = self._by_group(np.abs(errors) <= (task.tolerance or np.inf))
        half_width = np.nan if task.half_width is None else task.half_width
        self._covered = self._by_group(np.abs(errors) <= half_width)
        self._half_width = half_width
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
        } | self._shares(weights, rows)

    def _shares(self, weights: np.ndarray, rows: Any) -> dict[str, float]:
        """Return the metrics that the keys of the task bring along; NaN before a calibration."""
        shares = {}
        if self.task.tolerance is not None:
            shares["within_tolerance"] = float(weights @ self._within / rows)
        if self.task.interval is not None:
            known = not np.isnan(self._half_width)
            shares["coverage"] = float(weights @ self._covered / rows) if known else float("nan")
            shares["interval_width"] = float(2 * self._half_width)
        return shares
