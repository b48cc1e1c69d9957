"""Simulate many releases going through one step at once, judged by `perennial.core.release.analysis.harm_tests`.

Arrays are [releases, looks]. Requests arrive evenly; errors, latencies and right answers are independent
draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from pydantic import Field
from scipy.special import ndtr, ndtri

from perennial.core.frozen import Frozen, Share
from perennial.core.release.analysis.harm_tests import (
    SLOW,
    champion_latency_level,
    error_increase,
    is_error_rate_proven,
    is_latency_proven,
    latency_limit_ms,
    tolerated_drop,
)
from perennial.core.release.analysis.simulated_labels import (
    Integers,
    TruthProfile,
    TwoTruths,
    draw_labels,
    increase_by_truth,
)
from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, plan, promotes
from perennial.core.release_spec import CriteriaSpec, ReleaseSpec
from perennial.core.statistics import Booleans, Floats

MOST_LOOKS_AFTER = 48
"""Between the end of a step and the time when a person is asked; fewer where the step's own looks are rarer."""
EDGES_MS = np.geomspace(1.0, 60_000.0, 160)
"""Upper bounds of the latency buckets, 7 % apart: about as fine as the router's."""
DAY = 24.0
FAST = 0.8
"""Latency buckets below this quantile are counted as one: no quantile that is judged lies there."""


class TrafficProfile(Frozen):
    """Shape of the champion's traffic."""

    requests_per_hour: float = Field(gt=0)
    error_rate: Share = Field(description="share of requests that fail")
    latency_p95_ms: float = Field(gt=0)
    latency_log_sd: float = Field(gt=0, description="standard deviation of the logarithm of latency")
    accuracy: Share = Field(description="share of right answers, of requests whose labels come")
    labelled: Share = Field(description="share of requests whose labels come within the step")
    labels_per_request: float = Field(1.0, gt=0)
    label_delay_hours: float = Field(0.0, ge=0, description="age from which a request has its label")
    truths: TwoTruths | None = Field(
        None, description="the most common truth and all others; None: not known, two alike"
    )

    @property
    def two_truths(self) -> TwoTruths:
        alike = TruthProfile(share=0.5, wrong=1.0 - self.accuracy, labelled=self.labelled)
        return self.truths or (alike, alike)


class CandidateHarm(Frozen):
    """Degree by which a candidate is worse than the champion."""

    name: str
    error_factor: float = 1.0
    latency_factor: float = 1.0
    accuracy_drop: float = 0.0

    @property
    def is_none(self) -> bool:
        return (self.error_factor, self.latency_factor, self.accuracy_drop) == (1.0, 1.0, 0.0)


class SimulatedStep(Frozen):
    """Shadow or canary step of a policy, in hours."""

    name: str
    weight: float = Field(description="percent of requests; 100 with `mirror`")
    hours: float
    wait: float = Field(
        description="hours after its end until a person is asked; where a sample is complete early, the rest "
        "of the step's duration counts too"
    )
    mirror: bool = Field(False, description="both versions see every request")
    promotes: bool = False
    before: float | None = Field(
        None, description="hours of all requests by which the champion is known, where it gets none"
    )

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the requests of candidate and champion."""
        candidate = self.weight / 100.0
        return (1.0, 1.0) if self.mirror else (candidate, 1.0 - candidate)


@dataclass(frozen=True)
class SimulatedOutcome:
    """Ends of the simulated releases, bool [releases] each; where both are False a person is asked."""

    failed: Booleans
    passed: Booleans


def simulated_steps(
    policy: ReleaseSpec, traffic: TrafficProfile, servers: int = 2
) -> tuple[SimulatedStep, ...]:
    """Return the policy's plan as it would go under this traffic.

    Args:
        servers: size of the stable pool, for a strategy that goes server by server.
    """
    steps = plan(policy, servers)
    simulated: list[SimulatedStep] = []
    for step in steps:
        mirror = step.phase is Phase.SHADOW
        hours = _hours_until_end(step, traffic)
        simulated.append(
            SimulatedStep(
                name="shadow" if mirror else f"{step.weight:g} %",
                weight=100.0 if mirror else step.weight,
                hours=hours,
                wait=_hours(step.duration + policy.unsure_after) - hours,
                mirror=mirror,
                before=(simulated[-1].hours if simulated else DAY) if step.takes_all else None,
                promotes=step is steps[-1] and promotes(policy),
            )
        )
    return tuple(simulated)


def _hours_until_end(step: Step, traffic: TrafficProfile) -> float:
    """Return a step's duration, or less where its sample is complete earlier."""
    if step.sample is None:
        return _hours(step.duration)
    smaller_share = min(step.weight, 100.0 - step.weight) / 100.0
    return min(_hours(step.duration), step.sample / (smaller_share * traffic.requests_per_hour))


