"""Metrics of a ranking: ROC-AUC, average precision and NAPFD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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


def napfd_by_group(target: np.ndarray, score: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Return the NAPFD of each group, [groups]; `group` has codes from 0."""
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(1, groups))
    return np.array([napfd(target[rows], score[rows]) for rows in np.split(order, edges)])


def _from_zero(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], counts])
