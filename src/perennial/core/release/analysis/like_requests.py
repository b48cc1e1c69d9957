"""Compare latencies on like requests, because clients choose what they send to which side.

The router counts every request alike. A client whose user id is assigned to the candidate can send it the largest
requests, and the p95 of a healthy candidate rises. So a candidate that looks slow at the router is compared once
more on the servers' own log, within strata of equal work: the same operation and nearly the same number of rows.
A latency counts as a multiple of the champion's median in its stratum, so that no stratum hides another. The champion's
requests are weighted to the candidate's mix (direct standardisation), with Kish's effective sample size in the place
of their number (Korn and Graubard, Survey Methodology 1998, use it for bounds of weighted shares).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from perennial.core.release.analysis.harm_tests import (
    SLOW,
    champion_latency_level,
    is_latency_proven,
    tolerated_ratio,
)
from perennial.core.release.traffic import LikeRequests
from perennial.core.release_spec import CriteriaSpec
from perennial.core.statistics import Floats

SIZE_STEP = 1.09
"""Ratio of the sizes in a stratum. It must stay well below the tolerated ratio of the p95s: a client can choose the
smallest and the largest size of a stratum for the two sides."""
REFERENCES = 20
"""Requests of the champion from which its median in a stratum is known; thinner strata are left out."""
DOMINANT = 0.9
"""Part of the requests of both sides from which a client is the traffic, and may decide alone."""
SUSPECTS = 10
"""Number of clients whose absence is tried: those with the most requests of either side, and of the slow ones."""
SUSPECT_SHARE = 0.01
"""Part of the requests of a side from which the absence of a client is tried, too."""


class TimedRequests(NamedTuple):
    """Requests in the prediction log of one side: an array each, in the same order."""

    operation: npt.NDArray[np.bool_]
    """True where the features came from the feature store."""
    rows: npt.NDArray[Any]
    client: npt.NDArray[Any]
    latency_ms: Floats


class _Side(NamedTuple):
    """The same with numbers for strata and clients."""

    stratum: npt.NDArray[np.int64]
    client: npt.NDArray[np.int64]
    latency_ms: Floats

    def without(self, client: int) -> _Side:
        kept = self.client != client
        return _Side(self.stratum[kept], self.client[kept], self.latency_ms[kept])

    def in_one_stratum(self) -> _Side:
        return self._replace(stratum=np.zeros_like(self.stratum))


def compare_like_requests(
    criteria: CriteriaSpec, candidate: TimedRequests, champion: TimedRequests
) -> LikeRequests:
    """Return whether the candidate is slower than the champion on requests of equal work, or as fast.

    Both must also hold without the requests of any one client that is not dominant: else neither is returned, and
    `decided_by` names the clients on which it depends.
    """
    clients, (mine, theirs) = _sides(candidate, champion)
    alike = _count(criteria, mine, theirs)
    raw = _count(criteria, mine.in_one_stratum(), theirs.in_one_stratum())
    alike = alike._replace(fine=alike.fine and not _hides_slow(alike, raw))
    deciding: list[int] = []
    if alike.slow or alike.fine:
        deciding = [
            client
            for client in _suspects(mine, theirs, alike.slow_requests)
            if _changes(alike, _count(criteria, mine.without(client), theirs.without(client)))
        ]
    return LikeRequests(
        slow_in_log=raw.slow,
        slow_alike=alike.slow,
        fine_alike=alike.fine,
        slower=int(alike.slow_requests.sum()),
        compared=alike.compared,
        requests=len(candidate.latency_ms),
        limit=alike.limit if math.isfinite(alike.limit) else None,
        decided_by=tuple(str(clients[client]) for client in deciding),
    )


class _Count(NamedTuple):
    slow: bool
    """Harm is proven."""
    fine: bool
    """No more than 5 % of the candidate's requests are above the champion's own p95 and what is tolerated of it."""
    slow_requests: npt.NDArray[np.bool_]
    in_common: npt.NDArray[np.bool_]
    """The candidate's requests that are compared: their strata are not thin."""
    thin_share: float
    """Part of the champion's requests in thin strata."""
    limit: float
    """Multiple of the median of a stratum."""

    @property
    def compared(self) -> int:
        return int(self.in_common.sum())


