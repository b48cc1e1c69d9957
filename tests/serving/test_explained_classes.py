"""`explain: true` of several classes: the probability of which class, and what is refused."""

from __future__ import annotations

import pytest
import shap  # noqa: F401 loaded here, so that no test waits for it
from one_server import Server
from tiny_models import tiny_version

from perennial.core.tasks import Multiclass, Regression
from perennial.serving import explanation
from perennial.serving.attribution import shapley

BACKGROUND = [[0.0, 0.5, -1.0, 0.25], [1.0, -0.5, 0.0, 0.75], [-0.25, 0.0, 0.5, 0.0]]
FLOWERS = Multiclass(classes=("setosa", "virginica", 3))
BOTH = [{"test_id": "t1", "suite": "s"}, {"test_id": "t2", "suite": "s"}]
"""Entities of which the first is a setosa; the others are as probable as each other for the second."""


def server_of(folder, task, background=BACKGROUND):
    server = Server(folder / "serving")
    server.hold(tiny_version(folder, "tiny", "1.0.0", 0.0, "tiny_service", background, task))
    return server


@pytest.fixture
def server(tmp_path):
    return server_of(tmp_path, FLOWERS)


def total(prediction):
    return prediction["explained"]["base"] + sum(prediction["attributions"].values())


def test_each_row_explains_the_probability_of_its_own_class(server):
    answer = server.predict(explain=True, entities=BOTH)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["explanation"]["of"] == "probability"
    assert body["explanation"]["gap"] <= body["explanation"]["tolerance"]
    assert "base" not in body["explanation"]
    classes = [prediction["class"] for prediction in body["predictions"]]
    assert classes == ["setosa", "virginica"]
    for prediction in body["predictions"]:
        assert prediction["explained"]["class"] == prediction["class"]
        assert total(prediction) == pytest.approx(prediction["probabilities"][prediction["class"]], abs=1e-5)
    first, second = (prediction["explained"]["base"] for prediction in body["predictions"])
    assert first + 2 * second == pytest.approx(1, abs=1e-6)  # the third class is like the second
    assert len(server.log()) == 2


@pytest.mark.parametrize(("named", "key"), [("virginica", "virginica"), (3, "3"), (3.0, "3")])
def test_a_request_may_name_the_class(server, named, key):
    answer = server.predict(explain=True, explain_class=named, entities=BOTH)
    assert answer.status_code == 200, answer.text
    for prediction in answer.json()["predictions"]:
        assert prediction["explained"]["class"] == FLOWERS.classes[int(FLOWERS.label(named))]
        assert total(prediction) == pytest.approx(prediction["probabilities"][key], abs=1e-5)
    against = answer.json()["predictions"][0]["attributions"]["f0"]
    towards = server.predict(explain=True).json()["predictions"][0]["attributions"]["f0"]
    assert against == pytest.approx(-towards / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("task", "changes", "named"),
    [
        (FLOWERS, {"explain": True, "explain_class": "rose"}, "one of 'setosa', 'virginica', 3"),
        (FLOWERS, {"explain": True, "explain_class": ["setosa"]}, "one of 'setosa', 'virginica', 3"),
        (FLOWERS, {"explain": True, "explain_class": None}, "one of 'setosa', 'virginica', 3"),
        (FLOWERS, {"explain_class": "setosa"}, "without explain: true"),
        (Regression(unit="mg", tolerance=1), {"explain": True, "explain_class": 1}, "a regression model"),
    ],
    ids=["unknown", "list", "null", "unasked", "regression"],
)
def test_what_names_no_class_is_400_and_not_logged(tmp_path, task, changes, named):
    server = server_of(tmp_path, task)
    answer = server.predict(**changes)
    assert answer.status_code == 400
    assert named in answer.json()["error"] + answer.json()["hint"]
    assert len(server.log()) == 0


def test_a_class_whose_attributions_do_not_add_up_is_refused(server, monkeypatch):
    def off(*given):
        attributions = shapley(*given)
        attributions.values[1, 0, 1] += 0.01
        return attributions

    monkeypatch.setattr(explanation, "shapley", off)
    answer = server.predict(explain=True, entities=BOTH)
    assert answer.status_code == 422
    assert "miss the score" in answer.json()["error"]
    assert server.predict(entities=BOTH).status_code == 200


def test_a_version_of_before_serves_and_says_that_it_has_no_explanations(tmp_path):
    server = server_of(tmp_path, FLOWERS, background=())
    assert server.predict().json()["predictions"][0]["class"] == "setosa"
    answer = server.predict(explain=True)
    assert answer.status_code == 400
    assert "train again" in answer.json()["hint"]
