"""Prediction intervals of a regression: valid on new rows, refused on too few, part of every answer."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from perennial import catalog
from perennial.core.evaluation.evaluation import MODEL, evaluate_scores
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Regression
from perennial.core.tasks.conformal import absolute_quantile
from perennial.errors import DataError

TASK = Regression(unit="kg", interval=0.9)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_interval_of_few_rows_still_holds_the_next_value_as_often_as_it_says(level):
    """Over 4000 calibrations of 29 rows with heavy tails: at least the level, and at most 1 / 30 above it."""
    random = np.random.default_rng(3)
    errors = random.standard_t(2, (4000, 30))
    held = [abs(row[-1]) <= absolute_quantile(row[:-1], level) for row in errors]
    noise = 3 * np.sqrt(level * (1 - level) / len(held))
    assert level - noise <= np.mean(held) <= level + 1 / 30 + noise


def test_too_few_rows_are_refused_with_the_number_that_is_needed():
    absolute_quantile(np.arange(9.0), 0.9)
    with pytest.raises(DataError, match="8 calibration rows cannot prove an interval of 90%: at least 9"):
        absolute_quantile(np.arange(8.0), 0.9)


def test_an_answer_carries_its_interval_and_only_a_calibrated_one():
    answer = np.array([1.0, 2.0], dtype=np.float32)
    assert TASK.fields(answer) == [{"value": 1.0}, {"value": 2.0}]
    calibrated = TASK.calibrated(np.zeros(20), np.linspace(-2, 2, 20))
    assert calibrated.half_width == 2.0
    assert calibrated.fields(answer)[1] == {"value": 2.0, "interval": {"low": 0.0, "high": 4.0, "level": 0.9}}
    assert calibrated.as_specified() == TASK
    assert calibrated.right(answer, np.array([-1, -1]), np.array([2.9, 4.1])).tolist() == [1.0, 0.0]


def test_the_models_coverage_is_measured_beside_baselines_without_intervals():
    random = np.random.default_rng(1)
    target = random.normal(size=600)
    answer = target + random.normal(0, 0.3, 600)
    calibrated = TASK.calibrated(target[:300], answer[:300])
    group = np.arange(300) // 5
    scores = {
        MODEL: calibrated.scored(target[300:], answer[300:], group),
        "mean": TASK.scored(target[300:], np.zeros(300), group),
    }
    evaluation = evaluate_scores("d" * 64, scores, {}, "rmse", 10, 50, 1)
    assert "coverage" not in evaluation.scores["mean"]
    assert "coverage" not in evaluation.gains["mean"]
    coverage = evaluation.scores[MODEL]["coverage"]
    assert coverage.low < 0.9 < coverage.high
    flat = evaluation.flat()
    assert flat["holdout.interval_width"] == pytest.approx(2 * calibrated.half_width)
    assert flat["holdout.coverage.low"] == coverage.low


def test_a_spec_cannot_state_what_a_training_measures():
    content = catalog.spec("test_failure_predictor").model_dump()
    content["task"] = TASK.model_copy(update={"half_width": 1.0}).model_dump()
    with pytest.raises(ValidationError, match="only a training may write"):
        ModelSpec.model_validate(content)
    with pytest.raises(ValidationError, match="name a tolerance, an interval, or both"):
        Regression(unit="kg")
