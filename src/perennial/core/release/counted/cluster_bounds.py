"""Bounds on rates whose events come in clusters: a storm of one client, an outage, users that fail more than others.

Requests of a cluster (a time slice, the users of a hash bucket) may be as dependent as they like: only the clusters
are taken as exchangeable, and the spread between them is the error of the estimate. It is a ratio of sums over clusters
with the jackknife over clusters (CV3: J. MacKinnon, M. Nielsen, M. Webb, "Cluster-robust inference: A guide to
empirical practice", Journal of Econometrics 2023) and a t quantile whose degrees of freedom are those of the effective
number of clusters (A. Carter, K. Schnepel, D. Steigerwald, Review of Economics and Statistics 2017), so that clusters
of which one is most of the traffic count as few. Time slices are batch means (B. Schmeiser, "Batch size effects in the
analysis of simulation output", Operations Research 1982: 10 to 30 batches; more tell little and are less independent).

The quantile holds at all looks together: the chance that a standardised sum ever leaves a constant boundary between a
first and a last look (D. Siegmund, "Sequential Analysis", 1985, equation 4.40) is half of the error chance on each
side. It is asymptotic, unlike `perennial.core.statistics`; so both must agree before anything is decided.

Arrays end with the axis of the clusters; the axes before it broadcast.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used

from perennial.core.statistics import Counts, Floats

LEAST = 10
"""Clusters with requests from which a rate is bounded."""
LOOKS_SPAN = 1000.0
"""Time of the last look divided by that of the first: ten minutes and a week."""
DEGREES = np.concatenate(
    [np.arange(1.0, 10.0, 0.25), np.arange(10.0, 40.0, 1.0), np.geomspace(40.0, 1e6, 60)]
)


class Estimate(NamedTuple):
    """A rate or a difference of rates, with its standard error over clusters."""

    value: Floats
    variance: Floats
    degrees: Floats
    """Degrees of freedom of the variance; below `LEAST` clusters 0."""

    def bounds(self, confidence: float) -> tuple[Floats, Floats]:
        """Return lower and upper bound; infinite where there are too few clusters."""
        half = np.where(self.degrees > 0, critical(confidence, self.degrees) * np.sqrt(self.variance), np.inf)
        return np.asarray(self.value - half), np.asarray(self.value + half)


def rate(events: Counts, trials: Counts) -> Estimate:
    """Return the rate of events over clusters.

    Args:
        events, trials: of each cluster; clusters without trials are none.
    """
    x, n = np.broadcast_arrays(np.asarray(events, np.float64), np.asarray(trials, np.float64))
    total = np.maximum(n.sum(axis=-1), 1e-300)
    value = x.sum(axis=-1) / total
    share = n / total[..., None]
    clusters = (n > 0).sum(axis=-1)
    left = np.maximum(1.0 - share, 1e-9)  # what the rest weighs without the cluster
    moved = (x / total[..., None] - value[..., None] * share) / left
    variance = (moved**2).sum(axis=-1) * (clusters - 1.0) / np.maximum(clusters, 1)
    effective = 1.0 / np.maximum((share**2).sum(axis=-1), 1e-300)
    degrees = np.where(clusters >= LEAST, np.maximum(effective - 1.0, DEGREES[0]), 0.0)
    return Estimate(np.asarray(value), np.asarray(variance), np.asarray(degrees))


def difference_in_clusters(
    events: Counts, trials: Counts, other_events: Counts, other_trials: Counts
) -> Estimate:
    """Return the first rate minus the other, compared within each cluster, so that what both share cancels.

    The differences are weighted as in the risk difference of Mantel and Haenszel (S. Greenland, J. Robins, Biometrics
    1985). Clusters in which one side has no trials tell nothing.
    """
    x, n, y, m = np.broadcast_arrays(
        *(np.asarray(counts, np.float64) for counts in (events, trials, other_events, other_trials))
    )
    both = np.maximum(n + m, 1.0)
    return rate((x * m - y * n) / both, n * m / both)


def difference_of_arms(mine: Estimate, theirs: Estimate) -> Estimate:
    """Return the difference of the rates of two groups of clusters, by Welch and Satterthwaite."""
    variance = mine.variance + theirs.variance
    squares = sum(arm.variance**2 / np.where(arm.degrees > 0, arm.degrees, np.inf) for arm in (mine, theirs))
    known = (mine.degrees > 0) & (theirs.degrees > 0)
    largest = mine.degrees + theirs.degrees
    degrees = np.where(squares > 0, variance**2 / np.where(squares > 0, squares, 1.0), largest)
    return Estimate(mine.value - theirs.value, variance, np.where(known, degrees, 0.0))


def critical(confidence: float, degrees: Counts) -> Floats:
    """Return the quantile of Student's t that a standardised estimate passes at any look with half the error chance."""
    return np.asarray(np.interp(degrees, DEGREES, _quantiles(confidence)))


@lru_cache
def _quantiles(confidence: float) -> Floats:
    return np.asarray(scipy.stats.t.isf(scipy.stats.norm.sf(boundary(confidence)), DEGREES))


@lru_cache
def boundary(confidence: float) -> float:
    """Return the height that standardised sums pass upwards at any look with a chance of (1 - confidence) / 2."""

    def excess(height: float) -> float:
        inside = 0.5 * (height - 1.0 / height) * math.log(LOOKS_SPAN) + 2.0 / height
        return float(scipy.stats.norm.pdf(height) * inside - (1.0 - confidence) / 2.0)

    return float(scipy.optimize.brentq(excess, 1.0, 10.0))
