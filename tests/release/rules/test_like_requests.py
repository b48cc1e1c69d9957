"""Latency on like requests: a mix that clients choose is no harm, and no client decides alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import catalog
from perennial.core.release.analysis.clusters import independent
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.analysis.like_requests import TimedRequests, compare_like_requests
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release.traffic import Counters, LikeRequests
from perennial.core.verdict import Verdict
from perennial.settings import Settings

BOUNDS = (*np.geomspace(1, 10_000, 120), float("inf"))
ROW_MS = 0.5
"""Cost of a row; a request of one row takes about 60 ms."""


@pytest.fixture(scope="module")
def criteria():
    return catalog.spec("test_failure_predictor", Settings()).release.criteria


class Request(NamedTuple):
    operation: int
    rows: int
    client: str
    latency_ms: float


def requests(
    count: int, rows: int = 1, client: str = "", slow: float = 1.0, seed: int = 0, operation: int = 0
) -> list[Request]:
    """Log-normal latencies whose median grows with the rows."""
    median = slow * (60.0 + ROW_MS * rows)
    latencies = median * np.random.default_rng([seed, rows, count]).lognormal(0.0, 0.3, count)
    return [Request(operation, rows, client, float(value)) for value in latencies]


def compared(criteria, candidate: list[Request], champion: list[Request]) -> LikeRequests:
    sides = [
        TimedRequests(
            *(np.array(column) for column in zip(*side, strict=True)) if side else [np.zeros(0)] * 4
        )
        for side in (candidate, champion)
    ]
    return compare_like_requests(criteria, *sides)


def counted(timed: list[Request]) -> Counters:
    """The router's histogram of these requests."""
    latencies = [request.latency_ms for request in timed]
    buckets = tuple((float(bound), sum(value <= bound for value in latencies)) for bound in BOUNDS)
    return Counters(requests=len(timed), buckets=buckets)


def judged(criteria, candidate, champion, log=True):
    like = compared(criteria, candidate, champion) if log else None
    labels = LabelCounts()
    rules = judge_traffic(
        criteria, counted(candidate), counted(champion), labels, labels, clusters=independent, like=like
    )
    return next(rule for rule in rules if rule.rule == "latency")


CLIENTS = [request._replace(client=f"client{i % 40}") for i, request in enumerate(requests(4000))]
"""What 40 clients sent to the champion."""


def healthy(count: int = 400, slow: float = 1.0) -> list[Request]:
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
    assert "like requests are slow" in judgement.observed


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
    assert "depends on client attacker" in judgement.observed


def test_what_the_log_does_not_show_is_left_to_a_person(criteria):
    """Slow between router and server, or a client that reads its answer slowly."""
    like = compared(criteria, healthy(), CLIENTS)
    slow, labels = counted(healthy(slow=3.0)), LabelCounts()
    rules = judge_traffic(criteria, slow, counted(CLIENTS), labels, labels, clusters=independent, like=like)
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
    attack = requests(60, client="attacker", slow=5.0, operation=1)
    assert judged(criteria, healthy() + attack, CLIENTS).verdict is Verdict.PASS


def test_costly_requests_hide_no_slow_candidate(criteria):
    """A client sends a few costly requests to each side, which cost the same there."""
    slow, honest = (
        [r._replace(latency_ms=400.0) for r in healthy()],
        [r._replace(latency_ms=20.0) for r in [*CLIENTS, *CLIENTS]],
    )
    assert judged(criteria, slow, honest).verdict is Verdict.FAIL
    for more, fewer in ((60, 1), (60, 3), (150, 2), (60, 40), (300, 20)):
        costly = Request(0, 1000, "attacker", 500.0)
        judgement = judged(criteria, slow + [costly] * more, honest + [costly] * fewer)
        assert judgement.verdict is not Verdict.PASS, (more, fewer, judgement.observed)


def test_cheap_requests_to_the_champion_end_no_release(criteria):
    """One client alone pushes the champion's p95 below a share of slow requests that both sides have."""
    both = [Request(0, 1, f"client{i % 50}", 400.0 if i % 25 < 2 else 20.0) for i in range(4000)]
    cheap = [Request(0, 1, "attacker", 5.0)] * 4800
    assert compared(criteria, both, both).slow_alike is False
    judgement = judged(criteria, both, both + cheap)
    assert judgement.verdict is Verdict.UNSURE
    assert "that depends on client" in judgement.observed
    assert "attacker" in judgement.observed