def simulate(
    criteria: CriteriaSpec,
    step: SimulatedStep,
    traffic: TrafficProfile,
    harm: CandidateHarm,
    releases: int,
    looks: int,
    generator: np.random.Generator,
) -> SimulatedOutcome:
    """Judge `releases` candidates at `looks` evenly spaced times in the step, then until a person is asked.

    A test that the harm does not touch would abort a few in a thousand, as it does healthy candidates; to
    save time it is left out, except for the errors, which also decide about promotion. Where the champion
    answers nothing, no label tells its accuracy: it is not judged there.
    """
    times = np.linspace(step.hours / looks, step.hours, looks)
    if step.wait > 0:
        after = int(np.clip(round(looks * step.wait / step.hours), 1, MOST_LOOKS_AFTER))
        times = np.append(times, step.hours + np.linspace(0, step.wait, after + 1)[1:])
    requests, champion_requests = (
        np.floor(traffic.requests_per_hour * share * times).astype(np.int64) for share in step.shares
    )
    if step.before is not None:
        champion_requests = np.full_like(requests, int(traffic.requests_per_hour * step.before))
    old = np.maximum(0.0, times - traffic.label_delay_hours)
    mature = [np.floor(traffic.requests_per_hour * share * old).astype(np.int64) for share in step.shares]
    crowd = _Crowd(criteria, traffic, harm, requests, champion_requests, releases, generator)
    failed, excluded = crowd.errors()
    if harm.latency_factor != 1.0 or harm.is_none:
        failed |= crowd.slow()
    if step.before is None and (harm.accuracy_drop != 0.0 or harm.is_none):
        failed |= crowd.wrong(*mature)
    ready = (requests >= criteria.min_requests) & (champion_requests > 0)
    ready &= times >= step.hours * (1 - 1e-9)
    passes = ready & (excluded if step.promotes else True) & np.ones_like(failed)
    first_fail, first_pass = _first(failed), _first(passes)
    aborted = (first_fail < len(times)) & (first_fail <= first_pass)
    return SimulatedOutcome(failed=aborted, passed=~aborted & (first_pass < len(times)))


