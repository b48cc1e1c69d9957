"""Bounds of the difference of two means that hold at every look, and the sample that a decision by them needs."""

from __future__ import annotations

import math

import scipy  # loads its parts, here those of a second, when they are first used

from perennial.core.experiment.design import Kind
from perennial.core.experiment.posterior import Variant
from perennial.core.statistics import difference_bounds

TUNED_FOR = 1000
"""Observations of all variants at which the confidence sequence is tightest; must not depend on the data."""
FIRST_LOOK = 50
"""Observations of each variant before a decision is allowed."""
FEWEST_EVENTS = 10
"""Observations that the variance of the difference must be spread over before a decision is allowed.

The bounds rely on the central limit theorem, which holds once no observation has more than a small part of the variance
(J. W. Lindeberg, "Eine neue Herleitung des Exponentialgesetzes in der Wahrscheinlichkeitsrechnung", Mathematische
Zeitschrift 15, 1922). A number of users says nothing of that: among 250 users of whom 1 % buy, two or three decide.
"""


def sequential_bounds(kind: Kind, control: Variant, treatment: Variant, alpha: float) -> tuple[float, float]:
    """Return bounds of treatment - control that are valid at all looks together.

    The asymptotic confidence sequence of I. Waudby-Smith et al., "Time-uniform central limit theory and
    asymptotic confidence sequences" (Annals of Statistics 2024), over both variants together with the variance
    of the difference. It relies on the central limit theorem: see `largest_part`. Of binary outcomes too few or too
    alike for that, the bounds are exact (`core.statistics.difference_bounds`), and wider.
    """
    if kind == "binary" and largest_part(kind, control, treatment) > 1.0 / FEWEST_EVENTS:
        sides = (treatment.total, treatment.n, control.total, control.n)
        low, high = difference_bounds(*sides, 1.0 - alpha)
        return float(low), float(high)
    n = control.n + treatment.n
    half = half_width(n, variance_of_mean(kind, control) + variance_of_mean(kind, treatment), alpha)
    middle = treatment.mean - control.mean
    return middle - half, middle + half


def half_width(n: float, variance: float, alpha: float) -> float:
    """Return half the width of the bounds.

    Args:
        n: observations of both variants.
        variance: variance of the difference of their means.
    """
    tuned = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TUNED_FOR
    spread = n * tuned + 1
    return math.sqrt(variance * 2 * spread / (n * tuned) * math.log(math.sqrt(spread) / alpha))


def variance_of_mean(kind: Kind, variant: Variant) -> float:
    """Return the variance of the mean; half an event is added, so that zero events do not give certainty."""
    if kind == "binary":
        rate = (variant.total + 0.5) / (variant.n + 1)
        return rate * (1 - rate) / variant.n
    units = variant.exposure or variant.n
    added = 0.5 if kind == "count" else 0.0
    return (variant.deviations(kind)[0] * variant.n / (variant.n - 1) + added) / units**2


def largest_part(kind: Kind, control: Variant, treatment: Variant) -> float:
    """Return the largest part of the variance of the difference that a single observation holds, 0 to 1.

    Observations without any variance give 1: nothing is known of it.
    """
    both = (control, treatment)
    largest = max(variant.deviations(kind)[1] / (variant.exposure or variant.n) ** 2 for variant in both)
    variance = sum(variance_of_mean(kind, variant) for variant in both)
    return min(1.0, largest / variance) if variance > 0.0 else 1.0


def decision_size(
    kind: Kind, base: float, effect: float, deviation: float, alpha: float, power: float, share: float
) -> int | None:
    """Return the observations of both variants together after which the bounds exclude no difference.

    The bounds are looked at once at this size; earlier looks may decide before, so the true power is higher.

    Args:
        base: mean of the control.
        effect: difference of the means.
        deviation: standard deviation of an outcome; for counts without it, that of Poisson counts.
        share: share of the treatment, in (0, 1).

    Returns:
        None where no sample is enough: there is no effect, or the treatment's mean is impossible.
    """
    other = base + effect
    if effect == 0.0 or (kind != "continuous" and other < 0.0) or (kind == "binary" and other > 1.0):
        return None
    own = {"binary": (base * (1 - base), other * (1 - other)), "count": (base, other)}
    variances = (deviation**2,) * 2 if deviation or kind == "continuous" else own[kind]
    sides = tuple(zip((1.0 - share, share), variances, strict=True))
    unit = sum(variance / part for part, variance in sides)
    least = FIRST_LOOK / min(share, 1.0 - share)
    if kind == "binary":  # the rarer outcome has the largest deviation
        arms = ((1.0 - share, base), (share, other))
        most = max(max(1.0 - mean, mean) ** 2 / part**2 for part, mean in arms)
        least = max(least, FEWEST_EVENTS * most / unit) if unit else least

    def short(n: float) -> float:
        return (
            abs(effect)
            - half_width(n, unit / n, alpha)
            - float(scipy.stats.norm.ppf(power)) * math.sqrt(unit / n)
        )

    if short(least) >= 0.0:
        return math.ceil(least)
    enough = 2.0 * least
    while short(enough) < 0.0:
        enough *= 2.0
    return math.ceil(float(scipy.optimize.brentq(short, enough / 2.0, enough, xtol=1e-6, rtol=1e-12)))
