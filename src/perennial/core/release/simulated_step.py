"""Many releases going through one step at once: the rules of `perennial.core.release.criteria` over simulated counts.

The rules are the same functions of counts; here they are applied to arrays [releases, looks]. A test holds
both against each other. Requests arrive evenly; errors, latencies and right answers are independent draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy.special import ndtr, ndtri

from perennial.core.frozen import Frozen, Share
from perennial.core.release.criteria import ABORT_AT, SLOW
from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, plan, promotes
from perennial.core.spec import CriteriaSpec, ReleaseSpec
from perennial.core.statistics import bounds, one_side, tail_level

MOST_LOOKS_AFTER = 48
"""Between the end of a step and the time when a person is asked; fewer where the step's own looks are rarer."""
EDGES_MS = np.geomspace(1.0, 60_000.0, 160)
"""Upper bounds of the latency buckets, 7 % apart: about as fine as the router's."""
DAY = 24.0
FAST = 0.8
"""Latency buckets below this quantile are counted as one: no quantile that is judged lies there."""


class TrafficProfile(Frozen):
    """What the champion's requests look like."""

    requests_per_hour: float = Field(gt=0)
    error_rate: Share = Field(description="share of requests that fail")
    latency_p95_ms: float = Field(gt=0)
    latency_log_sd: float = Field(gt=0, description="standard deviation of the logarithm of latency")
    accuracy: Share = Field(description="share of right answers, of requests whose labels come")
    labelled: Share = Field(description="share of requests whose labels come within the step")
    labels_per_request: float = Field(1.0, gt=0)


class CandidateHarm(Frozen):
    """How much worse a candidate is."""

    name: str
    error_factor: float = 1.0
    latency_factor: float = 1.0
    accuracy_drop: float = 0.0

    @property
    def is_none(self) -> bool:
        return (self.error_factor, self.latency_factor, self.accuracy_drop) == (1.0, 1.0, 0.0)


class SimulatedStep(Frozen):
    """A shadow or a step of a policy, in hours."""

    name: str
    weight: float = Field(description="percent of requests; 100 with `mirror`")
    hours: float
    wait: float = Field(
        description="hours after its end until a person is asked; of a sample that is complete early, the rest "
        "of the step's duration counts too"
    )
    mirror: bool = Field(False, description="both sides see every request")
    promotes: bool = False
    before: float | None = Field(
        None, description="hours of all requests by which the champion is known, where it gets none"
    )

    @property
    def shares(self) -> tuple[float, float]:
        """Of requests, to the candidate and to the champion."""
        mine = self.weight / 100.0
        return (1.0, 1.0) if self.mirror else (mine, 1.0 - mine)


@dataclass(frozen=True)
class SimulatedOutcome:
    """bool [releases] each; neither: a person is asked."""

    failed: np.ndarray
    passed: np.ndarray


def simulated_steps(
    policy: ReleaseSpec, traffic: TrafficProfile, servers: int = 2
) -> tuple[SimulatedStep, ...]:
    """The policy's plan as it would go under this traffic.

    Args:
        servers: of the stable pool, for a strategy that goes server by server.
    """
    steps, out = plan(policy, servers), []
    for step in steps:
        mirror = step.phase is Phase.SHADOW
        hours = _until(step, traffic)
        out.append(
            SimulatedStep(
                name="shadow" if mirror else f"{step.weight:g} %",
                weight=100.0 if mirror else step.weight,
                hours=hours,
                wait=_hours(step.duration + policy.unsure_after) - hours,
                mirror=mirror,
                before=(out[-1].hours if out else DAY) if step.takes_all else None,
                promotes=step is steps[-1] and promotes(policy),
            )
        )
    return tuple(out)


def _until(step: Step, traffic: TrafficProfile) -> float:
    """Hours of a step: its duration, or less where its sample is complete earlier."""
    if step.sample is None:
        return _hours(step.duration)
    lesser = min(step.weight, 100.0 - step.weight) / 100.0 * traffic.requests_per_hour
    return min(_hours(step.duration), step.sample / lesser)


