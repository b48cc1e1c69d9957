"""Sample sizes of A/B tests."""

from __future__ import annotations

import math
from typing import Literal

import scipy  # loads its parts, here those of a second, when they are first used

Kind = Literal["binary", "continuous", "count"]


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
    """Return the observations per variant for a two-sided t test, equal to statsmodels' TTestIndPower."""
    effect = abs(difference) / deviation

    def missing(n: float) -> float:
        freedom = 2.0 * n - 2.0
        critical, shift = scipy.stats.t.isf(alpha / 2, freedom), effect * math.sqrt(n / 2)
        return float(
            scipy.stats.nct.sf(critical, freedom, shift)
            + scipy.stats.nct.cdf(-critical, freedom, shift)
            - power
        )

    start = max(2.5, _normal_size(effect, alpha, power))
    return float(scipy.optimize.brentq(missing, 2.0, 2.0 * start + 10.0, xtol=1e-9, rtol=1e-12))


def required_sample_size(
    kind: Kind, base: float, effect: float, deviation: float, alpha: float, power: float
) -> int | None:
    """Return the observations (for counts: exposure) per variant to detect `effect`; None if impossible.

    Args:
        base: mean of the control.
        effect: difference of the means.
        deviation: standard deviation of an outcome; continuous only.
    """
    other = base + effect
    if effect == 0.0 or (kind != "continuous" and other < 0.0):
        return None
    if kind == "binary":
        return math.ceil(sample_size_binary(base, other, alpha, power)) if other <= 1.0 else None
    if kind == "count":
        return math.ceil(sample_size_count(base, other, alpha, power))
    if deviation == 0.0:
        return None
    if abs(effect) < 0.01 * deviation:  # Student's t and the normal distribution agree within an observation
        return math.ceil(_normal_size(effect / deviation, alpha, power))
    return math.ceil(sample_size_continuous(effect, deviation, alpha, power))


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

    about = 2.0 * ((critical + scipy.stats.norm.ppf(power)) / effect) ** 2
    return float(scipy.optimize.brentq(missing, 0.0, about * 4, xtol=1e-9, rtol=1e-14))
