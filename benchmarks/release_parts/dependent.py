"""Verdicts on requests that depend on each other: storms, unequal users, outages, slow spells.

6,000 requests an hour go through the shipped steps. Requests arrive by chance (Poisson) from users of whom each stays
with one version. Releases are looked at each minute at first, then at each slice. The totals and the counts by cluster
are judged by the functions that a release calls; `judged` does so for one release by `judge_traffic` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perennial.core.release.analysis.clusters import (
    Arm,
    ByCluster,
    ClusterKind,
    error_increase_by,
    is_error_rate_proven_by,
)
from perennial.core.release.analysis.harm_tests import error_increase, is_error_rate_proven
from perennial.core.release.counted.slices import first_length, slice_length
from perennial.core.release.counted.user_buckets import MOST_BUCKETS
from release_parts.independent import SHIPPED
from release_parts.outcome import Outcome

RATE = 100.0
"""Requests a minute."""
ERRORS = 0.01
DAY = 1440.0
CHUNK = 50
Generator = np.random.Generator
Floats = NDArray[np.float64]


class Counts(NamedTuple):
    """Requests and errors of a version, [releases, buckets of users, cells]."""

    requests: NDArray[np.int64]
    errors: NDArray[np.int64]


class Pool(NamedTuple):
    """A version in a step: its part of the requests, and its error rate relative to the champion's."""

    share: float
    factor: float


class Step(NamedTuple):
    """A step in minutes, with the ends of its cells; there is a look at each end."""

    share: float
    minutes: float
    ends: Floats
    promotes: bool

    @property
    def widths(self) -> Floats:
        return np.diff(self.ends, prepend=0.0)

    def slices(self, look: int, least: timedelta = timedelta(0)) -> NDArray[np.int64]:
        """Return the first cell of each slice at a look."""
        elapsed = timedelta(minutes=float(self.ends[look]))
        length = max(least, slice_length(first_length(timedelta(minutes=self.minutes)), elapsed))
        begins = self.ends[: look + 1] - self.widths[: look + 1]
        numbers = np.floor(begins / (length / timedelta(minutes=1)) + 1e-9)
        return np.flatnonzero(np.diff(numbers, prepend=-1.0))


Draw = Callable[[Generator, Step, tuple[Pool, Pool]], tuple[Counts, Counts]]


def steps() -> Iterator[Step]:
    """Yield the shipped shares. A shadow step decides nothing here: its copies harm nobody."""
    wait = SHIPPED.unsure_after / timedelta(minutes=1)
    for spec in SHIPPED.steps:
        minutes = spec.duration / timedelta(minutes=1)
        ends, now = [], 0.0
        while now < minutes + wait:
            length = slice_length(first_length(spec.duration), timedelta(minutes=now + 1))
            now += length / timedelta(minutes=1)
            ends.append(now)
        yield Step(spec.weight / 100, minutes, np.array(ends), spec is SHIPPED.steps[-1])


def storms(length: float) -> Draw:
    """Errors come in storms of one client, of geometric length; as many errors as without."""

    def draw(generator: Generator, step: Step, pools: tuple[Pool, Pool]) -> tuple[Counts, Counts]:
        return tuple(_counts(generator, step, pool, np.array(ERRORS * pool.factor), length) for pool in pools)  # type: ignore[return-value]

    return draw


def unequal_users(users: int, shape: float = 0.5) -> Draw:
    """The users' error rates have a beta distribution of mean 1 %; all send as many requests."""

    def draw(generator: Generator, step: Step, pools: tuple[Pool, Pool]) -> tuple[Counts, Counts]:
        rates = generator.beta(shape, shape * (1 / ERRORS - 1), size=(CHUNK, users))
        with_candidate = generator.random((CHUNK, users)) < pools[0].share
        buckets = generator.integers(MOST_BUCKETS, size=(CHUNK, users))
        counts = []
        for pool, mine in zip(pools, (with_candidate, ~with_candidate), strict=True):
            number, failing = np.zeros((CHUNK, MOST_BUCKETS)), np.zeros((CHUNK, MOST_BUCKETS))
            rows = np.broadcast_to(np.arange(CHUNK)[:, None], mine.shape)
            np.add.at(number, (rows, buckets), mine)
            np.add.at(failing, (rows, buckets), mine * np.minimum(1.0, rates * pool.factor))
            arrivals = RATE / users * step.widths
            errors = generator.poisson(failing[..., None] * arrivals)
            good = generator.poisson((number - failing)[..., None] * arrivals)
            counts.append(Counts(errors + good, errors))
        return counts[0], counts[1]

    return draw


