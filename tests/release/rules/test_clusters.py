"""Verdicts by cluster: what comes in a storm, an outage or from a few users proves nothing alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import catalog
from perennial.core.release.analysis.clusters import ByCluster, ClusterKind, arm
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.analysis.over_machines import judge_over_machines
from perennial.core.release.counted.cluster_bounds import boundary, critical, rate
from perennial.core.release.counted.slices import MOST, Slice, with_answers
from perennial.core.release.status import LabelCounts
from perennial.core.release.traffic import Counters, LikeRequests
from perennial.core.verdict import Judgement, Verdict
from perennial.settings import Settings

INF = float("inf")
NONE = LabelCounts()
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
ALIKE = LikeRequests(
    slow_in_log=True, slow_alike=True, fine_alike=False, slower=9, compared=9, requests=9, limit=1.0
)


@pytest.fixture(scope="module")
def criteria():
    return catalog.spec("test_failure_predictor", Settings()).release.criteria


def counted(requests: int, errors: int = 0, slow: int = 0) -> Counters:
    buckets = ((10.0, requests - slow), (400.0, requests - slow), (500.0, requests), (INF, requests))
    return Counters(requests=requests, errors=errors, buckets=buckets)


def judged(
    criteria, mine: list[Counters], theirs: list[Counters], kind=ClusterKind.TIME, promotes: bool = False
) -> dict[str, Judgement]:
    """Judge the sums, and these clusters."""
    clusters = (ByCluster(kind, arm(mine), arm(theirs), paired=kind is ClusterKind.TIME),)
    totals = [_sum(side) for side in (mine, theirs)]
    rules = judge_traffic(
        criteria, *totals, NONE, NONE, clusters=lambda: clusters, like=ALIKE, promotes=promotes,
        elapsed=timedelta(hours=6),
    )  # fmt: skip
    return {rule.rule: rule for rule in rules}


def _sum(side: list[Counters]) -> Counters:
    total = Counters()
    for counters in side:
        total = total.plus(counters)
    return total


GOOD, OUT, BAD = counted(300, 3), counted(300, 300), counted(300, 30)
CHAMPION, CHAMPION_OUT = counted(3000, 30), counted(3000, 3000)


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        ([BAD] * 20, [CHAMPION] * 20, Verdict.FAIL),
        ([OUT] * 10, [CHAMPION] * 10, Verdict.FAIL),
        ([OUT] * 9, [CHAMPION] * 9, Verdict.UNSURE),
        ([GOOD] * 19 + [OUT], [CHAMPION] * 20, Verdict.UNSURE),
        ([GOOD] * 17 + [OUT] * 3, [CHAMPION] * 17 + [CHAMPION_OUT] * 3, Verdict.UNSURE),
        ([GOOD] * 12 + [OUT] * 8, [CHAMPION] * 12 + [CHAMPION_OUT] * 8, Verdict.UNSURE),
        ([GOOD] * 20, [CHAMPION] * 20, Verdict.PASS),
    ],
)
def test_errors_in_time(criteria, mine, theirs, verdict):
    """A bad candidate fails in most slices; an outage, its own or shared, aborts nothing."""
    rules = judged(criteria, mine, theirs)
    assert (
        max(rules["error_rate"].verdict, rules["error_increase"].verdict, key=lambda v: v.badness) is verdict
    )


def test_a_shared_outage_is_no_increase(criteria):
    good, out = counted(30_000, 300), counted(30_000, 30_000)
    rules = judged(criteria, [good] * 17 + [out] * 3, [good] * 17 + [out] * 3, promotes=True)
    assert rules["error_increase"].verdict is Verdict.PASS
    assert "not proven above the champion's in the same" in rules["error_rate"].observed


def test_too_few_slices_promote_nobody(criteria):
    many, few = [counted(20_000, 200)] * 20, [counted(40_000, 400)] * 9
    assert judged(criteria, many, many, promotes=True)["error_increase"].verdict is Verdict.PASS
    rule = judged(criteria, few, few, promotes=True)["error_increase"]
    assert rule.verdict is Verdict.UNSURE
    assert "candidate 9, champion 9, at least 10 are needed" in rule.observed
    assert judged(criteria, few, few)["error_increase"].verdict is Verdict.PASS, "an earlier step goes on"


def test_one_bad_user_is_not_the_candidate(criteria):
    mine, theirs = [counted(3000, 20)] * 19 + [counted(3000, 3000)], [counted(3000, 20)] * 20
    rule = judged(criteria, mine, theirs, ClusterKind.USERS)["error_increase"]
    assert rule.verdict is Verdict.UNSURE
    assert "by groups of users" in rule.observed
    heavy = [counted(100, number % 3) for number in range(19)] + [counted(50_000, 400)]
    rule = judged(criteria, heavy, theirs, ClusterKind.USERS, promotes=True)["error_increase"]
    assert rule.verdict is Verdict.UNSURE, "one user is nearly all of the traffic"
    assert rule.more.requests is None, "more requests of the same users tell nothing"


@pytest.mark.parametrize(
    ("slow_slices", "verdict"), [(20, Verdict.FAIL), (2, Verdict.UNSURE), (0, Verdict.PASS)]
)
def test_latency_in_time(criteria, slow_slices, verdict):
    mine = [counted(300, slow=150)] * slow_slices + [counted(300, slow=6)] * (20 - slow_slices)
    assert judged(criteria, mine, [counted(3000, slow=60)] * 20)["latency"].verdict is verdict


def test_harm_that_a_machine_hides_is_hidden_in_no_slice(criteria):
    """The others prove it, in their totals and in their slices: a person looks."""

    def both(a: Counters, b: Counters) -> Counters:
        return a.plus(b).model_copy(update={"parts": {"a": a, "b": b}})

    mine = [both(counted(300, 15), counted(300, 0))] * 20
    theirs = [both(counted(3000, 30), counted(3000, 210))] * 20

    def clusters(without):
        sides = [
            [one if without is None else one.without(without) for one in side] for side in (mine, theirs)
        ]
        return (ByCluster(ClusterKind.TIME, arm(sides[0]), arm(sides[1]), paired=True),)

    def judge(candidate, champion, *, clusters):
        return judge_traffic(criteria, candidate, champion, NONE, NONE, clusters=clusters)

    rules = {rule.rule: rule for rule in judge_over_machines(judge, _sum(mine), _sum(theirs), clusters)}
    assert rules["error_increase"].verdict is Verdict.UNSURE
    assert "without the counts of b" in rules["error_increase"].observed


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 50)), min_size=1, max_size=60))
def test_slices_hold_what_was_counted_and_stay_few(looks):
    """Whenever a pass comes, and however long the step takes."""
    slices, now, total = (), START, Counters()
    for seconds, requests in looks:
        now += timedelta(seconds=seconds)
        new = counted(requests, requests // 10, requests // 5)
        total = total.plus(new)
        slices = with_answers(slices, {"canary": new}, now, START, timedelta(hours=6))
    assert len(slices) <= MOST + 1
    assert [part.began for part in slices] == sorted(part.began for part in slices)
    together = _sum([part.counted["canary"] for part in slices])
    assert (together.requests, together.errors) == (total.requests, total.errors)
    assert together.latency_ms(0.95) == total.latency_ms(0.95)
    assert all(Slice.model_validate_json(part.model_dump_json()) == part for part in slices)


def test_a_constant_bound_holds_at_all_looks():
    """4,000 sums of normal steps, looked at from the first on over a span of 500: at most half of 5 % ever pass it."""
    generator = np.random.default_rng(1)
    sums = generator.normal(size=(4000, 500)).cumsum(axis=1) / np.sqrt(np.arange(1, 501))
    assert (sums > boundary(0.95)).any(axis=1).mean() < 0.025
    assert critical(0.95, 1e6) == pytest.approx(boundary(0.95), rel=1e-3)
    assert critical(0.95, 9.0) > critical(0.95, 39.0) > boundary(0.95)


def test_rate_over_clusters_is_that_of_independent_requests_where_they_are():
    generator = np.random.default_rng(2)
    errors = generator.binomial(1000, 0.01, size=(2000, 30))
    estimate = rate(errors, np.full(30, 1000))
    assert np.sqrt(estimate.variance).mean() == pytest.approx(np.sqrt(0.01 * 0.99 / 30_000), rel=0.03)
    low, high = estimate.bounds(0.95)
    assert ((low > 0.01) | (high < 0.01)).mean() < 0.005
