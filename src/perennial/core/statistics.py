"""Bounds on proportions that stay true however often one looks.

A release is looked at every few seconds. A test made for one look, repeated, aborts healthy candidates:
at 95 % confidence a daily look over four weeks already errs about one time in four. So proportions are
bounded by a confidence sequence: an interval for every sample size that holds at all of them together.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, xlog1py, xlogy

PRIOR = 0.5
"""Both parameters of the beta mixture; one half (Jeffreys) is tight for rates near 0 and 1, where error
rates and accuracies live. Any positive value keeps the coverage; it only moves where the bound is tight."""

BISECTIONS = 40
MOST_GROWTH = 2.0**20


def proportion_bounds(hits: float, trials: int, confidence: float) -> tuple[float, float]:
    """Lower and upper bound of a proportion, valid at all sample sizes at once.

    The beta-binomial mixture martingale M_n(p) = B(x + a, n - x + a) / (B(a, a) p^x (1 - p)^(n - x)) has
    mean 1 under the true p; by Ville's inequality it ever reaches 1 / alpha with a chance of at most
    alpha. The bounds are the smallest and largest p that it has not excluded. Source: H. Robbins,
    "Statistical methods related to the law of the iterated logarithm", Annals of Mathematical Statistics
    1970; S. Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
    Statistics 2021.

    Args:
        hits: how often it happened, 0 <= hits <= trials. Also the sum of trials' values in [0, 1], for the
            bounds of their mean: each factor (q/p)^x ((1-q)/(1-p))^(1-x) of the mixture is convex in x, so
            its mean is at most that of a yes-or-no trial with the same mean, which is 1.
        trials: how often it could have; 0 gives (0, 1).
        confidence: chance, in (0, 1), that both bounds hold at every look.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits of {trials} trials")
    if trials == 0:
        return 0.0, 1.0

    def excess(p: float) -> float:
        return _excess(hits, trials, p, confidence)

    tiny = 1e-12
    best = min(max(hits / trials, tiny), 1.0 - tiny)
    low = 0.0 if hits == 0 or excess(tiny) <= 0 else brentq(excess, tiny, best)
    high = 1.0 if hits == trials or excess(1.0 - tiny) <= 0 else brentq(excess, best, 1.0 - tiny)
    return float(low), float(high)


def _excess(hits: float, trials: int, p: float, confidence: float) -> float:
    """log M_n(p) - log(1 / alpha): positive where p is excluded."""
    mixture = betaln(hits + PRIOR, trials - hits + PRIOR) - betaln(PRIOR, PRIOR)
    likelihood = hits * math.log(p) if hits else 0.0
    likelihood += (trials - hits) * math.log1p(-p) if trials > hits else 0.0
    return float(mixture - likelihood + math.log(1.0 - confidence))


def bounds(hits: np.ndarray, trials: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """`proportion_bounds` of many pairs at once, by bisection (arrays of one shape; errors below 1e-9)."""
    hits, trials = np.broadcast_arrays(np.asarray(hits, float), np.asarray(trials, float))
    mixture = betaln(hits + PRIOR, trials - hits + PRIOR) - betaln(PRIOR, PRIOR)
    level = mixture + math.log(1.0 - confidence)

    def excluded(p: np.ndarray) -> np.ndarray:
        return level > xlogy(hits, p) + xlog1py(trials - hits, -p)

    best = hits / np.maximum(trials, 1.0)
    low, high = np.zeros_like(best), np.ones_like(best)
    inside_low, inside_high = best.copy(), best.copy()
    for _ in range(BISECTIONS):
        middle = (low + inside_low) / 2.0
        out = excluded(middle)
        low, inside_low = np.where(out, middle, low), np.where(out, inside_low, middle)
        middle = (high + inside_high) / 2.0
        out = excluded(middle)
        high, inside_high = np.where(out, middle, high), np.where(out, inside_high, middle)
    empty = trials == 0
    return np.where(empty | (hits == 0), 0.0, low), np.where(empty | (hits == trials), 1.0, high)


def exceeds(hits: float, trials: int, limit: float, confidence: float) -> bool:
    """Whether the proportion is proven to be above `limit`."""
    return proportion_bounds(hits, trials, confidence)[0] > limit


def difference_bounds(
    hits: float, trials: int, other_hits: float, other_trials: int, confidence: float
) -> tuple[float, float]:
    """Bounds of the first proportion minus the other, valid at all looks together.

    Each side is bounded with half of the error chance (union bound), so that a zero rate on one side
    needs no special case, as a ratio would, and the two sides may grow at any speed.
    """
    each = one_side(confidence)
    mine = proportion_bounds(hits, trials, each)
    theirs = proportion_bounds(other_hits, other_trials, each)
    return mine[0] - theirs[1], mine[1] - theirs[0]


def difference_exceeds(
    hits: float, trials: int, other_hits: float, other_trials: int, limit: float, confidence: float
) -> bool:
    """Whether the first proportion minus the other is proven to be above `limit`."""
    return difference_bounds(hits, trials, other_hits, other_trials, confidence)[0] > limit


def one_side(confidence: float) -> float:
    """The confidence of each of two statements that shall hold together."""
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
    """By which factor both sides must grow, at the proportions seen, until the difference is proven to be
    above `tolerated` or below `harmful`; None when one side has nothing yet or 2^20 times is not enough.
    """
    if trials == 0 or other_trials == 0:
        return None

    def decided(factor: float) -> bool:
        n, m = math.ceil(trials * factor), math.ceil(other_trials * factor)
        x, y = hits / trials * n, other_hits / other_trials * m
        low, high = difference_bounds(x, n, y, m, confidence)
        return low > tolerated or high < harmful

    enough = 1.0
    while not decided(enough):
        enough *= 2.0
        if enough > MOST_GROWTH:
            return None
    little = enough / 2.0
    for _ in range(5):  # to 3 %: the rates seen are no more certain than that
        middle = (little + enough) / 2.0
        little, enough = (little, middle) if decided(middle) else (middle, enough)
    return enough


def tail_level(share: float, trials: int, confidence: float) -> float | None:
    """The level of the sample quantile that is proven not to lie below the population's (1 - share) quantile.

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
        if _excess(middle, trials, share, confidence) > 0.0:
            none = middle
        else:
            most = middle - 1
    return None if most < 0 else 1.0 - most / trials


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (inverse ECDF, type 1)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
