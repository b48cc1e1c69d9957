"""The failure predictor learns, repeats itself, takes missing and absurd values, and exports what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from perennial.core.tasks import Ranking
from perennial.core.training.examples import Examples
from perennial.errors import DataError
from perennial.models.test_failure_predictor import TestFailurePredictor

TASK = Ranking(threshold=0.5)
pytestmark = pytest.mark.slow

NAMES = ("failure_rate", "run_count", "last_execution_status", "weekday")
PARAMETERS = {
    "width": 16,
    "layers": 1,
    "members": 4,
    "bins": 8,
    "dropout": 0.1,
    "learning_rate": 4e-3,
    "weight_decay": 1e-2,
    "rank_weight": 1.0,
    "batch": 128,
}


def examples(seed: int, groups: range = range(40), rows: int = 40) -> Examples:
    random = np.random.default_rng(seed)
    size = len(groups) * rows
    rate = random.random(size)
    features = np.stack(
        [rate, random.lognormal(3, 2, size), random.integers(0, 2, size), random.integers(0, 7, size)], axis=1
    ).astype(np.float32)
    target = (random.random(size) < rate).astype(np.float32)
    features[random.random(features.shape) < 0.1] = np.nan
    return Examples(features, target, np.array(groups).repeat(rows).astype(np.int64))


def fitted(seed: int = 3, epochs: int = 6) -> TestFailurePredictor:
    model = TestFailurePredictor(NAMES, PARAMETERS, seed, TASK)
    model.fit(examples(1), None, epochs, lambda *_: None)
    return model


@pytest.fixture(scope="module")
def model() -> TestFailurePredictor:
    return fitted()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model.export(path)
    return path


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])


def test_learns_what_can_be_learnt(model):
    later = examples(2, range(40, 60))
    measured = TASK.scored(later.target, model.predict(later.features), later.group).measure()
    assert measured["roc_auc"] > 0.75
    assert measured["brier"] < 0.23


def test_the_same_seed_gives_the_same_model(model):
    rows = examples(2).features
    assert np.array_equal(model.predict(rows), fitted().predict(rows))
    assert not np.array_equal(model.predict(rows), fitted(seed=4).predict(rows))


@pytest.mark.parametrize("batch", [1, 2, 777])
def test_export_answers_the_same_for_any_batch(model, session, batch):
    rows = examples(5).features[:batch]
    assert np.abs(session.run(["score"], {"features": rows})[0] - model.predict(rows)).max() <= 1e-5


def test_export_takes_what_training_never_saw(model, session):
    rows = np.array(
        [
            [np.nan] * 4,
            [1e30, -1e30, 99, -5],
            [np.inf, -np.inf, 1, 3],
        ],
        dtype=np.float32,
    )
    answers = session.run(["score"], {"features": rows})[0]
    assert np.isfinite(answers).all()
    assert ((answers >= 0) & (answers <= 1)).all()
    assert np.abs(answers - model.predict(rows)).max() <= 1e-5


def test_export_repeats_itself(exported, tmp_path):
    fitted().export(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_validation_keeps_the_best_epoch_and_stops():
    told: list[dict[str, float]] = []
    measured: list[dict[str, float]] = []
    model = TestFailurePredictor(NAMES, {**PARAMETERS, "learning_rate": 2e-2}, 3, TASK)
    later = examples(2, range(40, 60))

    def measure() -> dict[str, float]:
        return TASK.scored(later.target, model.predict(later.features), later.group).measure()

    def progress(_, metrics):
        told.append(dict(metrics))
        measured.append(measure())

    kept = model.fit(examples(1), later, 30, progress)
    losses = [one["validation_loss"] for one in told]
    assert kept == int(np.argmin(losses)) + 1
    assert len(told) < 30
    assert measure()["roc_auc"] == pytest.approx(measured[kept - 1]["roc_auc"])


def test_a_column_without_any_value_is_no_harm():
    rows = examples(1)
    rows.features[:, 1] = np.nan
    model = TestFailurePredictor(NAMES, PARAMETERS, 3, TASK)
    model.fit(rows, None, 1, lambda *_: None)
    assert np.isfinite(model.predict(examples(2).features)).all()


def test_one_verdict_only_is_refused():
    rows = examples(1)
    only = rows.where(rows.target == 0)
    with pytest.raises(DataError, match="one verdict"):
        TestFailurePredictor(NAMES, PARAMETERS, 3, TASK).fit(only, None, 1, lambda *_: None)


def test_every_suggestion_can_be_trained():
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    rows = examples(1, range(10))
    for _ in range(3):
        parameters = TestFailurePredictor.suggest(study.ask())
        model = TestFailurePredictor(NAMES, parameters, 1, TASK)
        model.fit(rows, None, 1, lambda *_: None)
        assert model.parameter_count() > 0
