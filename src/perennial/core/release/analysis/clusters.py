"""What both versions answered, by cluster, and the tests of `harm_tests` again with clusters in the place of requests.

Two kinds of clusters are counted. In a time slice both versions meet the same hour, so they are compared within it: an
outage that both share is no difference, one that only the candidate's pool had is a single cluster. The users of a hash
bucket stay with one version, so each version has buckets of its own. A verdict needs every kind that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perennial.core.release.analysis.harm_tests import SLOW, tolerated_increase, tolerated_ratio
from perennial.core.release.counted.cluster_bounds import (
    LEAST,
    Estimate,
    difference_in_clusters,
    difference_of_arms,
    rate,
)
from perennial.core.release.traffic import Counters
from perennial.core.release_spec import CriteriaSpec
from perennial.core.statistics import Booleans, Floats, one_side, proportion_bounds

Numbers = npt.NDArray[np.int64] | Floats


class ClusterKind(StrEnum):
    """Kind of cluster that requests are counted by."""

    TIME = "time slices"
    USERS = "groups of users"


class Arm(NamedTuple):
    """Counts of one version; the last axis is that of the clusters."""

    requests: Numbers
    errors: Numbers
    bounds_ms: Floats = np.empty(0)
    """Upper bounds of the latency buckets, [b]."""
    within: Numbers = np.empty((0, 0))
    """Requests within each bound, [b, clusters] behind further axes."""

    @property
    def rate(self) -> Estimate:
        return rate(np.minimum(self.errors, self.requests), self.requests)

    def joined(self, starts: npt.NDArray[np.int64]) -> Arm:
        """Return the counts of clusters that begin with these."""
        requests, errors, within = (
            np.add.reduceat(counts, starts, axis=-1) if counts.shape[-1] else counts
            for counts in (self.requests, self.errors, self.within)
        )
        return Arm(requests, errors, self.bounds_ms, within)

    def slower(self, place: int) -> tuple[Numbers, Numbers]:
        """Return the requests above the bound of that place, and all of them."""
        total = self.within[..., -1, :]
        return total - self.within[..., place, :], total


class ByCluster(NamedTuple):
    """Counts of both versions by clusters of one kind."""

    kind: ClusterKind
    candidate: Arm
    champion: Arm
    paired: bool
    """A cluster of the candidate and that of the champion with the same number are the same hours."""
    spells: npt.NDArray[np.int64] | None = None
    """First slice of each spell by which latencies are compared; None: each cluster is one."""

    def by_spell(self) -> ByCluster:
        """Return the counts by spell. A champion that answered before has its own slices."""
        if self.spells is None or not len(self.spells):
            return self
        theirs = self.champion.joined(self.spells) if self.paired else self.champion
        return self._replace(candidate=self.candidate.joined(self.spells), champion=theirs, spells=None)

    @property
    def increase(self) -> Estimate:
        """The candidate's error rate minus the champion's."""
        if not self.paired:
            return difference_of_arms(self.candidate.rate, self.champion.rate)
        (mine, theirs) = ((np.minimum(arm.errors, arm.requests), arm.requests) for arm in self[1:3])
        return difference_in_clusters(*mine, *theirs)

    def increase_bounds(self, confidence: float) -> tuple[Floats, Floats]:
        """Return bounds of the increase.

        Of a champion with too few clusters it is known that it has a rate; one that answered before the step alone, in
        too short a time for slices, is bounded by its requests.
        """
        low, high = self.increase.bounds(confidence)
        if self.paired:
            return low, high
        mine, theirs = self.candidate.rate.bounds(confidence), self.champion
        least, most = self.champion_bounds(
            np.minimum(theirs.errors, theirs.requests), theirs.requests, confidence
        )
        known = theirs.rate.degrees > 0
        return np.where(known, low, mine[0] - most), np.where(known, high, mine[1] - least)

    def champion_bounds(self, events: Numbers, trials: Numbers, confidence: float) -> tuple[Floats, Floats]:
        """Return bounds of a rate of the champion."""
        estimate = rate(events, trials)
        low, high = estimate.bounds(confidence)
        counts = np.asarray(events).sum(axis=-1), np.asarray(trials).sum(axis=-1)
        if self.kind is ClusterKind.TIME and not self.paired:
            by_requests = proportion_bounds(*counts, one_side(confidence))
        else:
            by_requests = np.zeros_like(low), np.ones_like(high)
        known = estimate.degrees > 0
        return np.where(known, low, by_requests[0]), np.where(known, high, by_requests[1])


def is_error_rate_proven_by(criteria: CriteriaSpec, clusters: ByCluster) -> Booleans:
    """Return whether the candidate's rate is above the maximum, and above the champion's where both share clusters."""
    above = clusters.candidate.rate.bounds(criteria.confidence)[0] > criteria.error_rate_max
    more = clusters.increase_bounds(criteria.confidence)[0] > 0.0
    return np.asarray(above & (more | (not clusters.paired)))


def error_increase_by(criteria: CriteriaSpec, clusters: ByCluster) -> tuple[Booleans, Booleans]:
    """Return whether a harmful increase of the error rate is proven, and whether the named one is excluded."""
    low, high = clusters.increase_bounds(criteria.confidence)
    return low > tolerated_increase(criteria), high < criteria.error_rate_increase


def is_latency_proven_by(criteria: CriteriaSpec, clusters: ByCluster) -> bool:
    """Return whether the candidate's p95 is above the tolerated multiple of the champion's, each bounded by cluster."""
    clusters = clusters.by_spell()
    mine, theirs = clusters.candidate, clusters.champion
    share = 1.0 - SLOW
    known = [
        bound
        for place, bound in enumerate(theirs.bounds_ms)
        if float(clusters.champion_bounds(*theirs.slower(place), criteria.confidence)[1]) < share
    ]
    if not known:
        return False
    limit = max(tolerated_ratio(criteria) * known[0], criteria.latency_p95_floor_ms)
    place = int(np.searchsorted(mine.bounds_ms, limit))
    if place >= len(mine.bounds_ms):
        return False
    return bool(rate(*mine.slower(place)).bounds(criteria.confidence)[0] > share)


def arm(clusters: Sequence[Counters]) -> Arm:
    """Return the counts of clusters as arrays; a bound that a cluster lacks has as many requests as the one below."""
    bounds = np.array(sorted({bound for counters in clusters for bound, _ in counters.buckets}))
    within = np.zeros((len(bounds), len(clusters)), dtype=np.int64)
    for place, counters in enumerate(clusters):
        if counters.buckets:
            known, counts = (np.array(column) for column in zip(*counters.buckets, strict=True))
            last = np.searchsorted(known, bounds, side="right")
            within[:, place] = np.concatenate([[0], counts])[last]
    return Arm(
        np.array([counters.requests for counters in clusters], dtype=np.int64),
        np.array([counters.errors for counters in clusters], dtype=np.int64),
        bounds,
        within,
    )


def independent(without: str | None = None) -> tuple[ByCluster, ...]:
    """Return no clusters: the requests are known to be independent, as those of a simulation are."""
    return ()


def growth_by(criteria: CriteriaSpec, clusters: ByCluster) -> float | None:
    """Return the factor by which the step must grow, as it went so far, until these clusters decide on the errors.

    None where no time of a step says it: too few clusters yet, a value between both limits, or users that differ: those
    do not become more by waiting.
    """
    estimate = clusters.increase
    low, high = clusters.increase_bounds(criteria.confidence)
    if clusters.kind is not ClusterKind.TIME or not np.isfinite(high):
        return None
    gaps = (
        (estimate.value - tolerated_increase(criteria), estimate.value - low),
        (criteria.error_rate_increase - estimate.value, high - estimate.value),
    )
    factors = [float((half / gap) ** 2) for gap, half in gaps if gap > 0]
    return max(1.0, min(factors))


def increase_words(criteria: CriteriaSpec, clusters: ByCluster) -> str:
    """Return the bounds of the increase, for people."""
    low, high = clusters.increase_bounds(criteria.confidence)
    return _words(clusters, float(low), float(high), "above the champion's")


def rate_words(criteria: CriteriaSpec, clusters: ByCluster) -> str:
    """Return the bounds of the candidate's error rate, for people, and how far the champion failed alike."""
    bounds = clusters.candidate.rate.bounds(criteria.confidence)
    rate = _words(clusters, float(bounds[0]), float(bounds[1]), "")
    low = float(clusters.increase_bounds(criteria.confidence)[0])
    alike = clusters.paired and np.isfinite(low) and low <= 0.0
    return f"{rate}, not proven above the champion's in the same" if alike else rate


def size_words(clusters: ByCluster) -> str:
    """Return the kind of the clusters and how many there are, for people."""
    mine, theirs = (int((np.asarray(arm.requests) > 0).sum()) for arm in clusters[1:3])
    fewest = min(mine, theirs)
    least = f", at least {LEAST} are needed" if fewest < LEAST else ""
    return f"{clusters.kind} (candidate {mine}, champion {theirs}{least})"


def _words(clusters: ByCluster, low: float, high: float, than: str) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"too few to tell: {size_words(clusters)}"
    return f"{low:+.2%} to {high:+.2%} {than} ({size_words(clusters)})".replace("  ", " ")
