"""Bounds on proportions that stay true however often one looks.

A release is looked at every few seconds. A test made for one look, repeated, aborts healthy candidates:
at 95 % confidence a daily look over four weeks already errs about one time in four. So proportions are
bounded by a confidence sequence: an interval for every sample size that holds at all of them together.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import betaln

PRIOR = 0.5
"""Both parameters of the beta mixture; one half (Jeffreys) is tight for rates near 0 and 1, where error
rates and accuracies live. Any positive value keeps the coverage; it only moves where the bound is tight."""


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
    limit = -math.log(1.0 - confidence)
    mixture = betaln(hits + PRIOR, trials - hits + PRIOR) - betaln(PRIOR, PRIOR)

    def excess(p: float) -> float:
        """log M_n(p) - log(1 / alpha): positive where p is excluded."""
        likelihood = hits * math.log(p) if hits else 0.0
        likelihood += (trials - hits) * math.log1p(-p) if trials > hits else 0.0
        return mixture - likelihood - limit

    tiny = 1e-12
    best = min(max(hits / trials, tiny), 1.0 - tiny)
    low = 0.0 if hits == 0 or excess(tiny) <= 0 else brentq(excess, tiny, best)
    high = 1.0 if hits == trials or excess(1.0 - tiny) <= 0 else brentq(excess, best, 1.0 - tiny)
    return float(low), float(high)


def exceeds(hits: float, trials: int, limit: float, confidence: float) -> bool:
    """Whether the proportion is proven to be above `limit`."""
    return proportion_bounds(hits, trials, confidence)[0] > limit


def difference_exceeds(
    hits: float, trials: int, other_hits: float, other_trials: int, limit: float, confidence: float
) -> bool:
    """Whether the first proportion minus the other is proven to be above `limit`.

    Each side is bounded with half of the error chance (union bound), so that a zero rate on one side
    needs no special case, as a ratio would.
    """
    each = 1.0 - (1.0 - confidence) / 2.0
    low = proportion_bounds(hits, trials, each)[0]
    high = proportion_bounds(other_hits, other_trials, each)[1]
    return low - high > limit


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (inverse ECDF, type 1)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
