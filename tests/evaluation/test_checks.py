"""The checks of the gate as functions of rows and scores."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.evaluation import checks
from perennial.core.evaluation.checks import Case
from perennial.core.tasks import Ranking
from perennial.core.verdict import Verdict

TASK = Ranking(threshold=0.5)


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


def test_thousands_of_features_take_extremes_in_blocks():
    rows = checks.hostile_rows(np.full(3000, 5.0, dtype=np.float32))
    assert len(rows) == len(checks.EXTREMES) * (1 + checks.ALONE)
    assert np.isinf(rows).any(axis=0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.001, 1.001])
def test_safety(bad):
    rows = checks.hostile_rows(np.zeros(3, dtype=np.float32))
    scores = np.full(len(rows), 0.5)
    assert checks.judge_safety(TASK, ("a", "b", "c"), rows, scores).verdict is Verdict.PASS
    scores[7] = bad
    judged = checks.judge_safety(TASK, ("a", "b", "c"), rows, scores)
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
    assert checks.judge_change("noise", TASK.change(before, before + 0.04, 1.0), 0.05).verdict is Verdict.PASS
    assert checks.judge_change("noise", TASK.change(before, before - 0.06, 1.0), 0.05).verdict is Verdict.FAIL
