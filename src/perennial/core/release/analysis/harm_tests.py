"""The statistical tests behind the criteria, on plain counts.

They serve single releases (`perennial.core.release.analysis.criteria`) and arrays of simulated releases
(`perennial.core.release.analysis.simulated_step`): every count may be a number or an array, and arrays broadcast.

The spec names the smallest harm that must not reach everybody. A test that aborts only when exactly that
much is proven never aborts a candidate that is exactly that bad, whatever the traffic. So there are two
limits: more than half of the named harm (`ABORT_AT`) is proven, or the whole of it is excluded. Given enough
requests, one of both holds for every true value. Each bound holds at all looks together
(`perennial.core.statistics`), so that looking every two seconds aborts no healthy candidate.
"""

from __future__ import annotations

import numpy as np

from perennial.core.release_spec import CriteriaSpec
from perennial.core.statistics import (
    Booleans,
    Counts,
    Floats,
    difference_bounds,
    exceeds,
    one_side,
    tail_level,
)

SLOW = 0.95
"""The latency quantile that is compared."""
ABORT_AT = 0.5
"""Part of the named harm that must be proven to abort. One half asks about as much evidence for aborting a
candidate of the named harm as for clearing one without any."""


def is_error_rate_proven(criteria: CriteriaSpec, errors: Counts, requests: Counts) -> Booleans:
    """Return whether the candidate's error rate is proven to be above the spec's maximum."""
    return exceeds(errors, requests, criteria.error_rate_max, criteria.confidence)


def error_increase(
    criteria: CriteriaSpec,
    errors: Counts,
    requests: Counts,
    champion_errors: Counts,
    champion_requests: Counts,
) -> tuple[Booleans, Booleans]:
    """Return whether a harmful increase of the error rate is proven, and whether the named one is excluded."""
    low, high = difference_bounds(errors, requests, champion_errors, champion_requests, criteria.confidence)
    return low > tolerated_increase(criteria), high < criteria.error_rate_increase


def champion_latency_level(criteria: CriteriaSpec, champion_requests: int) -> float | None:
    """Return the level of the champion's latency quantile that bounds its p95 from above.

    None where the champion has too few requests for any bound.
    """
    return tail_level(1.0 - SLOW, champion_requests, one_side(criteria.confidence))


def latency_limit_ms(criteria: CriteriaSpec, champion_bound_ms: Counts) -> Floats:
    """Return the latency that at most 5 % of a good candidate's requests exceed.

    Args:
        champion_bound_ms: upper bound of the champion's p95 (`champion_latency_level`).
    """
    return np.maximum(tolerated_ratio(criteria) * champion_bound_ms, criteria.latency_p95_floor_ms)


def is_latency_proven(criteria: CriteriaSpec, slower: Counts, requests: Counts) -> Booleans:
    """Return whether the candidate's p95 is proven to be above the limit.

    A p95 of few requests is noise. So the share of requests slower than the limit is tested: above 5 % means
    that the p95 is above the limit. The limit stands on an upper bound of the champion's p95; each of the two
    bounds has half of the error chance.

    Args:
        slower: requests above `latency_limit_ms`.
    """
    return exceeds(slower, requests, 1.0 - SLOW, one_side(criteria.confidence))


def tolerated_increase(criteria: CriteriaSpec) -> float:
    """Return the increase of the error rate above which the candidate is aborted."""
    return ABORT_AT * criteria.error_rate_increase


def tolerated_drop(criteria: CriteriaSpec) -> float:
    """Return the drop of the accuracy above which the candidate is aborted."""
    return ABORT_AT * criteria.accuracy_drop


def tolerated_factor(criteria: CriteriaSpec) -> float:
    """Return the factor of the champion's mean loss above which the candidate is aborted."""
    return 1.0 + ABORT_AT * criteria.loss_increase


def tolerated_ratio(criteria: CriteriaSpec) -> float:
    """Return the ratio of the p95s above which the candidate is aborted."""
    return 1.0 + ABORT_AT * (criteria.latency_p95_ratio - 1.0)
