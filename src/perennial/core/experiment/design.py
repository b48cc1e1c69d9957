"""Sample sizes of A/B tests that are looked at once, at their end."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used

Kind = Literal["binary", "continuous", "count"]
LEAST = 2.0
"""Observations per variant with which a t test is defined."""
NODES = np.polynomial.legendre.leggauss(200)
NEGLIGIBLE = 1e-15
"""Probability on each side that the quadrature leaves out."""


def sample_size_binary(base: float, other: float, alpha: float, power: float) -> float:
    """Return the observations per variant of two equal groups for a two-sided test of proportions.

    Uses Cohen's h, 2 asin(sqrt(p)) - 2 asin(sqrt(q)) (J. Cohen, "Statistical Power Analysis", 1988). The result
    equals statsmodels' NormalIndPower with proportion_effectsize.
    """
    return _normal_size(2.0 * (math.asin(math.sqrt(other)) - math.asin(math.sqrt(base))), alpha, power)


def sample_size_count(base: float, other: float, alpha: float, power: float) -> float:
    """Return the exposure per variant for two event rates; sqrt stabilises their variance (1/4 per unit)."""
    return _normal_size(2.0 * (math.sqrt(other) - math.sqrt(base)), alpha, power)


def sample_size_continuous(difference: float, deviation: float, alpha: float, power: float) -> float:
    """Return the observations per variant for a two-sided t test, at least 2, equal to statsmodels' TTestIndPower."""
    effect = abs(difference) / deviation

    def missing(n: float) -> float:
        return _power_of_t(effect * math.sqrt(n / 2), 2.0 * n - 2.0, alpha) - power

    if missing(LEAST) >= 0.0:
        return LEAST
    start = max(2.5, _normal_size(effect, alpha, power))
    return float(scipy.optimize.brentq(missing, LEAST, 2.0 * start + 10.0, xtol=1e-9, rtol=1e-12))


def _power_of_t(shift: float, freedom: float, alpha: float) -> float:
    """Return the power of a two-sided t test: both tails of the noncentral t distribution beyond the critical value.

    The normal tail is averaged over the estimated deviation (chi) by Gauss-Legendre quadrature. SciPy's `nct` returns
    NaN for most arguments that lie far in a tail (1.17), as at an alpha of 0.01 and a power of 0.99.
    """
    critical = scipy.stats.t.isf(alpha / 2, freedom)
    low, high = scipy.stats.chi.ppf(NEGLIGIBLE, freedom), scipy.stats.chi.isf(NEGLIGIBLE, freedom)
    nodes, weights = NODES
    radius = low + (high - low) * (nodes + 1.0) / 2.0
    density = scipy.stats.chi.pdf(radius, freedom) * weights * (high - low) / 2.0
    limit = critical * radius / math.sqrt(freedom)
    return float(
        np.sum(density * (scipy.stats.norm.sf(limit - shift) + scipy.stats.norm.cdf(-limit - shift)))
    )


def _normal_size(effect: float, alpha: float, power: float) -> float:
    """Return n per variant with sf(z - e sqrt(n/2)) + cdf(-z - e sqrt(n/2)) = power, both tails.

    Raises:
        ValueError: the effect is zero, or the power is not above alpha.
    """
    if effect == 0.0:
        raise ValueError("no sample size detects a difference of zero")
    if power <= alpha:
        raise ValueError(
            f"a power of {power:g} is not above alpha {alpha:g}: no observation is needed for it"
        )
    critical = scipy.stats.norm.isf(alpha / 2)

    def missing(n: float) -> float:
        shift = abs(effect) * math.sqrt(n / 2)
        return float(scipy.stats.norm.sf(critical - shift) + scipy.stats.norm.cdf(-critical - shift) - power)

    standardised = float(critical + scipy.stats.norm.ppf(power)) / float(effect)
    about = 2.0 * standardised * standardised
    return float(scipy.optimize.brentq(missing, 0.0, about * 4, xtol=1e-9, rtol=1e-14))
