"""Bounds on proportions that hold at every look.

A release is looked at every few seconds. A test made for a single look, repeated, aborts healthy candidates:
at 95 % confidence a daily look over four weeks already errs about one time in four. So proportions are
bounded by a confidence sequence: an interval for every sample size that holds at all of them together.

Counts may be numbers or arrays, which broadcast; numbers give NumPy scalars.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, expit, xlog1py, xlogy

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Counts = float | NDArray[np.float64] | NDArray[np.int64]

PRIOR = 0.5
"""Both parameters of the beta mixture; one half (Jeffreys) is tight for rates near 0 and 1, where error
rates and accuracies live. Any positive value keeps the coverage; it only moves where the bound is tight."""

MOST_DOUBLINGS = 20
MANY = 10_000
"""Number of counts from which equal counts are bounded only once."""


def proportion_bounds(hits: Counts, trials: Counts, confidence: float) -> tuple[Floats, Floats]:
    """Return lower and upper bound of a proportion, valid at all sample sizes at once.

    The beta-binomial mixture martingale M_n(p) = B(x + a, n - x + a) / (B(a, a) p^x (1 - p)^(n - x)) has
    mean 1 under the true p; by Ville's inequality it ever reaches 1 / alpha with a chance of at most
    alpha. The bounds are the smallest and largest p that it has not excluded. Source: H. Robbins,
    "Statistical methods related to the law of the iterated logarithm", Annals of Mathematical Statistics
    1970; S. Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
    Statistics 2021.

    Args:
        hits: number of events, 0 <= hits <= trials. Also the sum of trials' values in [0, 1], for the
            bounds of their mean: each factor (q/p)^x ((1-q)/(1-p))^(1-x) of the mixture is convex in x, so
            its mean is at most that of a yes-or-no trial with the same mean, which is 1.
        trials: number of trials; 0 gives (0, 1).
        confidence: chance, in (0, 1), that both bounds hold at every look.

    Raises:
        ValueError: hits outside of 0 to trials.
    """
    x, n = checked_counts(hits, trials)
    if x.size <= MANY:
        return _bounds(x, n, confidence)
    pairs, places = np.unique(x + 1j * n, return_inverse=True)
    low, high = _bounds(pairs.real, pairs.imag, confidence)
    return low[places].reshape(x.shape), high[places].reshape(x.shape)


def checked_counts(hits: Counts, trials: Counts) -> tuple[Floats, Floats]:
    """Return hits and trials, broadcast against each other; raises ValueError where hits are outside of 0 to trials."""
    x, n = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(trials, np.float64))
    if np.any((x < 0) | (x > n)):
        raise ValueError(f"{hits} hits of {trials} trials")
    return x, n


def _bounds(hits: Floats, trials: Floats, confidence: float) -> tuple[Floats, Floats]:
    level = _log_mixture(hits, trials) + math.log(1.0 - confidence)
    sides = _lowest_not_excluded(np.stack([hits, trials - hits]), trials, level)
    return sides[0], 1.0 - sides[1]


def _log_mixture(hits: Counts, trials: Counts) -> Floats:
    return np.asarray(betaln(hits + PRIOR, trials - hits + PRIOR) - betaln(PRIOR, PRIOR))


def _lowest_not_excluded(hits: Floats, trials: Floats, level: Floats) -> Floats:
    """Solve level = x log p + (n - x) log(1 - p) for the smaller p, by Newton's method in t = logit p.

    The difference of both sides is convex in t and positive at the start, p = exp(level / x), so the steps
    rise to the root without passing it; the error after a step below 1e-7 is below 1e-12.
    """
    x = np.where(hits > 0, hits, 1.0)
    n = np.maximum(trials, x)
    t = level / x - np.log(-np.expm1(level / x))
    for _ in range(60):
        step = (level - x * t + n * np.logaddexp(0.0, t)) / (x - n * expit(t))
        t = t + step
        if np.all(np.abs(step) < 1e-7):
            break
    return np.where(hits > 0, expit(t), 0.0)


def exceeds(hits: Counts, trials: Counts, limit: float, confidence: float) -> Booleans:
    """Return whether the proportion is proven to be above `limit`, as its lower bound tells."""
    x, n = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    return np.asarray((x > limit * n) & (_log_evidence(x, n, limit, confidence) > 0.0))


def _log_evidence(hits: Counts, trials: Counts, p: float, confidence: float) -> Floats:
    """Return log M_n(p) - log(1 / alpha): positive where p is excluded."""
    likelihood = xlogy(hits, p) + xlog1py(trials - hits, -p)
    return np.asarray(_log_mixture(hits, trials) - likelihood + math.log(1.0 - confidence))


def difference_bounds(
    hits: Counts, trials: Counts, other_hits: Counts, other_trials: Counts, confidence: float
) -> tuple[Floats, Floats]:
    """Return bounds of the first proportion minus the other, valid at all looks together.

    Each side is bounded with half of the error chance (union bound), so that a zero rate on one side
    needs no special case, as a ratio would, and the two sides may grow at any speed.
    """
    each = one_side(confidence)
    low, high = proportion_bounds(hits, trials, each)
    other_low, other_high = proportion_bounds(other_hits, other_trials, each)
    return low - other_high, high - other_low


def difference_exceeds(
    hits: Counts,
    trials: Counts,
    other_hits: Counts,
    other_trials: Counts,
    limit: float,
    confidence: float,
) -> Booleans:
    """Return whether the first proportion minus the other is proven to be above `limit`."""
    low, _ = difference_bounds(hits, trials, other_hits, other_trials, confidence)
    return np.asarray(low > limit)


def one_side(confidence: float) -> float:
    """Return the confidence of each of two statements that hold together with `confidence`."""
    return 1.0 - (1.0 - confidence) / 2.0


def growth_to_decide(
    hits: float,
    trials: int,
    other_hits: float,
    other_trials: int,
    tolerated: float,
    harmful: float,
    confidence: float,
) -> float | None:
    """Return the factor by which both sides must grow, at the proportions seen, for a decision.

    Decided is a difference that is proven to be above `tolerated` or below `harmful`. None where one side has
    no trials yet or a growth of 2^20 is not enough.
    """
    if trials == 0 or other_trials == 0:
        return None

    def first_decided(factors: Floats) -> float | None:
        n, m = np.ceil(trials * factors), np.ceil(other_trials * factors)
        x, y = hits / trials * n, other_hits / other_trials * m
        low, high = difference_bounds(x, n, y, m, confidence)
        (decided,) = np.nonzero((low > tolerated) | (high < harmful))
        return float(factors[decided[0]]) if len(decided) else None

    enough = first_decided(np.exp2(np.arange(MOST_DOUBLINGS + 1, dtype=np.float64)))
    if enough is None:
        return None
    # To 3 %: the rates seen are no more certain than that.
    return first_decided(np.linspace(enough / 2.0, enough, 33, dtype=np.float64)[1:])


def tail_level(share: float, trials: int, confidence: float) -> float | None:
    """Return the level of the sample quantile that is proven not to lie below the (1 - share) quantile.

    The empirical share above the true quantile q is that of a yes-or-no trial of chance `share`; a value
    above which so few of the sample lie that `share` is excluded for them is therefore above q, at all looks
    together (S. Howard, A. Ramdas, "Sequential estimation of quantiles with applications to A/B testing
    and best-arm identification", Bernoulli 2022).

    Returns:
        A level in (1 - share, 1]; None when `trials` cannot prove it of any value.
    """
    most, none = int(share * trials), -1
    while most > none:  # the largest count above whose upper bound is still below `share`
        middle = (most + none + 1) // 2
        if _log_evidence(middle, trials, share, confidence) > 0.0:
            none = middle
        else:
            most = middle - 1
    return None if most < 0 else 1.0 - most / trials


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed (inverse ECDF, type 1).

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
