"""Every template learns every kind of task it fits on real tables, and its export answers as its library does."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import onnx
import pytest
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier

from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.core.evaluation.checks import EXTREMES
from perennial.core.input_spec import InputKind, InputSpec
from perennial.core.tasks import Binary, Multiclass, Ranking, Regression
from perennial.core.training.templates import TEMPLATES
from perennial.errors import DataError, ModelError, PackageMissing
from perennial.files import sha256
from perennial.model_trial import operator_problem
from perennial.models.base import Examples

pytestmark = pytest.mark.slow

KINDS = {
    "binary": (Binary(threshold=0.5, positive=1, negative=0), datasets.load_breast_cancer, "roc_auc", 0.95),
    "ranking": (Ranking(threshold=0.5), datasets.load_breast_cancer, "roc_auc", 0.95),
    "multiclass": (Multiclass(classes=(0, 1, 2)), datasets.load_wine, "accuracy", 0.9),
    "regression": (Regression(unit="points", tolerance=30.0), datasets.load_diabetes, "r2", 0.3),
}
PARAMETERS = {
    "linear": {"regularisation": 1.0},
    "forest": {"max_features": 0.5, "min_samples_leaf": 2, "max_depth": 10},
    "boosting": {
        "learning_rate": 0.1, "max_depth": 3, "min_child": 3, "row_share": 0.8, "column_share": 0.5, "l2": 1.0,
    },
}  # fmt: skip
LIBRARIES = [name for name in TEMPLATES if name != "network"]


def model_class(name: str):
    module, _, kind = TEMPLATES[name].address.partition(":")
    return getattr(importlib.import_module(module), kind)


def rows_of(kind: str) -> tuple[Examples, Examples, dict[str, InputSpec]]:
    """Real rows, shuffled, with holes in the first column and a category that follows the second."""
    data = KINDS[kind][1]()
    random = np.random.default_rng(0)
    order = random.permutation(len(data.target))
    features = data.data[order].astype(np.float32)
    features[random.random(len(order)) < 0.1, 0] = np.nan
    code = np.digitize(features[:, 1], np.quantile(features[:, 1], [0.3, 0.6])).astype(np.float32)
    code[random.random(len(order)) < 0.05] = np.nan
    features = np.column_stack([features, code]).astype(np.float32)
    rows = Examples(features, data.target[order].astype(np.float32), np.arange(len(order)))
    inputs = {
        f"f{place}": InputSpec(type=InputKind.FLOAT, missing="allow") for place in range(data.data.shape[1])
    }
    inputs["colour"] = InputSpec(
        type=InputKind.CATEGORY, missing="allow", categories=("a", "b", "c"), unknown="missing"
    )
    later = rows.group >= int(0.7 * len(rows))
    return rows.where(~later), rows.where(later), inputs


def fitted(name: str, kind: str, train: Examples, inputs, validation=None, epochs=10):
    parameters = PARAMETERS.get(name, PARAMETERS["boosting"])
    model = model_class(name)(tuple(inputs), parameters, 7, KINDS[kind][0], inputs)
    model.kept = model.fit(train, validation, epochs, lambda *_: None)
    return model


@pytest.fixture(scope="module", params=[(name, kind) for name in LIBRARIES for kind in KINDS], ids="-".join)
def learnt(request, tmp_path_factory):
    """A fitted model, its export and its rows."""
    name, kind = request.param
    train, later, inputs = rows_of(kind)
    model = fitted(name, kind, train, inputs)
    folder = tmp_path_factory.mktemp(name)
    model.export(folder / "model.onnx")
    return model, folder, train, later


def test_it_learns_the_kind_of_task(learnt):
    model, _, _, later = learnt
    task, _, metric, least = KINDS[model.task.kind]
    measured = task.scored(later.target, model.predict(later.features), later.group).measure()
    assert measured[metric] > least


def test_the_export_answers_as_the_library_does(learnt):
    model, folder, train, later = learnt
    features = np.concatenate([train.features, later.features])
    answer = OnnxScorer().score(folder, features)
    bounded = np.clip(features, model.low, model.high)
    assert np.array_equal(bounded, features, equal_nan=True)  # the bounds touch no real row
    if model.task.is_number:
        own = model.native().predict(features)
        moved = np.abs(answer - own) / model.task.scale(train.target)
    else:
        own = model.native().predict_proba(features)
        own = own if model.task.width() else own[:, 1]
        moved = model.task.change(own, answer, 1.0)
    assert answer.dtype == np.float32
    assert answer.shape == own.shape
    assert moved.max() < 1e-4
    assert np.array_equal(model.task.change(model.predict(features), answer, 1.0) < 1e-3, moved < 1e-3)


def test_every_input_has_a_valid_answer(learnt):
    model, folder, train, _ = learnt
    width = len(model.feature_names)
    rows = np.array([np.full(width, value) for value in EXTREMES], dtype=np.float32)
    rows = np.concatenate([rows, *(np.tile(train.features[:1], (width, 1)) for _ in EXTREMES)])
    for place, value in enumerate(EXTREMES):
        block = rows[len(EXTREMES) + place * width :][:width]
        np.fill_diagonal(block, value)
    assert len(model.task.wrong_rows(OnnxScorer().score(folder, rows), len(rows))) == 0


def test_the_file_needs_only_known_operators_and_is_the_same_again(learnt, tmp_path):
    model, folder, train, _ = learnt
    file = onnx.load(str(folder / "model.onnx"))
    assert operator_problem(file) == ""
    assert {node.domain for node in file.graph.node} <= {"", "ai.onnx.ml"}
    again = fitted(model.template, model.task.kind, train, model.inputs)
    again.export(tmp_path / "model.onnx")
    assert sha256(tmp_path / "model.onnx") == sha256(folder / "model.onnx")
    assert model.parameter_count() > 10


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "forest"])
@pytest.mark.parametrize("seed", range(3))
def test_a_row_at_a_threshold_takes_the_same_branch(name, seed, tmp_path):
    """Thresholds lie between neighbours of float32 where trees are deep: rounded up, rows took the other branch."""
    data = datasets.load_diabetes()
    features, target = data.data.astype(np.float32), data.target.astype(np.float32)
    chosen = np.random.default_rng(seed).random(len(target)) < 0.7
    parameters = PARAMETERS["boosting"] | {"max_depth": 6, "min_child": 1}
    model = model_class(name)(
        tuple(data.feature_names), PARAMETERS.get(name, parameters), seed, KINDS["regression"][0]
    )
    rows = Examples(features[chosen], target[chosen], np.arange(chosen.sum()))
    model.fit(rows, None, 40, lambda *_: None)
    model.export(tmp_path / "model.onnx")
    answer = OnnxScorer().score(tmp_path, features)
    assert np.abs(answer - model.predict(features)).max() < 1e-4 * target.std()


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_boosting_stops_where_later_rows_gain_nothing(name, kind):
    train, later, inputs = rows_of(kind)
    model = fitted(name, kind, train, inputs, later, epochs=60)
    assert 1 <= model.kept < 60
    same = fitted(name, kind, train, inputs, epochs=model.kept)
    assert np.array_equal(model.predict(later.features), same.predict(later.features))


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_class_without_training_rows_never_gets_a_share(name, tmp_path):
    train, later, inputs = rows_of("multiclass")
    model = fitted(name, "multiclass", train.where(train.target != 1), inputs, later, epochs=3)
    model.export(tmp_path / "model.onnx")
    answer = OnnxScorer().score(tmp_path, later.features)
    assert np.all(answer[:, 1] == 0)
    assert np.allclose(answer.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_rows_of_one_target_teach_nothing(name):
    train, _, inputs = rows_of("multiclass")
    with pytest.raises(DataError, match="same target"):
        fitted(name, "multiclass", train.where(train.target == 1), inputs)


def test_an_estimator_without_an_export_is_refused_before_it_trains():
    class Histograms(model_class("forest")):
        def estimator(self):
            return HistGradientBoostingClassifier()

    train, _, inputs = rows_of("binary")
    model = Histograms(tuple(inputs), PARAMETERS["forest"], 7, KINDS["binary"][0], inputs)
    with pytest.raises(ModelError, match="HistGradientBoostingClassifier cannot be exported"):
        model.fit(train, None, 1, lambda *_: None)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    kind = model_class("lightgbm")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lightgbm" else find(name))
    with pytest.raises(PackageMissing, match="lightgbm") as raised:
        kind(("a",), {}, 7, KINDS["binary"][0])
    assert "perennial[lightgbm]" in raised.value.hint
    assert raised.value.exit_code == 12


def test_a_template_is_imported_without_its_library():
    before = set(sys.modules)
    model_class("xgboost")
    assert "xgboost" in before or "xgboost" not in sys.modules


def test_numbers_that_are_large_and_near_to_each_other_are_exported_as_they_are_learnt(tmp_path):
    from perennial.models.templates.table_network import TableNetwork

    random = np.random.default_rng(0)
    year, place = random.integers(2019, 2024, 300), 45.5 + random.normal(0, 0.01, 300)
    size = random.normal(10, 5, 300)
    features = np.column_stack([year, place, size]).astype(np.float32)
    target = (3 * (year - 2021) + 100 * (place - 45.5) + random.normal(size=300)).astype(np.float32)
    inputs = {name: InputSpec(type=InputKind.FLOAT, missing="allow") for name in ("year", "place", "size")}
    parameters = {
        "width": 32, "layers": 1, "bins": 8, "dropout": 0.1, "learning_rate": 0.01, "weight_decay": 0.01,
    }  # fmt: skip
    model = TableNetwork(tuple(inputs), parameters, 7, KINDS["regression"][0], inputs)
    model.fit(Examples(features, target, np.arange(300)), None, 10, lambda *_: None)
    model.export(tmp_path / "model.onnx")
    answer = OnnxScorer().score(tmp_path, features)
    assert np.abs(answer - model.predict(features)).max() < 2e-5 * target.std()
    assert model.network.encoder.shift[2] == 0  # other numbers are as they were
