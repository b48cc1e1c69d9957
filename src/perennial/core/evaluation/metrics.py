"""How good a score is: ROC-AUC, PR-AUC, Brier score and NAPFD, with intervals by whole groups.

Rows of one group (a CI cycle) stand or fall together: a broken build fails many tests at once. So an
interval that resamples single rows is far too narrow; here whole groups are drawn with replacement
(the cluster bootstrap: Field and Welsh, "Bootstrapping clustered data", JRSS-B 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perennial.errors import DataError

METRICS = ("roc_auc", "pr_auc", "brier", "napfd")
LOWER_IS_BETTER = frozenset({"brier"})
INTERVAL = (0.025, 0.975)


def gain(metric: str, new: float, old: float) -> float:
    """How much better `new` is than `old`; positive is better for every metric."""
    return old - new if metric in LOWER_IS_BETTER else new - old


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Counts at every distinct score, highest first; tied scores share one point."""

    threshold: np.ndarray
    hits: np.ndarray
    """Positives at or above the threshold."""
    alarms: np.ndarray
    """Negatives at or above the threshold."""

    @property
    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """False positive rate and true positive rate, both from 0 to 1."""
        return (_from_zero(self.alarms) / self.alarms[-1], _from_zero(self.hits) / self.hits[-1])

    @property
    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Recall (ascending) and the precision there."""
        return self.hits / self.hits[-1], self.hits / (self.hits + self.alarms)


class Scored:
    """Scores beside what came true, sorted once so that a resample costs one pass.

    Args:
        target: [n], 0 or 1.
        score: [n], higher means rather 1; in [0, 1] for the Brier score to mean anything.
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
        """The rows of a mask [n]; there must be at least one."""
        return Scored(self.target[chosen], self.score[chosen], self.group[chosen])

    def curve(self, weights: np.ndarray | None = None) -> Curve:
        """The counts; `weights` [groups] counts each group so many times."""
        weight = np.ones(len(self)) if weights is None else weights[self._group]
        positive = np.cumsum((weight * self.target)[self._order])[self._ends]
        negative = np.cumsum((weight * (1 - self.target))[self._order])[self._ends]
        return Curve(self.score[self._order][self._ends], positive, negative)

    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """Every metric of METRICS; NaN where it is not defined (no positive or no negative row)."""
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
    """The chance that a random positive scores above a random negative, ties counting half."""
    if curve.hits[-1] == 0 or curve.alarms[-1] == 0:
        return float("nan")
    false_rate, true_rate = curve.roc
    return float(np.trapezoid(true_rate, false_rate))


def pr_auc(curve: Curve) -> float:
    """Average precision: precision at each threshold, weighted by the recall gained there."""
    if curve.hits[-1] == 0:
        return float("nan")
    seen = curve.hits + curve.alarms > 0
    gained = np.diff(_from_zero(curve.hits))[seen] / curve.hits[-1]
    return float(np.sum(gained * curve.hits[seen] / (curve.hits + curve.alarms)[seen]))


def napfd(target: np.ndarray, score: np.ndarray) -> float:
    """Normalised average percentage of faults detected, of one ranked group at full budget.

    NAPFD = p - sum(ranks of the detected failures) / (m * n) + p / (2n) with n tests, m failing ones and
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
    """Metrics of several scores over the same rows, and the gains of each over `against`.

    All share the resamples, so that a gain is a paired difference: what makes a cycle hard is hard for
    both. Gains are positive where better, also for the Brier score.

    Returns:
        name -> metric -> estimate, and name -> metric -> gain of that name over `against`.

    Raises:
        DataError: a metric is not defined on these rows (no failing or no passing test).
    """
    values = {name: scored.measure() for name, scored in scores.items()}
    for name, measured in values.items():
        undefined = [metric for metric, value in measured.items() if np.isnan(value)]
        if undefined:
            raise DataError(
                f"{', '.join(undefined)} of {name} cannot be measured: the rows hold one verdict only",
                hint="choose more groups: both verdicts must occur",
            )
    draws = _draws(scores, resamples, seed)
    measured = {name: {m: _estimate(values[name][m], draws[name][m]) for m in METRICS} for name in scores}
    if against is None:
        return measured, {}
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
    return measured, gains


def _draws(scores: Mapping[str, Scored], resamples: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    generator = np.random.default_rng(seed)
    groups = len(next(iter(scores.values())).groups)
    draws = {name: {m: np.empty(resamples) for m in METRICS} for name in scores}
    for number in range(resamples):
        weights = np.bincount(generator.integers(groups, size=groups), minlength=groups).astype(float)
        for name, scored in scores.items():
            for metric, value in scored.measure(weights).items():
                draws[name][metric][number] = value
    return draws


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    """Percentile interval; resamples in which the metric is not defined say nothing and are left out."""
    low, high = np.nanquantile(draws, INTERVAL) if not np.isnan(draws).all() else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))


def _napfd_by_group(target: np.ndarray, score: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(1, groups))
    return np.array([napfd(target[rows], score[rows]) for rows in np.split(order, edges)])


def _from_zero(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], counts])
