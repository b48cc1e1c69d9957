"""The checks of the gate as functions of rows and scores."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core import checks
from perennial.core.checks import Case
from perennial.core.spec import ChecksSpec
from perennial.core.verdict import Verdict

SPEC = ChecksSpec(noise=0.1, noise_change=0.05, missing=0.1, missing_change=0.1, error_gap=0.1)


def seeded(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("kind", "first", "second", "holds"),
    [
        ("direction", 0.2, 0.3, True),
        ("direction", 0.3, 0.3, False),
        ("minimum", 0.9, 0.1, False),
        ("invariance", 0.3, 0.31, True),
        ("invariance", 0.3, 0.33, False),
        ("invariance", 0.3, np.nan, False),
    ],
)
def test_case(kind, first, second, holds):
    case = Case("a case", kind, {"a": 1.0}, {"a": 2.0, "unknown": 3.0}, tolerance=0.02)
    assert case.rows(("b", "a"))[:, 1].tolist() == [1.0, 2.0]
    assert np.isnan(case.rows(("b", "a"))[:, 0]).all()
    judged = checks.judge_behaviour([case], np.array([[first, second]]))
    assert judged.verdict is (Verdict.PASS if holds else Verdict.FAIL)
    assert ("a case" in judged.observed) is not holds


def test_every_extreme_reaches_every_feature():
    rows = checks.hostile_rows(np.array([5.0, 6.0], dtype=np.float32))
    for place, usual in ((0, 6.0), (1, 5.0)):
        alone = rows[rows[:, 1 - place] == np.float32(usual)][:, place]
        assert np.isnan(alone).any()
        assert {np.inf, -np.inf, -1.0} <= set(alone)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.001, 1.001])
def test_safety(bad):
    rows = checks.hostile_rows(np.zeros(3, dtype=np.float32))
    scores = np.full(len(rows), 0.5)
    assert checks.judge_safety(("a", "b", "c"), rows, scores).verdict is Verdict.PASS
    scores[7] = bad
    judged = checks.judge_safety(("a", "b", "c"), rows, scores)
    assert judged.verdict is Verdict.FAIL
    assert judged.observed.startswith("1 of")


def test_noise_is_of_the_kind_of_its_feature():
    features = np.c_[seeded().normal(0, 10, 500), seeded().integers(0, 7, 500), np.full(500, np.nan)]
    moved = checks.noisy(features.astype(np.float32), 0.5, seeded(1))
    assert 2 < np.std(moved[:, 0] - features[:, 0]) < 8
    assert set(moved[:, 1]) <= set(range(7))
    assert (moved[:, 1] != features[:, 1]).any()
    assert np.isnan(moved[:, 2]).all()
    assert features[:, 0].min() - 1e-3 <= moved[:, 0].min()


def test_holes_are_as_many_as_asked_for():
    holes = checks.with_holes(np.zeros((1000, 10), dtype=np.float32), 0.1, seeded())
    assert np.isnan(holes).mean() == pytest.approx(0.1, abs=0.02)


def test_change_is_judged_by_its_mean():
    before = np.full(100, 0.5)
    assert checks.judge_change("noise", before, before + 0.04, 0.05).verdict is Verdict.PASS
    assert checks.judge_change("noise", before, before - 0.06, 0.05).verdict is Verdict.FAIL


def fairness(rates, rows=4000, min_rows=100, sensitive=True, column="team"):
    random = seeded(2)
    values = random.choice(list(rates), rows)
    wrong = random.random(rows) < np.array([rates[value] for value in values])
    cycles = np.arange(rows) // 40
    return checks.judge_fairness(
        column, values, wrong, cycles, SPEC, min_rows, sensitive, resamples=200, random=seeded(3)
    )


def test_fairness_by_the_gap_of_error_rates():
    assert fairness({"a": 0.2, "b": 0.22}).verdict is Verdict.PASS
    assert fairness({"a": 0.2, "b": 0.5}).verdict is Verdict.FAIL


def test_gap_between_segments_is_shown_not_judged():
    """A test without history is harder to predict for every model: the champion has the same gap."""
    judged = fairness({"new": 0.7, "long": 0.1}, sensitive=False)
    assert (judged.verdict, judged.needed) == (Verdict.PASS, "shown: no sensitive column")
    assert "new 0.7" in judged.observed


def test_gap_that_is_large_and_not_proven_is_unsure():
    judged = fairness({"a": 0.2, "b": 0.27}, rows=240, min_rows=50)
    assert judged.verdict is Verdict.UNSURE, judged.observed


def test_too_few_to_say():
    judged = fairness({"a": 0.2, "b": 0.5}, rows=150)
    assert (judged.verdict, "too few to say" in judged.observed) == (Verdict.UNSURE, True)
    assert fairness({"a": 0.2, "b": 0.5}, rows=150, sensitive=False).verdict is Verdict.PASS


def test_interval_covers_the_true_gap():
    judged = fairness({"a": 0.2, "b": 0.3})
    low, high = judged.observed.split("[")[1].split("]")[0].split(", ")
    assert float(low) < 0.1 < float(high)