def _count(criteria: CriteriaSpec, candidate: _Side, champion: _Side) -> _Count:
    """Count the candidate's requests above the limits that the champion's requests of the same strata give."""
    mine_in, theirs_in = candidate.stratum, champion.stratum
    numbers, references, medians = _by_stratum(mine_in, theirs_in, champion.latency_ms)
    common = (numbers > 0) & (references >= REFERENCES)
    mine, theirs = common[mine_in], common[theirs_in]
    compared = int(mine.sum())
    thin_share = float((references < REFERENCES)[theirs_in].mean()) if len(theirs_in) else 0.0
    nothing = _Count(False, False, np.zeros(len(mine), dtype=bool), mine, thin_share, math.inf)
    if not compared:
        return nothing
    effective = compared**2 / float((numbers[common] ** 2 / references[common]).sum())
    weights = (numbers / np.maximum(references, 1))[theirs_in][theirs]
    multiples = champion.latency_ms[theirs] / medians[theirs_in][theirs]
    mine_multiples = candidate.latency_ms / np.where(mine, medians[mine_in], np.inf)
    above_floor = mine & (candidate.latency_ms > criteria.latency_p95_floor_ms)

    def above(level: float) -> tuple[npt.NDArray[np.bool_], float]:
        limit = tolerated_ratio(criteria) * _weighted_quantile(multiples, weights, level)
        return above_floor & (mine_multiples > limit), limit

    enough = min(compared, effective) >= criteria.min_requests
    fine = bool(enough and above(SLOW)[0].sum() <= (1.0 - SLOW) * compared)
    level = champion_latency_level(criteria, math.floor(effective))
    if level is None:
        return nothing._replace(fine=fine)
    slow_requests, limit = above(level)
    proven = compared >= criteria.min_requests and bool(
        is_latency_proven(criteria, int(slow_requests.sum()), compared)
    )
    return nothing._replace(slow=proven, fine=fine and not proven, slow_requests=slow_requests, limit=limit)


def _hides_slow(alike: _Count, raw: _Count) -> bool:
    """Return whether requests of thin strata, as many as the champion has itself, may be slow ones.

    What the candidate has beyond the champion's own share of thin strata may be the choice of a client.
    """
    left_out = int((raw.slow_requests & ~alike.in_common).sum())
    hidden = min(left_out, alike.thin_share * len(alike.in_common))
    return bool(alike.slow_requests.sum() + hidden > (1.0 - SLOW) * (alike.compared + hidden))


def _sides(candidate: TimedRequests, champion: TimedRequests) -> tuple[npt.NDArray[Any], tuple[_Side, _Side]]:
    """Return the names of the clients, and both sides with numbers for them and for the strata."""
    both = TimedRequests(*(np.concatenate(pair) for pair in zip(candidate, champion, strict=True)))
    sizes = np.floor(np.log(np.maximum(1, both.rows)) / math.log(SIZE_STEP)).astype(np.int64)
    _, strata = np.unique(2 * sizes + both.operation.astype(np.int64), return_inverse=True)
    names, clients = np.unique(both.client, return_inverse=True)
    first = len(candidate.latency_ms)
    sides = [
        _Side(strata[part], clients[part], both.latency_ms[part])
        for part in (slice(first), slice(first, None))
    ]
    return names, (sides[0], sides[1])


def _by_stratum(
    mine: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64], latencies: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the numbers of both sides and the champion's median, by stratum; NaN without a request."""
    size = 1 + max(mine.max(initial=0), theirs.max(initial=0))
    references = np.bincount(theirs, minlength=size).astype(float)
    known = np.flatnonzero(references)
    medians = np.full(size, np.nan)
    if len(known):
        medians[known] = np.maximum(ndimage.median(latencies, theirs, known), 1e-9)
    return np.bincount(mine, minlength=size).astype(float), references, medians


def _suspects(candidate: _Side, champion: _Side, slow: npt.NDArray[np.bool_]) -> list[int]:
    """Return the clients, none of them dominant, that could have decided."""
    clients = 1 + int(max(candidate.client.max(initial=0), champion.client.max(initial=0)))
    mine, theirs, slowed = (
        np.bincount(column, minlength=clients)
        for column in (candidate.client, champion.client, candidate.client[slow])
    )
    shares = mine / max(1, len(candidate.client)), theirs / max(1, len(champion.client))
    tried: dict[int, None] = {}
    for counts in (slowed, mine, theirs):
        most = np.argsort(-counts, kind="stable")[:SUSPECTS]
        tried |= dict.fromkeys(most[counts[most] > 0].tolist())
    tried |= dict.fromkeys(np.flatnonzero(np.maximum(*shares) >= SUSPECT_SHARE).tolist())
    dominant = np.minimum(*shares) >= DOMINANT
    return [client for client in tried if not dominant[client]]


def _changes(all_requests: _Count, without: _Count) -> bool:
    return (all_requests.slow and not without.slow) or (all_requests.fine and not without.fine)


def _weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the smallest value up to which at least `level` of the weight lies."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    place = int(np.searchsorted(cumulative, level * cumulative[-1] * (1.0 - 1e-12)))
    return float(values[order][min(place, len(order) - 1)])