def simulate(
    criteria: CriteriaSpec,
    stage: SimulatedStep,
    traffic: TrafficProfile,
    harm: CandidateHarm,
    releases: int,
    looks: int,
    generator: np.random.Generator,
) -> SimulatedOutcome:
    """Judge `releases` candidates at `looks` evenly spaced times in the step, then until a person is asked.

    A rule that the harm does not touch would abort a few in a thousand, as it does healthy ones; to save time
    it is left out, but for the errors, which also decide what may be promoted. Where the champion answers
    nothing, no label of the step tells how right it would have been: accuracy is not judged there.
    """
    times = np.linspace(stage.hours / looks, stage.hours, looks)
    if stage.wait > 0:
        after = int(np.clip(round(looks * stage.wait / stage.hours), 1, MOST_LOOKS_AFTER))
        times = np.append(times, stage.hours + np.linspace(0, stage.wait, after + 1)[1:])
    mine, theirs = (np.floor(traffic.requests_per_hour * share * times).astype(int) for share in stage.shares)
    if stage.before is not None:
        theirs = np.full_like(mine, int(traffic.requests_per_hour * stage.before))
    failed, cleared = _errors(criteria, traffic, harm, mine, theirs, releases, generator)
    if harm.latency_factor != 1.0 or harm.is_none:
        failed |= _slow(criteria, traffic, harm, mine, theirs, releases, generator)
    if stage.before is None and (harm.accuracy_drop != 0.0 or harm.is_none):
        failed |= _wrong(criteria, traffic, harm, mine, theirs, releases, generator)
    ready = (mine >= criteria.min_requests) & (theirs > 0) & (times >= stage.hours * (1 - 1e-9))
    passes = ready & (cleared if stage.promotes else True) & np.ones_like(failed)
    first_fail, first_pass = _first(failed), _first(passes)
    bad = (first_fail < len(times)) & (first_fail <= first_pass)
    return SimulatedOutcome(failed=bad, passed=~bad & (first_pass < len(times)))


def _errors(criteria, traffic, harm, mine, theirs, releases, generator) -> tuple[np.ndarray, np.ndarray]:
    """Aborted by error rate or increase; the named increase excluded. bool [releases, looks] each."""
    x = _counts(mine, min(1.0, traffic.error_rate * harm.error_factor), releases, generator)
    y = _counts(theirs, traffic.error_rate, releases, generator)
    low, high = _difference(x, mine, y, theirs, criteria.confidence)
    failed = low > ABORT_AT * criteria.error_rate_increase
    failed |= x >= _least(mine, criteria.error_rate_max, criteria.confidence)
    return failed, high < criteria.error_rate_increase


def _wrong(criteria, traffic, harm, mine, theirs, releases, generator) -> np.ndarray:
    known, known_theirs = (np.floor(n * traffic.labelled).astype(int) for n in (mine, theirs))
    wrong = 1.0 - traffic.accuracy
    x = _counts(known, min(1.0, wrong + harm.accuracy_drop), releases, generator)
    y = _counts(known_theirs, wrong, releases, generator)
    low, _ = _difference(x, known, y, known_theirs, criteria.confidence)
    enough = np.minimum(known, known_theirs) * traffic.labels_per_request >= criteria.min_labels
    return enough & (low > ABORT_AT * criteria.accuracy_drop)


