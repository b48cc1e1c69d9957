"""Smaller networks made of a trained one: cut, or taught by its answers, for each kind of task."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.tasks import Multiclass, Ranking, Regression
from perennial.core.training.variants import Lessons, NotMade
from perennial.models.base import Examples
from perennial.models.templates.forest import Forest
from perennial.models.templates.table_network import TableNetwork
from perennial.models.test_failure_predictor import TestFailurePredictor
from perennial.models.variants import distilled, pruned

NAMES = ("a", "b", "c")
PARAMETERS = {
    "width": 32,
    "layers": 2,
    "bins": 4,
    "dropout": 0.05,
    "learning_rate": 5e-3,
    "weight_decay": 1e-3,
}
TASKS = {
    "ranking": Ranking(kind="ranking", threshold=0.5),
    "multiclass": Multiclass(kind="multiclass", classes=("low", "middle", "high")),
    "regression": Regression(kind="regression", unit="m", tolerance=0.5),
}


def lessons(kind: str) -> Lessons:
    random = np.random.default_rng(11)
    features = random.normal(size=(240, 3)).astype(np.float32)
    number = features[:, 0] + np.abs(features[:, 1])
    target = {"ranking": number > 0.7, "multiclass": np.digitize(number, [0.3, 1.3]), "regression": number}[
        kind
    ]
    rows = Examples(features, target.astype(np.float32), np.arange(240))
    early = np.arange(240) < 180
    return Lessons(rows.where(early), rows.where(~early), rows)


@pytest.fixture(scope="module")
def teachers():
    made = {}
    for kind, task in TASKS.items():
        made[kind] = TableNetwork(NAMES, PARAMETERS, 7, task)
        made[kind].fit(lessons(kind).training, None, 10, lambda *_: None)
    return made


@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("recipe", [pruned, distilled])
def test_a_smaller_network_answers_nearly_alike(teachers, recipe, kind, tmp_path):
    teacher, rows = teachers[kind], lessons(kind)
    before = teacher.predict(rows.training.features)
    smaller = recipe(teacher, rows, 10)
    assert smaller.parameter_count() < 0.6 * teacher.parameter_count()
    after = smaller.predict(rows.training.features)
    assert after.shape == before.shape
    task = TASKS[kind]
    change = task.change(before, after, task.scale(rows.training.target))
    assert np.median(change) < 0.2
    assert np.array_equal(teacher.predict(rows.training.features), before), "the teacher stays as it was"
    if kind == "ranking":
        again = recipe(teacher, rows, 10)
        assert np.array_equal(again.predict(rows.training.features), after)


def test_what_cannot_be_cut_or_taught_says_why(teachers):
    rows = lessons("ranking")
    forest = Forest(NAMES, {}, 7, TASKS["ranking"])
    with pytest.raises(NotMade, match="forest/1 is no network of PyTorch"):
        pruned(forest, rows, 2)
    predictor = TestFailurePredictor(
        NAMES, {**PARAMETERS, "members": 2, "rank_weight": 1.0, "batch": 64}, 7, TASKS["ranking"]
    )
    predictor.fit(rows.training, None, 1, lambda *_: None)
    with pytest.raises(NotMade, match="learns from the targets of the data only"):
        distilled(predictor, rows, 2)
    assert pruned(predictor, rows, 1).parameter_count() < predictor.parameter_count()