def outages(shared: bool, minutes: float = 5.0) -> Draw:
    """All requests of a time fail once a day, in both pools or in each at a time of its own."""

    def draw(generator: Generator, step: Step, pools: tuple[Pool, Pool]) -> tuple[Counts, Counts]:
        days = int(np.ceil(step.ends[-1] / DAY))
        size = (CHUNK, days)
        times = generator.uniform(0, DAY, size=size)
        counts = []
        for pool in pools:
            begin = (times if shared else generator.uniform(0, DAY, size=size)) + DAY * np.arange(days)
            first, last = step.ends - step.widths, step.ends
            out = np.minimum(last, begin[..., None] + minutes) - np.maximum(first, begin[..., None])
            part = np.clip(out, 0.0, None).sum(axis=1) / step.widths
            chance = part + (1 - part) * ERRORS * pool.factor
            counts.append(_counts(generator, step, pool, chance[:, None, :], 1.0))
        return counts[0], counts[1]

    return draw


def _counts(generator: Generator, step: Step, pool: Pool, chance: Floats, storm: float) -> Counts:
    """Draw requests of many equal users; an error begins a storm of a bucket's client."""
    shape = (CHUNK, MOST_BUCKETS, len(step.ends))
    arrivals = RATE * pool.share / MOST_BUCKETS * step.widths
    errors = generator.poisson(np.broadcast_to(arrivals * chance / storm, shape))
    if storm > 1.0:
        further = generator.negative_binomial(np.maximum(errors, 1), 1 / storm)
        errors = errors + np.where(errors > 0, further, 0)
    good = generator.poisson(np.broadcast_to(arrivals * (1 - chance), shape))
    return Counts(errors + good, errors)


CASES: dict[str, Draw] = {
    "independent": storms(1.0),
    "errors in storms of one client, of 3": storms(3.0),
    "errors in storms of one client, of 20": storms(20.0),
    "200 users with unequal error rates": unequal_users(200),
    "2,000 users with unequal error rates": unequal_users(2000),
    "a shared outage of 5 minutes a day": outages(shared=True),
    "each pool its own outage of 5 minutes a day": outages(shared=False),
}


def outcomes(releases: int, seed: int) -> Iterator[Outcome]:
    """Yield the ends of healthy candidates and of such with doubled errors."""
    for name, draw in CASES.items():
        for candidate, factor in (("healthy", 1.0), ("doubled error rate", 2.0)):
            generator = np.random.default_rng(seed)
            aborted = asked = promoted = 0
            for _ in range(0, releases, CHUNK):
                alive = np.ones(CHUNK, dtype=bool)
                for step in steps():
                    pools = Pool(step.share, factor), Pool(1 - step.share, 1.0)
                    failed, passed = ends(step, *draw(generator, step, pools))
                    aborted += int((alive & failed).sum())
                    asked += int((alive & ~failed & ~passed).sum())
                    alive &= passed
                promoted += int(alive.sum())
            yield Outcome(name, candidate, aborted, asked, promoted)


def ends(step: Step, mine: Counts, theirs: Counts) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which releases are aborted in a step and which go on; a person is asked about the others."""
    criteria = SHIPPED.criteria
    total, errors, champion_total, champion_errors = (
        counts.sum(axis=1).cumsum(axis=-1) for counts in (*mine, *theirs)
    )
    proven, excluded = error_increase(criteria, errors, total, champion_errors, champion_total)
    above = is_error_rate_proven(criteria, errors, total)
    failed, passed = np.zeros(len(total), dtype=bool), np.zeros(len(total), dtype=bool)
    for look, end in enumerate(step.ends):
        over = end >= step.minutes
        cleared = over & ~proven[:, look] & ~above[:, look] & (excluded[:, look] | (not step.promotes))
        cleared &= total[:, look] >= criteria.min_requests
        rows = np.flatnonzero(~failed & ~passed & (proven[:, look] | above[:, look] | cleared))
        if not len(rows):
            continue
        by = by_cluster(step, look, mine, theirs, rows)
        more, less = (
            np.logical_and.reduce(each)
            for each in zip(*(error_increase_by(criteria, each) for each in by), strict=True)
        )
        high = np.logical_and.reduce([is_error_rate_proven_by(criteria, each) for each in by])
        failed[rows] = (proven[rows, look] & more) | (above[rows, look] & high)
        passed[rows] = ~failed[rows] & cleared[rows] & (less | (not step.promotes))
    return failed, passed


def by_cluster(
    step: Step, look: int, mine: Counts, theirs: Counts, rows: NDArray[np.int64]
) -> tuple[ByCluster, ByCluster]:
    """Return the counts up to a look, by slices of the time and by buckets of users."""
    starts = step.slices(look)
    by_time, by_users = [], []
    for counts in (mine, theirs):
        until = [of[rows][..., : look + 1] for of in counts]
        by_time.append(Arm(*(np.add.reduceat(of.sum(axis=1), starts, axis=-1) for of in until)))
        by_users.append(Arm(*(of.sum(axis=-1) for of in until)))
    return (
        ByCluster(ClusterKind.TIME, by_time[0], by_time[1], paired=True),
        ByCluster(ClusterKind.USERS, by_users[0], by_users[1], paired=False),
    )
