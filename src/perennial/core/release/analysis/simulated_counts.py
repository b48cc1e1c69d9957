"""Draw what a champion and a candidate answer in a step, for many releases at once, and apply the rules to it.

Arrays are [releases, cells] or [releases, looks]. Requests arrive evenly. How far errors and latencies depend on each
other says `traffic_profile.Dependence`; right answers are independent draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from perennial.core.release.analysis.clusters import (
    Arm,
    ByCluster,
    ClusterKind,
    error_increase_by,
    is_error_rate_proven_by,
)
from perennial.core.release.analysis.harm_tests import (
    error_increase,
    is_error_rate_proven,
    tolerated_drop,
    tolerated_increase,
)
from perennial.core.release.analysis.simulated_labels import (
    Drawn,
    LabelHistory,
    StepLabels,
    draw_labels,
    increases_by_truth,
    late_points,
    over_steps,
    part_of,
)
from perennial.core.release.analysis.simulated_time import Integers, SimulatedTime
from perennial.core.release.analysis.traffic_profile import CandidateHarm, TrafficProfile
from perennial.core.release.counted.cluster_bounds import LEAST, Estimate, difference_of_arms
from perennial.core.release.counted.user_buckets import MOST_BUCKETS
from perennial.core.release_spec import CriteriaSpec
from perennial.core.statistics import Booleans, Floats


class Judged(NamedTuple):
    """Verdicts on each release at each look, bool [releases, looks]; where neither holds the rule is UNSURE."""

    failed: Booleans
    passed: Booleans


class Users(NamedTuple):
    """The users of a version in each release, [releases]."""

    factor: Floats
    """Mean error rate of its users, divided by that of all."""
    spread: Floats
    """Estimate of the variance of that factor, from the spread between buckets."""
    number: Integers


@dataclass(frozen=True)
class Crowd:
    """Releases of one candidate in one step.

    Attributes:
        requests, champion_requests: answered in each cell, [cells]; those of a champion that gets nothing are in the
            slices of the step before, or one number without slices.
        paired: the champion answers in the same cells.
        shares: parts of the requests of candidate and champion.
    """

    criteria: CriteriaSpec
    traffic: TrafficProfile
    harm: CandidateHarm
    time: SimulatedTime
    requests: Integers
    champion_requests: Integers
    paired: bool
    shares: tuple[float, float]
    promotes: bool
    releases: int
    generator: np.random.Generator

    @cached_property
    def answered(self) -> tuple[Integers, Integers]:
        """Requests of both up to each look, [looks]."""
        champion = self.champion_requests.cumsum()
        alone = np.full(len(self.time.looks), champion[-1])
        return self.requests.cumsum()[self.time.looks], champion[self.time.looks] if self.paired else alone

    def errors(self) -> Judged:
        """Return which releases are aborted for errors, and which are not held back by them."""
        users = [self._users(share) for share in self.shares]
        rate = self.traffic.error_rate
        cells = self._errors(self.requests, rate * self.harm.error_factor, users[0])
        champion_cells = self._errors(self.champion_requests, rate, users[1])
        total, champion_total = cells.cumsum(axis=1)[:, self.time.looks], champion_cells.cumsum(axis=1)
        champion_total = champion_total[:, self.time.looks] if self.paired else champion_total[:, -1:]
        champion_total = np.broadcast_to(champion_total, total.shape)
        requests, champion_requests = self.answered
        proven, excluded = error_increase(self.criteria, total, requests, champion_total, champion_requests)
        above = is_error_rate_proven(self.criteria, total, requests)
        suspected = proven | above
        failed, passed = np.zeros_like(suspected), ~suspected & (excluded | (not self.promotes))
        decides = suspected | passed if self.promotes else suspected
        for look in range(len(requests)):
            rows = np.flatnonzero(decides[:, look])
            if not len(rows):
                continue
            by_time = self._by_time(look, cells[rows], champion_cells[rows])
            more, less = error_increase_by(self.criteria, by_time)
            high = is_error_rate_proven_by(self.criteria, by_time)
            if users[0] is not None and users[1] is not None and self.paired:
                counts = (
                    total[rows, look],
                    requests[look],
                    champion_total[rows, look],
                    champion_requests[look],
                )
                of_users = self._by_users(counts, users[0], users[1], rows)
                more, less, high = more & of_users[0], less & of_users[1], high & of_users[2]
            failed[rows, look] = (proven[rows, look] & more) | (above[rows, look] & high)
            passed[rows, look] &= less | (not self.promotes)
        return Judged(failed, passed)

    def wrong(self, before: LabelHistory, part: float, hours: float) -> tuple[Booleans, LabelHistory]:
        """Return which releases are aborted for a drop of the accuracy, and the labels of this step for later ones.

        Args:
            before: the earlier steps. A step that leaves the champion no requests adds none.
            part: of the error chance, for this step.
            hours: length of this step.
        """
        delay, steps = self.traffic.label_delay_hours, before.at(self.time.at, self.traffic.label_delay_hours)
        history = before.steps
        if self.paired:
            old, late = np.maximum(0.0, self.time.at - delay), late_points(hours, delay)
            points, places = np.unique(np.concatenate([old, late]), return_inverse=True)
            drawn = self._labels(points)
            steps.append(part_of(drawn, places[: len(old)]))
            history += (StepLabels(hours, late, part_of(drawn, places[len(old) :])),)
        if not steps:
            return np.zeros((self.releases, len(self.time.looks)), dtype=bool), before
        lowest = increases_by_truth(steps, self.criteria.confidence, part, alone=self.paired)
        proven = (lowest > tolerated_drop(self.criteria)).any(axis=0)
        labels = np.minimum(*(side[0].labelled.sum(axis=-1) for side in over_steps(steps)))
        enough = labels * self.traffic.labels_per_request >= self.criteria.min_labels
        return np.asarray(enough & proven), LabelHistory(history, before.failed)

    def _labels(self, old: Floats) -> tuple[Drawn, Drawn]:
        """Draw the labels of both where so many hours are old enough, [points]."""
        rate, truths = self.traffic.requests_per_hour, self.traffic.two_truths
        mine, theirs = (
            draw_labels(np.floor(rate * share * old).astype(np.int64), truths, drop, self._events)
            for share, drop in zip(self.shares, (self.harm.accuracy_drop, 0.0), strict=True)
        )
        return mine, theirs

    def _events(self, requests: Integers, chance: float) -> Integers:
        """Draw independent events among the first requests at each look, int [releases, looks]."""
        new = np.diff(requests, prepend=0)
        return self.generator.binomial(new, chance, size=(self.releases, len(requests))).cumsum(axis=1)

    def _errors(self, requests: Integers, rate: float, users: Users | None) -> Integers:
        """Draw the errors of each cell: bursts of geometric length begin independently."""
        shape = (self.releases, len(requests))
        chance = (
            np.full(shape, rate) if users is None else np.broadcast_to(users.factor[:, None] * rate, shape)
        )
        chance = np.minimum(chance, 1.0)
        burst = self.traffic.dependence.error_burst
        if burst == 1.0:
            return np.asarray(self.generator.binomial(requests, chance))
        bursts = self.generator.poisson(chance * requests / burst)
        further = self.generator.negative_binomial(np.maximum(bursts, 1), 1.0 / burst)
        return np.asarray(np.minimum(bursts + np.where(bursts > 0, further, 0), requests))

    def _users(self, share: float) -> Users | None:
        """Draw the users of a version: gamma rates, so that rare bad users are possible."""
        dependence = self.traffic.dependence
        if dependence.users is None:
            return None
        number = self.generator.binomial(dependence.users, share, size=self.releases)
        least = np.maximum(number, 1)
        relative = dependence.user_spread**2 / least
        factor, spread = np.ones(self.releases), np.zeros(self.releases)
        if dependence.user_spread > 0:
            factor = self.generator.gamma(1.0 / relative, relative)
            degrees = np.maximum(np.minimum(least, MOST_BUCKETS) - 1, 1)
            spread = relative * factor * self.generator.chisquare(degrees) / degrees
        return Users(factor, spread, number)

    def _by_time(self, look: int, cells: Integers, champion_cells: Integers) -> ByCluster:
        starts, end = self.time.slices(look), int(self.time.looks[look]) + 1
        mine = Arm(*(np.add.reduceat(of[..., :end], starts, axis=-1) for of in (self.requests, cells)))
        if self.paired:
            theirs = Arm(
                *(
                    np.add.reduceat(of[..., :end], starts, axis=-1)
                    for of in (self.champion_requests, champion_cells)
                )
            )
        else:
            theirs = Arm(self.champion_requests, champion_cells)
        return ByCluster(ClusterKind.TIME, mine, theirs, self.paired)

    def _by_users(
        self, counts: tuple[Integers, int, Integers, int], mine: Users, theirs: Users, rows: Integers
    ) -> tuple[Booleans, Booleans, Booleans]:
        """Return whether more errors are proven, excluded, and too many proven, by the users of each version."""
        rate, factor = self.traffic.error_rate, self.harm.error_factor
        errors, requests, champion_errors, champion_requests = counts
        arms = (
            self._of_users(errors, requests, mine, rate * factor, rows),
            self._of_users(champion_errors, champion_requests, theirs, rate, rows),
        )
        confidence = self.criteria.confidence
        low, high = difference_of_arms(*arms).bounds(confidence)
        alone = arms[0].bounds(confidence)
        above = alone[0] > self.criteria.error_rate_max
        excluded = np.where(arms[1].degrees > 0, high, alone[1]) < self.criteria.error_rate_increase
        return low > tolerated_increase(self.criteria), excluded, above

    def _of_users(
        self, errors: Integers, requests: int, users: Users, rate: float, rows: Integers
    ) -> Estimate:
        value = errors / max(1, requests)
        within = value * (1.0 - value) / max(1, requests) * (2.0 * self.traffic.dependence.error_burst - 1.0)
        buckets = np.minimum(users.number[rows], MOST_BUCKETS)
        degrees = np.where(buckets >= LEAST, buckets - 1.0, 0.0)
        return Estimate(value, within + rate**2 * users.spread[rows], degrees)