def test_a_client_behind_ten_larger_ones_does_not_decide(criteria):
    """It lowers the median of work that is 7 % of the mix, and sends a few large requests for the suspicion."""
    generator = np.random.default_rng(3)

    def side(count: int) -> list[Request]:
        rare = generator.random(count) < 0.07
        clients = generator.integers(0, 10, count)
        noise = generator.lognormal(0.0, 0.2, count)
        return [
            Request(0, 8 if odd else 1, f"client{client}", (300.0 if odd else 60.0) * factor)
            for odd, client, factor in zip(rare, clients, noise, strict=True)
        ]

    champion, candidate = side(16_000), side(4_000)
    attack = [Request(0, 8, "attacker", 40.0)] * 1400
    large = [Request(0, 4096, "attacker", 2000.0)] * 250
    assert judged(criteria, candidate + large, champion + attack).verdict is not Verdict.FAIL


def test_slow_requests_of_thin_strata_are_no_excuse(criteria):
    """The same mix on both sides: a tenth is large, of many sizes, and the candidate is twenty times slower."""
    generator = np.random.default_rng(5)

    def side(count: int, slow: float) -> list[Request]:
        rows = np.where(generator.random(count) < 0.1, generator.integers(1500, 4097, count), 1)
        latencies = slow * (2.0 + ROW_MS * rows) * generator.lognormal(0.0, 0.3, count)
        return [
            Request(0, int(size), f"c{i % 40}", ms)
            for i, (size, ms) in enumerate(zip(rows, latencies, strict=True))
        ]

    assert judged(criteria, side(1000, 20.0), side(1000, 1.0)).verdict is not Verdict.PASS


def test_a_few_cold_requests_end_no_release(criteria):
    cold = [Request(0, 1, f"client{i}", 3000.0) for i in range(8)]
    assert judged(criteria, cold + healthy(20), CLIENTS).verdict is not Verdict.FAIL


def test_too_few_like_requests_excuse_nothing(criteria):
    few = requests(60, seed=4) + requests(50, rows=4096, client="attacker")
    assert judged(criteria, few, CLIENTS).verdict is not Verdict.PASS


def test_healthy_candidates_are_seldom_slow_alike(criteria):
    generator = np.random.default_rng(7)
    sizes = generator.choice([1, 4, 16, 64, 256], size=(300, 2200))
    proven = fine = 0
    for seed, drawn in enumerate(sizes):
        latencies = (60.0 + ROW_MS * drawn) * np.random.default_rng(seed).lognormal(0.0, 0.3, len(drawn))
        nobody = np.full(len(drawn), "")
        columns = (np.zeros(len(drawn), dtype=bool), drawn, nobody, latencies)
        sides = [
            TimedRequests(*(column[part] for column in columns)) for part in (slice(200), slice(200, None))
        ]
        like = compare_like_requests(criteria, *sides)
        proven, fine = proven + like.slow_alike, fine + like.fine_alike
    assert proven == 0
    assert fine >= 0.9 * len(sizes)


def test_slow_candidates_are_seldom_fine_alike(criteria):
    """At the harm that the spec names, a ratio of 1.5."""
    fine = sum(
        compared(criteria, requests(300, slow=1.5, seed=seed), requests(3000, seed=seed + 1000)).fine_alike
        for seed in range(100)
    )
    assert fine <= 5


TIMED = st.lists(st.tuples(st.integers(1, 4096), st.floats(0.1, 1e4), st.sampled_from("ab")), max_size=60)


@given(TIMED, TIMED)
def test_counts_stay_within_the_requests(criteria, mine, theirs):
    candidate, champion = (
        [Request(0, rows, client, ms) for rows, ms, client in side] for side in (mine, theirs)
    )
    like = compared(criteria, candidate, champion)
    assert 0 <= like.slower <= like.compared <= like.requests == len(candidate)
    assert not (like.slow_alike and like.fine_alike)
    assert LikeRequests.model_validate_json(like.model_dump_json()) == like
