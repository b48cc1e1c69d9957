"""Latency on like requests: a mix that clients choose is no harm, and no client decides alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import catalog
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.analysis.like_requests import TimedRequest, compare_like_requests
from perennial.core.release.status import LabelCounts
from perennial.core.release.traffic import Counters, LikeRequests
from perennial.core.verdict import Verdict
from perennial.settings import Settings

BOUNDS = (*np.geomspace(1, 10_000, 120), float("inf"))
ROW_MS = 0.5
"""Cost of a row; a request of one row takes about 60 ms."""


@pytest.fixture(scope="module")
def criteria():
    return catalog.spec("test_failure_predictor", Settings()).release.criteria


def requests(
    count: int, rows: int = 1, client: str = "", slow: float = 1.0, seed: int = 0, operation: str = "tensor"
) -> list[TimedRequest]:
    """Log-normal latencies whose median grows with the rows."""
    median = slow * (60.0 + ROW_MS * rows)
    latencies = median * np.random.default_rng([seed, rows, count]).lognormal(0.0, 0.3, count)
    return [TimedRequest(operation, rows, client, float(value)) for value in latencies]


def counted(timed: list[TimedRequest]) -> Counters:
    """The router's histogram of these requests."""
    latencies = [request.latency_ms for request in timed]
    buckets = tuple((float(bound), sum(value <= bound for value in latencies)) for bound in BOUNDS)
    return Counters(requests=len(timed), buckets=buckets)


def judged(criteria, candidate, champion, log=True):
    like = compare_like_requests(criteria, candidate, champion) if log else None
    labels = LabelCounts()
    rules = judge_traffic(criteria, counted(candidate), counted(champion), labels, labels, like=like)
    return next(rule for rule in rules if rule.rule == "latency")


CLIENTS = [request._replace(client=f"client{i % 40}") for i, request in enumerate(requests(4000))]
"""What 40 clients sent to the champion."""


def healthy(count: int = 400, slow: float = 1.0) -> list[TimedRequest]:
    some = requests(count, slow=slow, seed=1)
    return [request._replace(client=f"client{i % 40}") for i, request in enumerate(some)]


def test_the_largest_requests_of_one_client_end_no_release(criteria):
    """60 of 4,096 rows, all to the candidate by the choice of a user id."""
    attack = requests(60, rows=4096, client="attacker")
    alone = judged(criteria, healthy() + attack, CLIENTS, log=False)
    assert alone.verdict is Verdict.UNSURE  # nobody is aborted by the counters alone
    confirmed = judged(criteria, healthy() + attack, CLIENTS)
    assert confirmed.verdict is Verdict.PASS
    assert "it got more of the costly ones" in confirmed.observed


def test_nor_do_they_with_a_few_like_ones_to_the_champion(criteria):
    attack = requests(60, rows=4096, client="attacker")
    reference = CLIENTS + requests(3, rows=4096, client="attacker", slow=0.8)
    assert judged(criteria, healthy() + attack, reference).verdict is not Verdict.FAIL


def test_a_slow_candidate_is_aborted(criteria):
    judgement = judged(criteria, healthy(slow=2.0), CLIENTS)
    assert judgement.verdict is Verdict.FAIL
    assert "on like requests" in judgement.observed


def test_a_slow_candidate_is_aborted_whatever_the_sizes(criteria):
    sizes = [1, 2, 8, 64, 512, 4096]
    champion = [request for size in sizes for request in requests(1500, rows=size, client=f"c{size}")]
    candidate = [
        request for size in sizes for request in requests(150, rows=size, client=f"c{size}", slow=2.0)
    ]
    assert judged(criteria, candidate, champion).verdict is Verdict.FAIL


def test_one_client_alone_is_the_traffic(criteria):
    """A service with one client has nobody else to confirm it."""
    champion, candidate = requests(4000, client="web"), requests(400, client="web", slow=2.0)
    assert judged(criteria, candidate, champion).verdict is Verdict.FAIL


def test_one_of_several_clients_does_not_decide(criteria):
    """Its requests are slow for the candidate by something that the log does not tell."""
    attack = requests(200, client="attacker", slow=10.0)
    champion = CLIENTS + requests(200, client="attacker")
    judgement = judged(criteria, healthy() + attack, champion)
    assert judgement.verdict is Verdict.UNSURE
    assert "not without client attacker" in judgement.observed


def test_what_the_log_does_not_show_is_left_to_a_person(criteria):
    """Slow between router and server, or a client that reads its answer slowly."""
    like = compare_like_requests(criteria, healthy(), CLIENTS)
    slow, labels = counted(healthy(slow=3.0)), LabelCounts()
    rules = judge_traffic(criteria, slow, counted(CLIENTS), labels, labels, like=like)
    judgement = next(rule for rule in rules if rule.rule == "latency")
    assert judgement.verdict is Verdict.UNSURE
    assert "do not show it" in judgement.observed


def test_most_requests_unlike_the_champions_excuse_nothing(criteria):
    attack = requests(900, rows=4096, client="attacker")
    judgement = judged(criteria, healthy() + attack, CLIENTS)
    assert judgement.verdict is Verdict.UNSURE
    assert "are like the champion's" in judgement.observed


def test_operations_are_compared_apart(criteria):
    """By entity costs a read of the feature store; a client may ask the candidate for nothing else."""
    attack = requests(60, client="attacker", slow=5.0, operation="entity")
    assert judged(criteria, healthy() + attack, CLIENTS).verdict is Verdict.PASS


def test_healthy_candidates_are_seldom_slow_alike(criteria):
    generator = np.random.default_rng(7)
    sizes = generator.choice([1, 4, 16, 64, 256], size=(200, 2200))
    proven = 0
    for seed, drawn in enumerate(sizes):
        latencies = (60.0 + ROW_MS * drawn) * np.random.default_rng(seed).lognormal(0.0, 0.3, len(drawn))
        timed = [TimedRequest("tensor", int(rows), "", ms) for rows, ms in zip(drawn, latencies, strict=True)]
        proven += compare_like_requests(criteria, timed[:200], timed[200:]).slow_alike
    assert proven == 0


@given(
    st.lists(st.tuples(st.integers(1, 4096), st.floats(0.1, 1e4), st.sampled_from("ab")), max_size=60),
    st.lists(st.tuples(st.integers(1, 4096), st.floats(0.1, 1e4), st.sampled_from("ab")), max_size=60),
)
def test_counts_stay_within_the_requests(criteria, mine, theirs):
    candidate, champion = (
        [TimedRequest("tensor", rows, client, ms) for rows, ms, client in side] for side in (mine, theirs)
    )
    like = compare_like_requests(criteria, candidate, champion)
    assert 0 <= like.slower <= like.compared <= like.requests == len(candidate)
    assert LikeRequests.model_validate_json(like.model_dump_json()) == like
