"""Compare latencies on like requests, because clients choose what they send to which side.

The router counts every request alike. A client whose user id is assigned to the candidate can send it the largest
requests, and the p95 of a healthy candidate rises. So a candidate that looks slow at the router is compared once
more on the servers' own log, within strata of equal work: the same operation and nearly the same number of rows.
The champion's requests are weighted to the candidate's mix (direct standardisation), with Kish's effective sample
size in the place of their number (Korn and Graubard, Survey Methodology 1998, use it for bounds of weighted
shares). Strata that one side alone answered are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from perennial.core.release.analysis.harm_tests import (
    champion_latency_level,
    is_latency_proven,
    latency_limit_ms,
)
from perennial.core.release.traffic import LikeRequests
from perennial.core.release_spec import CriteriaSpec

SIZE_STEP = 1.09
"""Ratio of the sizes in a stratum. It must stay well below the tolerated ratio of the p95s: a client can choose the
smallest and the largest size of a stratum for the two sides."""
DOMINANT = 0.5
"""Part of the compared requests from which a client is the traffic, and may decide alone."""
SUSPECTS = 10
"""Number of clients whose absence is tried, those with the most slow requests first."""


class TimedRequest(NamedTuple):
    """A request in the prediction log of one side."""

    operation: Hashable
    rows: int
    client: str
    latency_ms: float


def compare_like_requests(
    criteria: CriteriaSpec, candidate: Sequence[TimedRequest], champion: Sequence[TimedRequest]
) -> LikeRequests:
    """Return whether the candidate is slower than the champion on requests of equal work."""
    alike = _count(criteria, candidate, champion)
    deciding = _deciding(criteria, candidate, champion, alike.limit_ms) if alike.proven else ()
    return LikeRequests(
        slow_in_log=_count(criteria, candidate, champion, lambda request: None).proven,
        slow_alike=alike.proven,
        slower=alike.slower,
        compared=alike.compared,
        requests=len(candidate),
        limit_ms=alike.limit_ms if math.isfinite(alike.limit_ms) else None,
        decided_by=deciding,
    )


def _stratum(request: TimedRequest) -> Hashable:
    return request.operation, math.floor(math.log(max(1, request.rows), SIZE_STEP))


class _Count(NamedTuple):
    proven: bool
    slower: int
    compared: int
    limit_ms: float


def _count(
    criteria: CriteriaSpec,
    candidate: Sequence[TimedRequest],
    champion: Sequence[TimedRequest],
    stratum: Callable[[TimedRequest], Hashable] = _stratum,
) -> _Count:
    """Count the candidate's requests above the limit that the champion's requests of the same strata give."""
    numbers = Counter(stratum(request) for request in candidate)
    references = Counter(stratum(request) for request in champion)
    common = numbers.keys() & references.keys()
    compared = sum(numbers[name] for name in common)
    if not compared:
        return _Count(False, 0, 0, math.inf)
    effective = compared**2 / sum(numbers[name] ** 2 / references[name] for name in common)
    level = champion_latency_level(criteria, math.floor(effective))
    if level is None:
        return _Count(False, 0, compared, math.inf)
    alike = [request for request in champion if stratum(request) in common]
    weights = [numbers[stratum(request)] / references[stratum(request)] for request in alike]
    bound = _weighted_quantile([request.latency_ms for request in alike], weights, level)
    limit = float(latency_limit_ms(criteria, bound))
    slower = sum(stratum(request) in common and request.latency_ms > limit for request in candidate)
    return _Count(bool(is_latency_proven(criteria, slower, compared)), slower, compared, limit)


def _deciding(
    criteria: CriteriaSpec,
    candidate: Sequence[TimedRequest],
    champion: Sequence[TimedRequest],
    limit_ms: float,
) -> tuple[str, ...]:
    """Return the clients, none of them dominant, without whose requests no harm is proven."""
    sent = Counter(request.client for request in (*candidate, *champion))
    slow = Counter(request.client for request in candidate if request.latency_ms > limit_ms)
    most = DOMINANT * sent.total()
    suspects = [client for client, _ in slow.most_common(SUSPECTS) if sent[client] < most]
    return tuple(
        client
        for client in suspects
        if not _count(
            criteria,
            [request for request in candidate if request.client != client],
            [request for request in champion if request.client != client],
        ).proven
    )


def _weighted_quantile(values: Sequence[float], weights: Sequence[float], level: float) -> float:
    """Return the smallest value up to which at least `level` of the weight lies."""
    order = np.argsort(values)
    cumulative = np.cumsum(np.asarray(weights)[order])
    place = int(np.searchsorted(cumulative, level * cumulative[-1] * (1.0 - 1e-12)))
    return float(np.asarray(values)[order][min(place, len(order) - 1)])
