"""Forecast: quantiles of the values of a series over the next periods, from its last values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from perennial.core.tasks.naive import MEDIAN, naive_quantiles, scale_of
from perennial.core.tasks.number import NumberTask
from perennial.core.tasks.task import Scored
from perennial.core.tasks.values import LARGEST_NUMBER, Metric
from perennial.core.tasks.windows import Frequency, Windows
from perennial.errors import DataError

Level = Annotated[float, Field(gt=0, lt=1)]


class Forecast(NumberTask):
    """Quantiles for each of the next `horizon` periods; a row is a step ahead (`core.tasks.windows`)."""

    kind: Literal["forecast"] = "forecast"
    output: ClassVar[str] = "quantiles"
    explained: ClassVar[str] = "median"
    valid: ClassVar[str] = "a finite value for each of `task.quantiles`, in rising order"
    one_number: ClassVar[bool] = False

    unit: Annotated[str, Field(min_length=1)] = Field(description="unit of the target, for people")
    frequency: Frequency = Field(description="length of a period: a series has one value in each")
    horizon: Annotated[int, Field(ge=1, le=100)] = Field(description="periods ahead")
    past: Annotated[int, Field(ge=2, le=400)] = Field(description="last values that a request carries")
    season: Annotated[int, Field(ge=1)] = Field(description="periods of a season; 1: none")
    quantiles: Annotated[tuple[Level, ...], Field(min_length=3)] = Field(
        description="levels of the answer; the outermost two are the interval, and 0.5 is the value"
    )

    @model_validator(mode="after")
    def levels_rise_around_the_median(self) -> Self:
        levels = self.quantiles
        if list(levels) != sorted(set(levels)) or MEDIAN not in levels[1:-1]:
            raise ValueError("quantiles must rise, with 0.5 between the outermost")
        if self.past < self.season + 1:
            raise ValueError(f"past: {self.past} values hold no season of {self.season} and a value more")
        return self

    @property
    def windows(self) -> Windows:
        return Windows(self.frequency, self.past, self.horizon, self.season)

    @property
    def answer_tells_right(self) -> bool:
        return True

    @property
    def interval(self) -> float:
        """Return the chance that the outermost quantiles claim to hold the value between them."""
        return self.quantiles[-1] - self.quantiles[0]

    @property
    def metrics(self) -> Mapping[str, Metric]:
        lower = Metric(lower_is_better=True)
        steps = range(1, self.horizon + 1)
        return {
            "mase": lower,
            "scaled_pinball": lower,
            "pinball": lower,
            "mae": lower,
            "coverage": Metric(),
            "interval_width": lower,
            **{f"mase_{step}": Metric(lower_is_better=True, required=False) for step in steps},
            **{f"coverage_{step}": Metric(required=False) for step in steps},
        }

    def width(self) -> int:
        return len(self.quantiles)

    def invalid(self, answer: np.ndarray) -> np.ndarray:
        sound = (np.abs(answer) <= LARGEST_NUMBER).all(axis=1)  # false for NaN too
        return np.asarray(~(sound & (np.diff(answer, axis=1) >= 0).all(axis=1)))

    def summary(self, answer: np.ndarray) -> np.ndarray:
        """Return the median of each row."""
        return np.ascontiguousarray(answer[:, self.quantiles.index(MEDIAN)])

    def explained_numbers(self, answer: np.ndarray) -> np.ndarray:
        """Return the median of each row, [n, 1]."""
        return self.summary(answer)[:, None]

    def valid_summary(self, summary: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(summary) <= LARGEST_NUMBER)

    def right(
        self,
        summary: np.ndarray,
        decision: np.ndarray,
        label: np.ndarray,
        answer: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return whether the outermost quantiles hold each label."""
        if answer is None:
            raise ValueError("whether a forecast is right depends on its quantiles")
        return np.asarray((answer[:, 0] <= label) & (label <= answer[:, -1]), dtype=float)

    @property
    def claimed(self) -> float:
        return self.interval

    def covered(self, summary: np.ndarray, label: np.ndarray, answer: np.ndarray | None = None) -> np.ndarray:
        return self.right(summary, summary, label, answer)

    def differs(
        self, summary: np.ndarray, decision: np.ndarray, other: np.ndarray, other_decision: np.ndarray
    ) -> np.ndarray:
        """Return where two medians differ by more than a hundredth of the first."""
        return np.asarray(np.abs(summary - other) > np.abs(summary) / 100)

    def change(self, before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
        """Return the mean change of the quantiles, in standard deviations of the target."""
        return np.asarray(np.abs(after.astype(float) - before).mean(axis=1) / scale)

    def baselines(
        self,
        target: np.ndarray,
        rows: int,
        known: np.ndarray | None = None,
        judged: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the last value, and with a season the value a season before, with the quantiles of their errors."""
        if known is None or judged is None:
            raise ValueError("the baselines of a forecast repeat its inputs")
        naive = {"last_value": 1} | ({"seasonal_naive": self.season} if self.season > 1 else {})
        return {
            name: naive_quantiles(self.past, season, self.quantiles, target, known, judged)
            for name, season in naive.items()
        }

    def from_feature(self, column: np.ndarray, known: np.ndarray) -> np.ndarray:
        raise DataError(
            "a feature is no answer of several quantiles", hint="evaluation.baselines of the spec"
        )

    def rule(self, column: str) -> str:
        return (
            f"{column} in {self.unit} for the next {self.horizon} {self.frequency.value}s, from the last {self.past}; "
            f"the outermost quantiles claim to hold {self.interval:.0%} of the values, and an answer whose do counts "
            "as right."
        )

    def fields(self, answer: np.ndarray) -> list[dict[str, Any]]:
        names = [str(level) for level in self.quantiles]
        return [
            {"value": value, "quantiles": dict(zip(names, row, strict=True))}
            for value, row in zip(self.summary(answer), answer, strict=True)
        ]

    def columns(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        names = [f"quantiles.{level}" for level in self.quantiles]
        return {"value": self.summary(answer), **dict(zip(names, answer.T, strict=True))}

    def derived(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Return the median, and the outermost quantiles, [n, 2]."""
        return {"value": self.summary(answer), "interval": answer[:, [0, -1]]}

    def scored(
        self, target: np.ndarray, answer: np.ndarray, group: np.ndarray, features: np.ndarray | None = None
    ) -> MeasuredForecasts:
        return MeasuredForecasts(self, target, answer, group, features)


class MeasuredForecasts(Scored):
    """Measured quantiles: sums by group and step. A row of a constant past has no scale and no scaled error."""

    def __init__(
        self,
        task: Forecast,
        target: np.ndarray,
        answer: np.ndarray,
        group: np.ndarray,
        features: np.ndarray | None,
    ) -> None:
        super().__init__(task, target, answer, group, features)
        if features is None:
            raise ValueError("a forecast is measured with its features")
        self.task: Forecast = task
        scale, actual = scale_of(task.past, features), self.target[:, None]
        self.step = features[:, task.past].astype(int)
        levels, below = np.array(task.quantiles), actual - self.answer
        pinball = np.maximum(levels * below, (levels - 1) * below).mean(axis=1)
        errors, known = np.abs(self.score - self.target), scale > 0
        unit = np.where(known, scale, 1.0)
        covered = task.right(self.score, self.score, self.target, self.answer)
        sums = (known, known * errors / unit, known * pinball / unit, errors, pinball, covered)
        cells = self._group * task.horizon + self.step - 1
        size = len(self.groups) * task.horizon
        by_cell = [np.bincount(cells, values, size) for values in (np.ones(len(self)), *sums)]
        self._sums = np.array(by_cell).reshape(len(by_cell), len(self.groups), task.horizon)
        self._widths = self._by_group(self.answer[:, -1] - self.answer[:, 0])

    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        weights = self._weights(weights)
        by_step = np.tensordot(self._sums, weights, axes=(1, 0))
        rows, known, scaled, scaled_pinball, errors, pinball, covered = by_step.sum(axis=1)
        with np.errstate(invalid="ignore"):  # no row of a step, or of a scale
            mase, coverage = by_step[2] / by_step[1], by_step[6] / by_step[0]
            return {
                "mase": float(scaled / known),
                "scaled_pinball": float(scaled_pinball / known),
                "pinball": float(pinball / rows),
                "mae": float(errors / rows),
                "coverage": float(covered / rows),
                "interval_width": float(weights @ self._widths / rows),
                **{f"mase_{step}": float(value) for step, value in enumerate(mase, 1)},
                **{f"coverage_{step}": float(value) for step, value in enumerate(coverage, 1)},
            }
