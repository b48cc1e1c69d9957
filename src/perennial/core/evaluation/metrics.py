"""Metrics of answers with intervals over whole groups, and paired gains.

Rows of a group (a CI cycle) are correlated: a broken build fails many tests at once. So intervals from
resampled single rows are far too narrow; here whole groups are resampled with replacement (the cluster
bootstrap: Field and Welsh, "Bootstrapping clustered data", JRSS-B 2007).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pydantic import ValidationInfo, field_serializer, field_validator

from perennial.core.frozen import Frozen
from perennial.core.tasks import Scored
from perennial.errors import DataError

INTERVAL = (0.025, 0.975)
FEWEST_GROUPS = 2
"""Of a single group every resample is the same: how groups differ is unknown, not nothing."""


class Estimate(Frozen):
    """Value with its 95 % interval; an unknown bound is infinite, and null in JSON."""

    value: float
    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        """Return whether the interval is known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @field_validator("low", "high", mode="before")
    @classmethod
    def unknown(cls, bound: object, info: ValidationInfo) -> object:
        unbounded = math.inf if info.field_name == "high" else -math.inf
        return unbounded if bound is None else bound

    @field_serializer("low", "high", when_used="json")
    def finite(self, bound: float) -> float | None:
        return bound if math.isfinite(bound) else None

    def __str__(self) -> str:
        if not self.is_bounded:
            return f"{self.value:.4f} [unknown]"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def estimates(
    scores: Mapping[str, Scored], against: str | None, resamples: int, seed: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """Estimate the metrics of several scores on the same rows, and the gain of each over `against`.

    All scores share the resamples, so that a gain is a paired difference: a difficult cycle is difficult for
    both. A positive gain is better for every metric. A metric that need not be defined (`Metric.required`) is left out
    of the scores that do not define it.

    Returns:
        name -> metric -> estimate, and name -> metric -> gain of that name over `against`.

    Raises:
        DataError: a required metric is undefined on these rows (all have the same target).
    """
    task = next(iter(scores.values())).task
    values = {name: scored.measure() for name, scored in scores.items()}
    defined = {
        name: [m for m in task.metrics if not np.isnan(measured[m])] for name, measured in values.items()
    }
    undefined = {m for m in task.metrics for known in defined.values() if m not in known}
    missing = [metric for metric in task.metrics if metric in undefined and task.metrics[metric].required]
    if missing:
        raise DataError(
            f"{', '.join(missing)} cannot be measured: all rows have the same target",
            hint="choose more groups: different targets must occur",
        )
    draws = _draws(scores, defined, resamples, seed)
    measured_scores = {
        name: {m: _estimate(values[name][m], draws[name][m]) for m in defined[name]} for name in scores
    }
    if against is None:
        return measured_scores, {}
    gains = {
        name: {
            m: _estimate(
                task.gain(m, values[name][m], values[against][m]),
                (draws[name][m] - draws[against][m]) * (-1 if task.metrics[m].lower_is_better else 1),
            )
            for m in defined[name]
            if m in defined[against]
        }
        for name in scores
        if name != against
    }
    return measured_scores, gains


def resample_groups(groups: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each group is drawn in each resample with replacement, float [resamples, groups]."""
    picks = random.integers(groups, size=(resamples, groups))
    return np.array([np.bincount(pick, minlength=groups) for pick in picks], dtype=float)


def _draws(
    scores: Mapping[str, Scored], metrics: Mapping[str, list[str]], resamples: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    groups = len(next(iter(scores.values())).groups)
    draws = {name: {m: np.full(resamples, np.nan) for m in metrics[name]} for name in scores}
    if groups < FEWEST_GROUPS:
        return draws
    for number, weights in enumerate(resample_groups(groups, resamples, np.random.default_rng(seed))):
        for name, scored in scores.items():
            measured = scored.measure(weights)
            for metric in metrics[name]:
                draws[name][metric][number] = measured[metric]
    return draws


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    """Return the percentile interval; resamples in which the metric is undefined are left out."""
    low, high = np.nanquantile(draws, INTERVAL) if not np.isnan(draws).all() else (-np.inf, np.inf)
    return Estimate(value=float(value), low=float(low), high=float(high))
