"""Metrics of a score: ROC-AUC, PR-AUC, Brier score and NAPFD, with intervals over whole groups.

Rows of a group (a CI cycle) are correlated: a broken build fails many tests at once. So intervals from
resampled single rows are far too narrow; here whole groups are resampled with replacement (the cluster
bootstrap: Field and Welsh, "Bootstrapping clustered data", JRSS-B 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perennial.core.frozen import Frozen
from perennial.errors import DataError

METRICS = ("roc_auc", "pr_auc", "brier", "napfd")
LOWER_IS_BETTER = frozenset({"brier"})
INTERVAL = (0.025, 0.975)
POSITIVE = 0.5
"""Targets and labels from this value on are positive (failures)."""


def gain(metric: str, new: float, old: float) -> float:
    """Return the gain of `new` over `old`; positive is better for every metric."""
    return old - new if metric in LOWER_IS_BETTER else new - old


class Estimate(Frozen):
    """Value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Curve:
    """Counts at every distinct score, highest first; tied scores share a point."""

    threshold: np.ndarray
    hits: np.ndarray
    """Positives at or above the threshold."""
    alarms: np.ndarray
    """Negatives at or above the threshold."""

    @property
    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """Return false positive rate and true positive rate, both from 0 to 1."""
        return (_from_zero(self.alarms) / self.alarms[-1], _from_zero(self.hits) / self.hits[-1])

    @property
    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Return recall (ascending) and precision."""
        return self.hits / self.hits[-1], self.hits / (self.hits + self.alarms)


class Scored:
    """Scores with their targets, sorted once so that a resample costs a single pass.

    Args:
        target: [n], 0 or 1.
        score: [n], higher for a likelier 1; in [0, 1] for a meaningful Brier score.
        group: [n] integers.

    Raises:
        DataError: the lengths differ, there are no rows, or a score is not finite.
    """

    def __init__(self, target: np.ndarray, score: np.ndarray, group: np.ndarray) -> None:
        if not len(target) == len(score) == len(group):
            raise DataError(f"{len(target)} targets, {len(score)} scores, {len(group)} groups")
        if len(target) == 0:
            raise DataError("nothing to measure: no rows", hint="choose an earlier first cycle")
        if not np.isfinite(score).all():
            raise DataError("a score is not a number", hint="a model must answer for missing features too")
        self.target = np.asarray(target, dtype=float)
        self.score = np.asarray(score, dtype=float)
        self.group = np.asarray(group)
        self.groups, self._group = np.unique(group, return_inverse=True)
        self._order = np.argsort(-self.score, kind="stable")
        ordered = self.score[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        self._rows = np.bincount(self._group)
        self._squares = np.bincount(self._group, (self.score - self.target) ** 2)
        self._napfd = _napfd_by_group(self.target, self.score, self._group, len(self.groups))

    def __len__(self) -> int:
        return len(self.target)

    def where(self, chosen: np.ndarray) -> Scored:
        """Return the rows of a mask [n]; it must select at least a row."""
        return Scored(self.target[chosen], self.score[chosen], self.group[chosen])

    def curve(self, weights: np.ndarray | None = None) -> Curve:
        """Return the counts; `weights` [groups] is the multiplicity of each group."""
        weight = np.ones(len(self)) if weights is None else weights[self._group]
        positive = np.cumsum((weight * self.target)[self._order])[self._ends]
        negative = np.cumsum((weight * (1 - self.target))[self._order])[self._ends]
        return Curve(self.score[self._order][self._ends], positive, negative)

    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """Return every metric of METRICS; NaN where undefined (no positive or no negative row)."""
        weights = np.ones(len(self.groups)) if weights is None else weights
        curve = self.curve(weights)
        failing = ~np.isnan(self._napfd) & (weights > 0)
        return {
            "roc_auc": roc_auc(curve),
            "pr_auc": pr_auc(curve),
            "brier": float(weights @ self._squares / (weights @ self._rows)),
            "napfd": float(np.average(self._napfd[failing], weights=weights[failing]))
            if failing.any()
            else float("nan"),
        }


def roc_auc(curve: Curve) -> float:
    """Return the probability that a random positive scores above a random negative; ties count half."""
    if curve.hits[-1] == 0 or curve.alarms[-1] == 0:
        return float("nan")
    false_rate, true_rate = curve.roc
    return float(np.trapezoid(true_rate, false_rate))


def pr_auc(curve: Curve) -> float:
    """Return the average precision: the precision at each threshold, weighted by the gain in recall."""
    if curve.hits[-1] == 0:
        return float("nan")
    seen = curve.hits + curve.alarms > 0
    gained = np.diff(_from_zero(curve.hits))[seen] / curve.hits[-1]
    return float(np.sum(gained * curve.hits[seen] / (curve.hits + curve.alarms)[seen]))


def napfd(target: np.ndarray, score: np.ndarray) -> float:
    """Return the normalised average percentage of faults detected, of a ranked group at full budget.

    NAPFD = p - sum(ranks of the detected failures) / (m * n) + p / (2n) with n tests, m failing tests and
    p the share of failures detected; all tests run, so p = 1. Source: X. Qu, M. B. Cohen, G. Rothermel,
    "Combinatorial interaction regression testing", ICSM 2007. Tied scores get their mean rank, which is
    the expected value over random orders of the tie. NaN without a failing test.
    """
    tests, failures = len(target), float(np.sum(target))
    if failures == 0:
        return float("nan")
    _, tie, sizes = np.unique(-np.asarray(score), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[tie]
    return float(1 - ranks[np.asarray(target) == 1].sum() / (failures * tests) + 1 / (2 * tests))


def estimates(
    scores: Mapping[str, Scored], against: str | None, resamples: int, seed: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """Estimate the metrics of several scores on the same rows, and the gain of each over `against`.

    All scores share the resamples, so that a gain is a paired difference: a difficult cycle is difficult for
    both. A positive gain is better, also for the Brier score.

    Returns:
        name -> metric -> estimate, and name -> metric -> gain of that name over `against`.

    Raises:
        DataError: a metric is undefined on these rows (no failing or no passing test).
    """
    values = {name: scored.measure() for name, scored in scores.items()}
    for name, measured in values.items():
        undefined = [metric for metric, value in measured.items() if np.isnan(value)]
        if undefined:
            raise DataError(
                f"{', '.join(undefined)} of {name} cannot be measured: all rows have the same verdict",
                hint="choose more groups: both verdicts must occur",
            )
    draws = _draws(scores, resamples, seed)
    measured_scores = {
        name: {m: _estimate(values[name][m], draws[name][m]) for m in METRICS} for name in scores
    }
    if against is None:
        return measured_scores, {}
    gains = {
        name: {
            m: _estimate(
                gain(m, values[name][m], values[against][m]),
                (draws[name][m] - draws[against][m]) * (-1 if m in LOWER_IS_BETTER else 1),
            )
            for m in METRICS
        }
        for name in scores
        if name != against
    }
    return measured_scores, gains


def resample_groups(groups: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each group is drawn in each resample with replacement, float [resamples, groups]."""
    picks = random.integers(groups, size=(resamples, groups))
    return np.array([np.bincount(pick, minlength=groups) for pick in picks], dtype=float)


def _draws(scores: Mapping[str, Scored], resamples: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    groups = len(next(iter(scores.values())).groups)
    draws = {name: {m: np.empty(resamples) for m in METRICS} for name in scores}
    for number, weights in enumerate(resample_groups(groups, resamples, np.random.default_rng(seed))):
        for name, scored in scores.items():
            for metric, value in scored.measure(weights).items():
                draws[name][metric][number] = value
    return draws


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    """Return the percentile interval; resamples in which the metric is undefined are left out."""
    low, high = np.nanquantile(draws, INTERVAL) if not np.isnan(draws).all() else (np.nan, np.nan)
    return Estimate(value=float(value), low=float(low), high=float(high))


def _napfd_by_group(target: np.ndarray, score: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(1, groups))
    return np.array([napfd(target[rows], score[rows]) for rows in np.split(order, edges)])


def _from_zero(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], counts])
