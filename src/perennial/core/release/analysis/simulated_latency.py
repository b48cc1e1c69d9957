"""Draw the latencies of a simulated step, and apply the rule on latency to them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from perennial.core.release.analysis.harm_tests import (
    SLOW,
    champion_latency_level,
    is_latency_proven,
    latency_limit_ms,
)
from perennial.core.release.analysis.simulated_counts import Crowd, Judged
from perennial.core.release.analysis.simulated_time import Integers
from perennial.core.release.counted.cluster_bounds import LEAST, Estimate, rate
from perennial.core.release.counted.slices import spell_length
from perennial.core.release.counted.user_buckets import MOST_BUCKETS
from perennial.core.statistics import Booleans, Floats, one_side, proportion_bounds

EDGES_MS = np.geomspace(1.0, 60_000.0, 160)
"""Upper bounds of the latency buckets, 7 % apart: about as fine as the router's."""
FAST = 0.8
"""Latency buckets below this quantile are counted as one: no quantile that is judged lies there."""
SPELL_HOURS = 1.0 / 6.0
"""Length of the spells in which a pool is slow or fast."""


class Latencies(NamedTuple):
    """Latencies of a version."""

    edges: Floats
    """Bounds of the buckets, [b]."""
    within: list[NDArray[np.int32]]
    """Cumulative counts up to the end of each cell, [releases, b] each."""
    requests: Integers
    """Answered up to the end of each cell, [cells]."""
    users: NDArray[np.int64] | None
    """Users of each release, where requests are assigned by user."""


def latency(crowd: Crowd) -> Judged:
    """Return which releases are aborted for latency, and which are not held back by it; all requests are alike."""
    mine = _draw(crowd, crowd.requests, crowd.harm.latency_factor, crowd.shares[0])
    theirs = _draw(crowd, crowd.champion_requests, 1.0, crowd.shares[1])
    requests, champion_requests = crowd.answered
    failed = np.zeros((crowd.releases, len(requests)), dtype=bool)
    passed = np.ones_like(failed)
    every = np.arange(crowd.releases)
    for look, (total, champion_total) in enumerate(zip(requests, champion_requests, strict=True)):
        level = champion_latency_level(crowd.criteria, int(champion_total)) if champion_total else None
        if level is None:
            continue
        cell = int(crowd.time.looks[look])
        counts, champion_counts = mine.within[cell], theirs.within[cell if crowd.paired else -1]
        bound = _quantile(theirs.edges, champion_counts, level * champion_total)
        place = np.searchsorted(mine.edges, latency_limit_ms(crowd.criteria, bound))
        within = np.column_stack([counts, np.full(crowd.releases, total)])[every, place]
        proven = is_latency_proven(crowd.criteria, total - within, total)
        passed[:, look] = ~proven
        rows = np.flatnonzero(proven)
        if len(rows):
            failed[rows, look] = _is_proven_by_cluster(crowd, look, mine, theirs, rows)
    return Judged(failed, passed)


def _is_proven_by_cluster(
    crowd: Crowd, look: int, mine: Latencies, theirs: Latencies, rows: NDArray[np.int64]
) -> Booleans:
    """Apply the test of `clusters.is_latency_proven_by` to releases at a look."""
    starts = crowd.time.slices(look, spell_length(timedelta(hours=crowd.time.hours)))
    cell = int(crowd.time.looks[look])
    ends = np.append(starts[1:], cell + 1) - 1
    champion_ends = ends if crowd.paired else np.arange(len(crowd.champion_requests))
    known = [_slower(side, of, rows) for side, of in ((mine, ends), (theirs, champion_ends))]
    proven = _exceeds(crowd, mine, theirs, *known)
    if mine.users is not None and theirs.users is not None and crowd.paired:
        spread = crowd.traffic.dependence.latency_user_sd / crowd.traffic.latency_log_sd
        known = [_of_users(side, cell, rows, spread) for side in (mine, theirs)]
        proven &= _exceeds(crowd, mine, theirs, *known)
    return proven


def _exceeds(
    crowd: Crowd, mine: Latencies, theirs: Latencies, slower: Estimate, champion: Estimate
) -> Booleans:
    """Return whether the candidate's p95 is above the tolerated multiple of the champion's.

    Args:
        slower, champion: shares of requests above each bound, [rows, b].
    """
    share, confidence = 1.0 - SLOW, crowd.criteria.confidence
    high = champion.bounds(confidence)[1]
    if not crowd.paired:  # in too short a time for slices it is bounded by its requests
        requests = int(theirs.requests[-1])
        by_requests = proportion_bounds(np.rint(champion.value * requests), requests, one_side(confidence))[1]
        high = np.where(champion.degrees > 0, high, by_requests)
    below = high < share
    bound = theirs.edges[below.argmax(axis=1)]
    place = np.searchsorted(mine.edges, latency_limit_ms(crowd.criteria, bound))
    last = np.minimum(place, len(mine.edges) - 1)
    low = slower.bounds(confidence)[0][np.arange(len(last)), last]
    return np.asarray(below.any(axis=1) & (place < len(mine.edges)) & (low > share))


