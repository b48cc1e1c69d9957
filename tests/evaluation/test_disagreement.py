"""How often two versions differ, and by how much."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.evaluation.disagreement import PairedAnswers, latency, measure_disagreement, rate
from perennial.core.frozen import canonical
from perennial.core.tasks import Ranking


def pairs(champion, candidate, requests=None, threshold=0.5) -> PairedAnswers:
    champion, candidate = np.array(champion, dtype=float), np.array(candidate, dtype=float)
    return PairedAnswers(
        request_id=requests or [f"q{place}" for place in range(len(champion))],
        entity=["{}"] * len(champion),
        champion=champion,
        candidate=candidate,
        champion_decision=(champion >= threshold).astype(int),
        candidate_decision=(candidate >= threshold).astype(int),
        task=Ranking(threshold=threshold),
    )


def test_rate_shift_and_examples():
    found = measure_disagreement(
        pairs([0.1, 0.4, 0.6, 0.9], [0.2, 0.6, 0.7, 0.1]), 0.95, examples=2, unanswered=3
    )
    assert found.changed.value == 0.5
    assert found.changed.low < 0.5 < found.changed.high
    assert found.shift.mean == pytest.approx(-0.1)
    assert found.shift.largest == pytest.approx(0.8)
    assert [one.request_id for one in found.examples] == ["q3", "q1"]
    assert all(one.decided_otherwise for one in found.examples)
    assert found.unanswered == 3


def test_rows_of_one_request_are_one_observation():
    """A hundred rows of one request that all differ prove no more than one request does."""
    one = rate(np.ones(100, dtype=bool), np.array(["q"] * 100), 0.95)
    many = rate(np.ones(100, dtype=bool), np.arange(100), 0.95)
    assert (one.value, one.requests, one.rows) == (1.0, 1, 100)
    assert one.low < 0.1 < 0.9 < many.low


def test_requests_weigh_the_same_whatever_their_size():
    hit = np.array([True] * 9 + [False])
    assert rate(hit, np.array(["a"] * 9 + ["b"]), 0.95).value == 0.5


def test_score_outside_its_range_is_counted_and_compared_with_nothing():
    found = measure_disagreement(pairs([0.5, 0.5, 0.5], [np.nan, 1.5, 0.5]), 0.95, examples=5)
    assert (found.unusable, found.changed.rows, len(found.examples)) == (2, 1, 1)


def test_nothing_to_compare_can_still_be_written_down():
    found = measure_disagreement(pairs([], []), 0.95, examples=5)
    assert found.changed.value is None
    assert found.shift is None
    assert str(found.changed) == "no requests"
    assert canonical(found.model_dump(mode="json"))


def test_latency_is_of_requests():
    assert latency(np.array([])) is None
    assert latency(np.arange(1, 101)).p95_ms == 95