@dataclass(frozen=True)
class _Crowd:
    """Releases of one candidate in one step.

    Attributes:
        requests, champion_requests: answered up to each look, int [looks].
    """

    criteria: CriteriaSpec
    traffic: TrafficProfile
    harm: CandidateHarm
    requests: Integers
    champion_requests: Integers
    releases: int
    generator: np.random.Generator

    def errors(self) -> tuple[Booleans, Booleans]:
        """Return which releases are aborted for errors, and in which the named increase is excluded."""
        rate = self.traffic.error_rate
        errors = self._events(self.requests, min(1.0, rate * self.harm.error_factor))
        champion_errors = self._events(self.champion_requests, rate)
        proven, excluded = error_increase(
            self.criteria, errors, self.requests, champion_errors, self.champion_requests
        )
        return proven | is_error_rate_proven(self.criteria, errors, self.requests), excluded

    def wrong(self, requests: Integers, champion_requests: Integers) -> Booleans:
        """Return which releases are aborted for a drop of the accuracy.

        Args:
            requests, champion_requests: old enough at each look, int [looks].
        """
        mine, theirs = (
            draw_labels(count, self.traffic.two_truths, drop, self._events)
            for count, drop in ((requests, self.harm.accuracy_drop), (champion_requests, 0.0))
        )
        proven = increase_by_truth((mine, theirs), self.criteria.confidence) > tolerated_drop(self.criteria)
        labels = np.minimum(*(side[0].labelled.sum(axis=-1) for side in (mine, theirs)))
        enough = labels * self.traffic.labels_per_request >= self.criteria.min_labels
        return np.asarray(enough & proven)

    def slow(self) -> Booleans:
        """Return which releases are aborted for latency, by log-normal latencies in buckets."""
        champion_edges, champion_counts = self._latencies(self.champion_requests, 1.0)
        edges, counts = self._latencies(self.requests, self.harm.latency_factor)
        failed = np.zeros((self.releases, len(self.requests)), dtype=bool)
        rows = np.arange(self.releases)
        for look, (total, champion_total) in enumerate(
            zip(self.requests, self.champion_requests, strict=True)
        ):
            level = champion_latency_level(self.criteria, int(champion_total)) if champion_total else None
            if level is None:
                continue
            bound = _quantile(champion_edges, champion_counts[look], level * champion_total)
            place = np.searchsorted(edges, latency_limit_ms(self.criteria, bound))
            within = np.column_stack([counts[look], np.full(self.releases, total)])[rows, place]
            failed[:, look] = is_latency_proven(self.criteria, total - within, total)
        return failed

    def _events(self, requests: Integers, chance: float) -> Integers:
        """Draw the events among the first requests at each look, int [releases, looks]."""
        new = np.diff(requests, prepend=0)
        return self.generator.binomial(new, chance, size=(self.releases, len(requests))).cumsum(axis=1)

    def _latencies(self, requests: Integers, factor: float) -> tuple[Floats, list[Integers]]:
        """Draw latencies: bucket edges [b] and, for each look, cumulative counts [releases, b]."""
        log_sd = self.traffic.latency_log_sd
        middle = math.log(self.traffic.latency_p95_ms * factor) - ndtri(SLOW) * log_sd
        share = ndtr((np.log(EDGES_MS) - middle) / log_sd)
        kept = (share > FAST) & (share < 1 - 1e-9)
        edges, share = EDGES_MS[kept], share[kept]
        cells = np.diff(share, prepend=0.0, append=1.0)
        total = np.zeros((self.releases, len(edges)), dtype=np.int64)
        counts = []
        for new in np.diff(requests, prepend=0):
            drawn = self.generator.multinomial(new, cells, size=self.releases)
            total = total + drawn[:, :-1].cumsum(axis=1)
            counts.append(total)
        return edges, counts


def _quantile(edges: Floats, cumulative: Integers, rank: float) -> Floats:
    """Return the value of that rank per row, linear inside its bucket; at most the last edge."""
    rows = np.arange(len(cumulative))
    place = np.minimum((cumulative < rank).sum(axis=1), len(edges) - 1)
    below = np.where(place > 0, cumulative[rows, np.maximum(place - 1, 0)], 0)
    low = np.where(place > 0, edges[np.maximum(place - 1, 0)], 0.0)
    inside = np.maximum(cumulative[rows, place] - below, 1)
    return np.asarray(low + (edges[place] - low) * np.clip((rank - below) / inside, 0.0, 1.0))


def _first(flags: Booleans) -> Integers:
    """Return the column of the first True of each row; the number of columns where there is none."""
    return np.asarray(np.where(flags.any(axis=1), flags.argmax(axis=1), flags.shape[1]))


def _hours(span: timedelta) -> float:
    return span / timedelta(hours=1)