def _slower(side: Latencies, ends: Integers, rows: NDArray[np.int64]) -> Estimate:
    """Return the shares of requests above each bound over slices that end with these cells, [rows, b]."""
    within = np.stack([side.within[end][rows] for end in ends], axis=-1)  # [rows, b, slices]
    within = np.diff(within, axis=-1, prepend=0)
    requests = np.diff(side.requests[ends], prepend=0)
    return rate(requests - within, requests)


def _of_users(side: Latencies, cell: int, rows: NDArray[np.int64], spread: float) -> Estimate:
    """Return the same over users whose log latency differs by `spread` standard deviations of all of it."""
    cell = min(cell, len(side.within) - 1)
    total = max(1, int(side.requests[cell]))
    value = np.clip(1.0 - side.within[cell][rows] / total, 0.0, 1.0)
    number = np.zeros(len(rows)) if side.users is None else side.users[rows].astype(float)
    between = (norm.pdf(ndtri(np.clip(value, 1e-9, 1 - 1e-9))) * spread) ** 2 / np.maximum(number, 1)[:, None]
    buckets = np.minimum(number, MOST_BUCKETS)
    degrees = np.where(buckets >= LEAST, buckets - 1.0, 0.0)
    return Estimate(
        value, between + value * (1.0 - value) / total, np.broadcast_to(degrees[:, None], value.shape)
    )


def _draw(crowd: Crowd, requests: Integers, factor: float, share: float) -> Latencies:
    """Draw log-normal latencies of each cell, whose median moves with the spells of the pool and with its users."""
    traffic, dependence = crowd.traffic, crowd.traffic.dependence
    log_sd, generator = traffic.latency_log_sd, crowd.generator
    middle = math.log(traffic.latency_p95_ms * factor) - ndtri(SLOW) * log_sd
    reach = 3.0 * (dependence.latency_time_sd + dependence.latency_user_sd / 3.0)
    share_within = ndtr((np.log(EDGES_MS) - middle + reach) / log_sd)
    kept = (share_within > FAST) & (ndtr((np.log(EDGES_MS) - middle - reach) / log_sd) < 1 - 1e-9)
    edges = EDGES_MS[kept]
    users, moved = None, np.zeros(crowd.releases)
    if dependence.users is not None:
        users = generator.binomial(dependence.users, share, size=crowd.releases)
        if dependence.latency_user_sd:
            moved = generator.normal(0.0, dependence.latency_user_sd / np.sqrt(np.maximum(users, 1)))
    total = np.zeros((crowd.releases, len(edges)), dtype=np.int32)
    within = []
    for new, width in zip(requests, _widths(crowd, requests), strict=True):
        shift = moved
        if dependence.latency_time_sd:
            sd = dependence.latency_time_sd * math.sqrt(min(1.0, SPELL_HOURS / width))
            shift = moved + generator.normal(0.0, sd, crowd.releases)
        moves = shift[:, None] if shift.any() else np.zeros((1, 1))
        cells = np.diff(ndtr((np.log(edges) - middle - moves) / log_sd), prepend=0.0, append=1.0)
        drawn = generator.multinomial(new, cells, size=crowd.releases if len(cells) == 1 else None)
        total = total + drawn[:, :-1].cumsum(axis=1).astype(np.int32)
        within.append(total)
    return Latencies(edges, within, requests.cumsum(), users)


def _widths(crowd: Crowd, requests: Integers) -> Floats:
    widths = crowd.time.widths
    return (
        widths if len(requests) == len(widths) else np.full(len(requests), crowd.time.hours / len(requests))
    )


def _quantile(edges: Floats, cumulative: NDArray[np.int32], rank: float) -> Floats:
    """Return the value of that rank per row, linear inside its bucket; at most the last edge."""
    rows = np.arange(len(cumulative))
    place = np.minimum((cumulative < rank).sum(axis=1), len(edges) - 1)
    below = np.where(place > 0, cumulative[rows, np.maximum(place - 1, 0)], 0)
    low = np.where(place > 0, edges[np.maximum(place - 1, 0)], 0.0)
    inside = np.maximum(cumulative[rows, place] - below, 1)
    return np.asarray(low + (edges[place] - low) * np.clip((rank - below) / inside, 0.0, 1.0))
