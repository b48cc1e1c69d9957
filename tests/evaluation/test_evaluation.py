"""An evaluation names its figures as the gate reads them."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.evaluation.evaluation import CHAMPION, MODEL, evaluate_scores
from perennial.core.tasks import Ranking, Scored
from perennial.core.training.examples import first_later_group
from perennial.errors import DataError

TASK = Ranking(threshold=0.5)
GROUP = np.arange(40).repeat(10)


def scored(strength: float, seed: int = 0) -> Scored:
    random = np.random.default_rng(seed)
    target = (random.random(400) < 0.3).astype(int)
    noise = np.random.default_rng(seed + 1).random(400)
    return TASK.scored(target, np.clip(strength * target + (1 - strength) * noise, 0, 1), GROUP)


def evaluation(**others):
    scores = {MODEL: scored(0.4), **others}
    slices = {"kind": np.where(np.arange(400) < 380, "common", "rare")}
    return evaluate_scores("d" * 64, scores, slices, "roc_auc", 100, 50, 1)


def test_names_for_the_gate():
    flat = evaluation(champion=scored(0.2), dull=scored(0.0)).flat()
    assert {"holdout.roc_auc", "holdout.roc_auc.low", "champion.roc_auc", "baseline.dull.brier"} <= set(flat)
    assert flat["delta.roc_auc.low"] <= flat["delta.roc_auc"] <= flat["delta.roc_auc.high"]
    assert flat["delta.roc_auc"] == pytest.approx(flat["holdout.roc_auc"] - flat["champion.roc_auc"])
    assert flat["delta.brier"] == pytest.approx(flat["champion.brier"] - flat["holdout.brier"])
    assert flat["slice.worst_delta"] > 0


def test_without_champion_there_is_no_delta():
    flat = evaluation(dull=scored(0.0)).flat()
    assert not [name for name in flat if name.startswith(("delta", "champion", "slice"))]


def test_small_slices_are_left_out():
    found = evaluation(**{CHAMPION: scored(0.2)}).slices
    assert [(one.value, one.rows) for one in found] == [("common", 380)]


def test_split_keeps_groups_whole_and_both_sides_filled():
    assert first_later_group(np.array([1, 1, 2, 5, 5, 9]), 0.5) == 5
    with pytest.raises(DataError):
        first_later_group(np.array([3, 3, 3]), 0.7)


def test_baseline_puts_the_unknown_in_the_middle():
    assert TASK.from_feature(np.array([np.nan, 1.0]), np.array([0.0, 0.5])).tolist() == [0.25, 1.0]
    with pytest.raises(DataError, match="no rate"):
        TASK.from_feature(np.array([7.0]), np.array([0.5]))
    with pytest.raises(DataError, match="missing in all"):
        TASK.from_feature(np.array([0.5]), np.array([np.nan]))
