"""Figures agree with scikit-learn and with hand calculation; intervals know that cycles stand together."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from perennial.core.evaluation.metrics import Estimate, estimates
from perennial.core.tasks import Ranking
from perennial.core.tasks.curve import napfd
from perennial.errors import DataError

TASK = Ranking(threshold=0.5)
METRICS = TASK.metrics
Scored = TASK.scored


@st.composite
def rows(draw):
    size = draw(st.integers(4, 60))
    # Few distinct scores: ties are where implementations differ.
    score = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=size, max_size=size))
    target = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    target[:2] = [0, 1]
    group = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return np.array(target), np.array(score), np.array(group)


@given(rows())
@settings(deadline=None, max_examples=examples(100))
def test_as_scikit_learn(drawn):
    target, score, group = drawn
    measured = Scored(target, score, group).measure()
    assert measured["roc_auc"] == pytest.approx(roc_auc_score(target, score))
    assert measured["pr_auc"] == pytest.approx(average_precision_score(target, score))
    assert measured["brier"] == pytest.approx(brier_score_loss(target, score))


@given(rows(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=examples(50))
def test_a_weight_counts_a_group_so_many_times(drawn, seed):
    target, score, group = drawn
    scored = Scored(target, score, group)
    weights = np.random.default_rng(seed).integers(0, 3, len(scored.groups)).astype(float)
    times = weights[np.searchsorted(scored.groups, group)].astype(int)
    repeated = target.repeat(times)
    if len(set(repeated)) < 2:
        return
    weighted = scored.measure(weights)
    assert weighted["roc_auc"] == pytest.approx(roc_auc_score(repeated, score.repeat(times)))
    assert weighted["brier"] == pytest.approx(brier_score_loss(repeated, score.repeat(times)))


@pytest.mark.parametrize(
    ("target", "score", "expected"),
    [
        ([1, 0, 0, 0], [0.9, 0.3, 0.2, 0.1], 1 - 1 / 4 + 1 / 8),  # found first
        ([0, 0, 0, 1], [0.9, 0.3, 0.2, 0.1], 1 - 4 / 4 + 1 / 8),  # found last
        ([1, 0, 1, 0], [0.9, 0.3, 0.2, 0.1], 1 - (1 + 3) / (2 * 4) + 1 / 8),
        ([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], 0.5),  # a tie is a random order
    ],
)
def test_napfd_by_hand(target, score, expected):
    assert napfd(np.array(target), np.array(score)) == pytest.approx(expected)


def test_napfd_averages_failing_cycles_only():
    scored = Scored(np.array([1, 0, 0, 0]), np.array([0.9, 0.1, 0.9, 0.1]), np.array([1, 1, 2, 2]))
    assert scored.measure()["napfd"] == pytest.approx(napfd(np.array([1, 0]), np.array([0.9, 0.1])))


def test_interval_of_clustered_rows_is_wider_than_of_independent_ones():
    random = np.random.default_rng(1)
    bad = random.random(40) < 0.3
    group = np.arange(40).repeat(50)
    target = (random.random(2000) < np.where(bad, 0.9, 0.1)[group]).astype(int)
    score = random.random(2000) * 0.2
    clustered = estimates({"a": Scored(target, score, group)}, None, 200, 3)[0]["a"]["brier"]
    independent = estimates({"a": Scored(target, score, np.arange(2000))}, None, 200, 3)[0]["a"]["brier"]
    assert clustered.high - clustered.low > independent.high - independent.low


def test_gains_are_paired_and_positive_where_better():
    random = np.random.default_rng(2)
    group = np.arange(30).repeat(30)
    target = (random.random(900) < 0.3).astype(int)
    good = np.clip(target * 0.4 + random.random(900) * 0.6, 0, 1)
    worse = np.clip(target * 0.1 + random.random(900) * 0.9, 0, 1)
    scores = {"good": Scored(target, good, group), "worse": Scored(target, worse, group)}
    _, gains = estimates(scores, "worse", 200, 5)
    assert all(gains["good"][metric].low > 0 for metric in METRICS)
    _, same = estimates({**scores, "again": scores["worse"]}, "worse", 50, 5)
    assert same["again"]["roc_auc"].low == same["again"]["roc_auc"].high == 0


def test_a_single_group_has_an_unknown_interval():
    rng = np.random.default_rng(3)
    score = rng.random(200)
    scored = Scored((rng.random(200) < score).astype(int), score, np.zeros(200, dtype=int))
    measured, gains = estimates({"model": scored, "champion": scored}, "champion", 50, 1)
    for estimate in (measured["model"]["roc_auc"], gains["model"]["roc_auc"]):
        assert not estimate.is_bounded
        assert "unknown" in str(estimate)
        assert Estimate.model_validate_json(estimate.model_dump_json()) == estimate


def test_the_same_seed_gives_the_same_interval():
    random = np.random.default_rng(4)
    scored = Scored(np.arange(60) % 2, random.random(60), np.arange(60) // 6)
    assert estimates({"a": scored}, None, 50, 9) == estimates({"a": scored}, None, 50, 9)


@pytest.mark.parametrize(
    ("target", "score"), [([], []), ([1, 0], [0.5]), ([1, 0], [0.5, np.nan]), ([0, 0], [0.5, 0.4])]
)
def test_rows_that_cannot_be_measured_are_refused(target, score):
    with pytest.raises(DataError):
        estimates({"a": Scored(np.array(target), np.array(score), np.zeros(len(target)))}, None, 10, 0)
