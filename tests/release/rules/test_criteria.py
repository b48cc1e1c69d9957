"""What is counted, judged: a table, and how often a healthy canary is aborted."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from doubles.labelled import evenly

from perennial import catalog
from perennial.core.release.analysis.clusters import independent
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release.traffic import Counters, LikeRequests
from perennial.core.verdict import Verdict, worst
from perennial.settings import Settings

INF = float("inf")


@pytest.fixture(scope="module")
def criteria():
    return catalog.spec("test_failure_predictor", Settings()).release.criteria


def counted(requests: int, errors: int = 0, slow: int = 0) -> Counters:
    """All within 10 ms but `slow`, which took 400 to 500 ms."""
    buckets = ((10.0, requests - slow), (400.0, requests - slow), (500.0, requests), (INF, requests))
    return Counters(requests=requests, errors=errors, buckets=buckets)


NONE = LabelCounts()
ALIKE = LikeRequests(
    slow_in_log=True, slow_alike=True, fine_alike=False, slower=9, compared=9, requests=9, limit=1.0
)
"""Like requests confirm what the counters show."""


@pytest.mark.parametrize(
    ("mine", "theirs", "my_labels", "their_labels", "verdict", "rule"),
    [
        (counted(500), counted(5000), NONE, NONE, Verdict.PASS, ""),
        (counted(0), counted(5000), NONE, NONE, Verdict.UNSURE, "requests"),
        (counted(99), counted(5000), NONE, NONE, Verdict.UNSURE, "requests"),
        (counted(500), counted(0), NONE, NONE, Verdict.UNSURE, "latency"),
        (counted(60, errors=40), counted(5000), NONE, NONE, Verdict.FAIL, "error_rate"),
        (counted(2000, errors=80), counted(20000), NONE, NONE, Verdict.FAIL, "error_increase"),
        (counted(2000, errors=80), counted(20000, errors=800), NONE, NONE, Verdict.PASS, ""),
        (counted(500, slow=100), counted(5000), NONE, NONE, Verdict.FAIL, "latency"),
        (counted(500, slow=28), counted(5000), NONE, NONE, Verdict.PASS, ""),
        (counted(500, slow=100), counted(5000, slow=1000), NONE, NONE, Verdict.PASS, ""),
        (counted(500), counted(5000), evenly(1400, 2000), evenly(1700, 2000), Verdict.FAIL, "accuracy"),
        (counted(500), counted(5000), evenly(830, 1000), evenly(850, 1000), Verdict.PASS, ""),
        (counted(500), counted(5000), evenly(0, 30), evenly(1000, 1000), Verdict.PASS, ""),
    ],
)
def test_judged(criteria, mine, theirs, my_labels, their_labels, verdict, rule):
    judged = judge_traffic(criteria, mine, theirs, my_labels, their_labels, clusters=independent, like=ALIKE)
    assert worst(judged) is verdict
    named = [one.rule for one in judged if one.verdict is verdict]
    assert not rule or rule in named


def increase(criteria, mine: Counters, theirs: Counters, **how):
    judged = judge_traffic(criteria, mine, theirs, NONE, NONE, clusters=independent, **how)
    return next(one for one in judged if one.rule == "error_increase")


def test_last_step_must_exclude_the_named_increase(criteria):
    few = counted(400, errors=4), counted(400, errors=4)
    assert increase(criteria, *few).verdict is Verdict.PASS
    unsure = increase(criteria, *few, promotes=True, elapsed=timedelta(hours=2))
    assert unsure.verdict is Verdict.UNSURE
    assert unsure.more.hours == pytest.approx(unsure.more.requests / 200, abs=0.01)
    assert f"about {unsure.more.requests} requests" in unsure.observed
    grown = 400 + unsure.more.requests
    enough = [counted(grown, errors=grown // 100)] * 2
    assert increase(criteria, *enough, promotes=True).verdict is Verdict.PASS
    almost = [counted(int(grown * 0.95), errors=grown // 100)] * 2
    assert increase(criteria, *almost, promotes=True).verdict is Verdict.UNSURE


def test_exactly_the_named_harm_is_proven_with_enough_traffic(criteria):
    """1 % to 2 % by a policy that names an increase of 1 %: half of it is proven."""
    assert increase(criteria, counted(72000, errors=1440), counted(72000, errors=720)).verdict is Verdict.FAIL
    assert increase(criteria, counted(90000, errors=990), counted(90000, errors=900)).verdict is Verdict.PASS


def test_without_traffic_nobody_knows_how_much_more(criteria):
    unsure = increase(criteria, counted(0), counted(0), promotes=True)
    assert (unsure.verdict, unsure.more.requests, unsure.more.hours) == (Verdict.UNSURE, None, None)
    judged = judge_traffic(
        criteria, counted(25), counted(100), NONE, NONE, clusters=independent, elapsed=timedelta(hours=1)
    )
    assert (judged[0].more.requests, judged[0].more.hours) == (75, 3.0)


def test_few_champion_requests_bound_no_latency(criteria):
    """Their p95 cannot be bounded from above by 100 requests, so nothing is slower than proven."""
    judged = judge_traffic(criteria, counted(500, slow=100), counted(100), NONE, NONE, clusters=independent)
    assert worst(judged) is Verdict.PASS


def test_errors_above_requests_by_a_race_are_no_crash(criteria):
    assert (
        worst(judge_traffic(criteria, counted(5, errors=6), counted(10), NONE, NONE, clusters=independent))
        is not Verdict.PASS
    )


def test_healthy_canary_looked_at_often_is_seldom_aborted(criteria):
    """Both sides fail 0.5 % of requests and are slow alike; 5 % share, 40 looks."""
    generator = np.random.default_rng(3)
    aborted = 0
    for _ in range(100):
        mine, theirs = np.zeros(3, int), np.zeros(3, int)
        for _ in range(40):
            mine += _batch(generator, 25)
            theirs += _batch(generator, 475)
            judged = judge_traffic(
                criteria,
                counted(*map(int, mine)),
                counted(*map(int, theirs)),
                NONE,
                NONE,
                clusters=independent,
            )
            if worst(judged) is Verdict.FAIL:
                aborted += 1
                break
    assert aborted <= 5


def _batch(generator, size: int) -> np.ndarray:
    return np.array([size, generator.binomial(size, 0.005), generator.binomial(size, 0.04)])
