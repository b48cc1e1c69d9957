"""A blend is the weighted mean of its members, in one ONNX graph, the same each time."""

from __future__ import annotations

import importlib
import json

import numpy as np
import onnx
import pytest

from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.core.tasks import Binary, Multiclass, Regression
from perennial.core.training.templates import TEMPLATES
from perennial.files import sha256
from perennial.model_probe import model_problem
from perennial.models.base import Examples
from perennial.models.templates.choice import choice_of

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
NETWORK = {"width": 32, "layers": 1, "bins": 4, "dropout": 0.1, "learning_rate": 0.01, "weight_decay": 0.01}
BOOSTING = {
    "learning_rate": 0.1, "max_depth": 3, "min_child": 3, "row_share": 0.8, "column_share": 0.8, "l2": 1.0,
}  # fmt: skip
MEMBERS = [
    {"weight": 0.5, "epochs": 3, "parameters": {"template": "network", **NETWORK}},
    {"weight": 0.3, "epochs": 4, "parameters": {"template": "lightgbm", **BOOSTING}},
    {"weight": 0.2, "epochs": 1, "parameters": {"template": "linear", "regularisation": 1.0}},
]
KINDS = {
    "binary": Binary(threshold=0.5, positive=1, negative=0),
    "multiclass": Multiclass(classes=(0, 1, 2)),
    "regression": Regression(unit="m", tolerance=1.0),
}
NAMES = ("a", "b", "c")


def candidates():
    found = {}
    for name in ("network", "lightgbm", "linear"):
        module, _, kind = TEMPLATES[name].address.partition(":")
        found[name] = getattr(importlib.import_module(module), kind)
    return found


@pytest.fixture(scope="module")
def features():
    rows = RANDOM.normal(size=(300, 3)).astype(np.float32)
    rows[RANDOM.random(rows.shape) < 0.05] = np.nan
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_one_graph_answers_the_weighted_mean(kind, features, tmp_path):
    raw = np.nan_to_num(features).sum(axis=1)
    target = {"binary": raw > 0, "multiclass": np.digitize(raw, [-1, 1]), "regression": raw}[kind]
    rows = Examples(features, target.astype(np.float32), np.arange(len(raw)))
    kinds = candidates()
    parameters = {"template": "blend", "members": json.dumps(MEMBERS)}
    files = []
    for name in ("one.onnx", "two.onnx"):
        model = choice_of(kinds)(NAMES, parameters, 7, KINDS[kind])
        assert model.fit(rows, None, 1, lambda *_: None) == 1
        model.export(tmp_path / name)
        files.append(tmp_path / name)
    assert sha256(files[0]) == sha256(files[1])
    assert model.architecture == "blend/1"
    assert model_problem(files[0].read_bytes()) == ""
    assert not onnx.load(str(files[0])).functions
    files[0].rename(tmp_path / "model.onnx")
    answer = OnnxScorer().score(tmp_path, features)
    assert np.allclose(answer, model.predict(features), atol=1e-5)
    alone = []
    for member in MEMBERS:
        own = dict(member["parameters"])
        single = kinds[own.pop("template")](NAMES, own, 7, KINDS[kind])
        single.fit(rows, None, member["epochs"], lambda *_: None)
        alone.append(member["weight"] * single.predict(features))
    assert np.allclose(answer, np.sum(alone, axis=0), atol=1e-5)