def _slow(criteria, traffic, harm, mine, theirs, releases, generator) -> np.ndarray:
    """As `criteria.slow_limit` on log-normal latencies in buckets; bool [releases, looks]."""
    edges, counts = _buckets(theirs, traffic, 1.0, releases, generator)
    my_edges, my_counts = _buckets(mine, traffic, harm.latency_factor, releases, generator)
    each = one_side(criteria.confidence)
    least = _least(mine, 1.0 - SLOW, each)
    tolerated = 1.0 + ABORT_AT * (criteria.latency_p95_ratio - 1.0)
    failed = np.zeros((releases, len(mine)), dtype=bool)
    for look, (n, m) in enumerate(zip(mine, theirs, strict=True)):
        level = tail_level(1.0 - SLOW, int(m), each) if m else None
        if level is None:
            continue
        limit = np.maximum(
            tolerated * _quantile(edges, counts[look], level * m), criteria.latency_p95_floor_ms
        )
        place = np.searchsorted(my_edges, limit)
        within = np.column_stack([my_counts[look], np.full(releases, n)])[np.arange(releases), place]
        failed[:, look] = n - within >= least[look]
    return failed


def _buckets(n, traffic, factor, releases, generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Edges [b] and, for each look, the cumulative counts [releases, b]."""
    middle = math.log(traffic.latency_p95_ms * factor) - ndtri(SLOW) * traffic.latency_log_sd
    share = ndtr((np.log(EDGES_MS) - middle) / traffic.latency_log_sd)
    kept = (share > FAST) & (share < 1 - 1e-9)
    edges, share = EDGES_MS[kept], share[kept]
    cells = np.diff(share, prepend=0.0, append=1.0)
    total, out = np.zeros((releases, len(edges)), dtype=int), []
    for new in np.diff(n, prepend=0):
        total = total + generator.multinomial(new, cells, size=releases)[:, :-1].cumsum(axis=1)
        out.append(total)
    return edges, out


def _quantile(edges: np.ndarray, cumulative: np.ndarray, rank: float) -> np.ndarray:
    """The value of that rank, linear inside its bucket; the last edge where it lies above it."""
    rows = np.arange(len(cumulative))
    place = np.minimum((cumulative < rank).sum(axis=1), len(edges) - 1)
    below = np.where(place > 0, cumulative[rows, np.maximum(place - 1, 0)], 0)
    low = np.where(place > 0, edges[np.maximum(place - 1, 0)], 0.0)
    inside = np.maximum(cumulative[rows, place] - below, 1)
    return low + (edges[place] - low) * np.clip((rank - below) / inside, 0.0, 1.0)


def _counts(n: np.ndarray, chance: float, releases: int, generator: np.random.Generator) -> np.ndarray:
    """Events among the first n requests at each look, int [releases, looks]."""
    return generator.binomial(np.diff(n, prepend=0), chance, size=(releases, len(n))).cumsum(axis=1)


def _difference(x, n, y, m, confidence) -> tuple[np.ndarray, np.ndarray]:
    each = one_side(confidence)
    (low, high), (their_low, their_high) = _bounds(x, n, each), _bounds(y, m, each)
    return low - their_high, high - their_low


def _bounds(x: np.ndarray, n: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of x [releases, looks] of n [looks], each distinct pair computed once."""
    look = np.arange(len(n))
    pairs, where = np.unique(x * len(n) + look, return_inverse=True)
    low, high = bounds(pairs // len(n), n[pairs % len(n)], confidence)
    return low[where].reshape(x.shape), high[where].reshape(x.shape)


def _least(n: np.ndarray, limit: float, confidence: float) -> np.ndarray:
    """The smallest count of n [looks] that proves a share above `limit`; n + 1 where none does."""
    low, high = np.zeros_like(n), n + 1
    while (low < high).any():
        middle = (low + high) // 2
        proven = bounds(np.minimum(middle, n), n, confidence)[0] > limit
        low, high = np.where(proven | (low >= high), low, middle + 1), np.where(proven, middle, high)
    return high


def _first(true: np.ndarray) -> np.ndarray:
    """Column of the first True of each row; the number of columns where there is none."""
    return np.where(true.any(axis=1), true.argmax(axis=1), true.shape[1])


def _hours(span) -> float:
    return span.total_seconds() / 3600.0
