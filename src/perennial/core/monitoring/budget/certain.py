"""Upper bound of the p-value of a permutation test, as small as a month of looks at several models needs.

A budget of one false warning a month over all models leaves a look less than 1e-6; permutations would have to be
millions. Under exchangeable blocks the newest ones are a simple random sample of all, whose sum S is that of
independent draws given their number N. So P(S >= s) <= E exp(a (S - s) + b (N - c)) / P(N = c) for every a >= 0 and b
(Chernoff 1952, "A measure of asymptotic efficiency"; the exponent of the saddlepoint approximation of permutation
tests of Robinson 1982, JRSS B 44). The bound is never below the true p-value, whatever the blocks hold; some 200 times
above it where blocks are many (a standard deviation less than the figure has), and equal to it where the newest blocks
are the largest of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy  # loads its parts when they are first used

from perennial.core.monitoring.max_t import Figure, Permutations

TILTS = np.geomspace(0.5, 128, 33)
"""Values of a that are tried, in standard deviations of S: the bound holds for each."""
HALVINGS = 60
SIDES = 2


def certain_p(figures: Sequence[Figure], orders: Permutations) -> float:
    """Return an upper bound of the p-value of the figure that moved most, adjusted for all of these (Bonferroni).

    Every number of each figure is compared in each part of the window, upwards and downwards. Only the one that moved
    most in standard deviations is bounded, at the level that it would have among all.
    """
    sums = np.hstack([figure.sums for figure in figures if figure.each_scaled])
    total, rows = len(orders.rows), orders.rows[:, None]
    centred = sums - rows * (sums.sum(axis=0) / rows.sum())
    spread = np.sqrt(np.square(centred).mean(axis=0))
    most = 0.0, 0, 0
    for count in orders.parts:
        apart = np.abs(centred[total - count :].sum(axis=0))
        scale = spread * math.sqrt(count * (total - count) / total)
        grades = np.divide(apart, scale, out=np.zeros_like(apart), where=scale > 0)
        place = int(np.argmax(grades))
        most = max(most, (float(grades[place]), count, place))
    grade, count, place = most
    if grade == 0:
        return 1.0
    tests = sums.shape[1] * len(orders.parts) * SIDES
    return float(min(1.0, tests * math.exp(log_tail(centred[:, place], count))))


def log_tail(values: np.ndarray, count: int) -> float:
    """Return an upper bound of the logarithm of P(|sum of `count` random values| >= that of the last ones), one-sided.

    Args:
        values: float [n], with sum 0; the last `count` are those that are judged, on the side on which they lie.
        count: from 1 to n - 1.
    """
    seen = values[-count:].sum()
    values = values * (1.0 if seen >= 0 else -1.0)
    share = count / len(values)
    scale = math.sqrt(np.square(values).mean() * count * (1 - share))
    tilted = (TILTS[:, None] / scale) * values  # [tilts, n]
    odds = math.log(share / (1 - share))
    # Any b is allowed; the best makes the expected number of chosen values `count`.
    low, high = -tilted.max(axis=1) - 1, -tilted.min(axis=1) + 1
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        many = scipy.special.expit(odds + tilted + middle[:, None]).sum(axis=1) > count
        low, high = np.where(many, low, middle), np.where(many, middle, high)
    shift = (low + high) / 2
    growth = np.logaddexp(math.log1p(-share), math.log(share) + tilted + shift[:, None]).sum(axis=1)
    exponent = growth - TILTS * abs(seen) / scale - shift * count
    exact = scipy.stats.binom.logpmf(count, len(values), share)
    return min(0.0, float(exponent.min() - exact))
