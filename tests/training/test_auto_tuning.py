"""`tuning: auto`: kinds of model compete in one search, the best is packaged, and the leaderboard is kept."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from sklearn import datasets

from perennial.core.spec import TuningSpec
from perennial.core.tasks import Regression
from perennial.core.training.artifacts import Trial
from perennial.core.training.examples import Examples
from perennial.core.training.leaderboard import leaderboard
from perennial.core.training.templates import TEMPLATES
from perennial.flows.training.blend import blend
from perennial.flows.training.training_data import TimeSplit
from perennial.wiring import training

SMALL = {"trials": 6, "epochs": 5}


def test_the_word_stands_for_a_budget_and_all_templates():
    tuning = TuningSpec.model_validate("auto")
    assert tuning.templates == "auto"
    assert tuning.timeout.total_seconds() == 600
    with pytest.raises(ValueError, match="no template is named magic; templates: network, linear"):
        TuningSpec.model_validate({**tuning.model_dump(), "templates": ["magic"]})


def trial(number: int, template: str, value: float | None) -> Trial:
    return Trial(
        number=number, parameters={"template": template, "x": number}, value=value, pruned=value is None
    )


@pytest.mark.parametrize(("maximise", "order"), [(True, ["b", "a", "c"]), (False, ["a", "b", "c"])])
def test_the_leaderboard_has_the_best_trial_of_each(maximise, order):
    trials = [
        trial(0, "a", 0.3),
        trial(1, "b", 0.5),
        trial(2, "a", 0.2),
        trial(3, "c", None),
        trial(4, "b", 0.7),
    ]
    board = leaderboard(trials, "m", maximise)
    assert [place.template for place in board] == order
    found = {place.template: place for place in board}
    assert found["b"].value == (0.7 if maximise else 0.5)
    assert found["a"].parameters == {"x": 0 if maximise else 2}
    assert (found["c"].value, found["c"].pruned) == (None, 1)
    assert leaderboard([Trial(number=0, parameters={"x": 1}, value=1.0)], "m", True) == []


@pytest.mark.slow
def test_the_best_kind_of_model_is_served(table_world):
    world = table_world("wine", datasets.load_wine(as_frame=True).frame)
    assert world.init("target", "--template", "auto") == 0
    world.budget = SMALL
    evaluation, ref = world.whole_way()
    assert evaluation.scores["model"]["accuracy"].value > 0.85
    training_run = next(run for run in world.tracker.runs.values() if "leaderboard.json" in run.artifacts)
    board = json.loads(training_run.artifacts["leaderboard.json"])
    rows = [dict(zip(board["columns"], row, strict=True)) for row in board["data"]]
    assert {row["template"] for row in rows} - {"blend"} == {"own", *TEMPLATES} - {"network"}
    # its own is the network
    assert "leaderboard.json" in training_run.tags["mlflow.loggedArtifacts"]
    manifest = json.loads((world.work.model / "manifest.json").read_text())
    trained = json.loads((world.work.folder / "train.json").read_text())
    winner = trained["parameters"]["template"]
    assert winner in {row["template"] for row in rows}
    assert manifest["architecture"] == ("table-network/1" if winner == "own" else f"{winner}/1")
    assert f"1. {rows[0]['template']}: log_loss" in "\n".join(world.lines)
    frame = datasets.load_wine(as_frame=True).frame
    answer = world.ask(world.server(ref), frame.drop(columns="target").iloc[0].to_dict())
    assert answer.json()["predictions"][0]["class"] == 0


@pytest.mark.slow
def test_named_templates_compete_with_the_own_model(table_world):
    world = table_world("sugar", datasets.load_diabetes(as_frame=True).frame)
    assert world.init("target", "--template", "forest") == 0
    world.change(lambda content: content["tuning"].update(templates=["linear", "forest"]))
    assert list(training.model_class(world.spec).candidates) == ["own", "linear"]
    assert training.first_trials(world.spec) == [{"template": "own"}, {"template": "linear"}]
    content = yaml.safe_load(world.spec_path.read_text())
    assert content["gate"]["parity"]["share"] == 0.01


@pytest.mark.slow
def test_two_workers_train_the_kinds_of_model(table_world):
    """The model of the project and the templates reach the worker processes."""
    world = table_world("sugar", datasets.load_diabetes(as_frame=True).frame)
    assert world.init("target", "--template", "forest") == 0
    world.change(lambda content: content["tuning"].update(templates=["linear", "forest"]))
    world.budget = {"trials": 4, "epochs": 1, "workers": 2}
    world.prepare()
    world.validate()
    trained = world.train()
    assert trained.trials == 4
    tried = [run.params["template"] for run in world.tracker.runs.values() if "trial" in run.tags]
    assert len(tried) == 4
    assert set(tried) == {"own", "linear"}


class Answers:
    """A model whose answers are the truth plus noise of its own."""

    def __init__(self, names, parameters, seed, task):
        self.parameters = parameters

    def fit(self, train, validation, epochs, progress):
        return 3

    def predict(self, features):
        noise = np.random.default_rng(self.parameters["noise_seed"]).normal(size=len(features))
        return (features[:, 0] + self.parameters["size"] * noise).astype(np.float32)


def blended(sizes, seeds):
    target = np.random.default_rng(1).normal(size=600).astype(np.float32)
    rows = Examples(target[:, None], target, np.arange(600))
    split = TimeSplit(rows, holdout_from=600, calibration_from=600, validation_from=200)
    trials = [
        Trial(
            number=number, parameters={"template": f"t{number}", "size": size, "noise_seed": seed}, value=size
        )
        for number, (size, seed) in enumerate(zip(sizes, seeds, strict=True))
    ]
    said = []
    spec = SimpleNamespace(
        task=Regression(unit="m", tolerance=1.0), features=SimpleNamespace(names=("x",)),
        tuning=TuningSpec.model_validate("auto"), evaluation=SimpleNamespace(group="bucket"),
        gate=SimpleNamespace(improvement=SimpleNamespace(metric="rmse")),
    )  # fmt: skip
    return blend(spec, split, Answers, trials, trials[0], said.append), trials, said


def test_models_that_err_differently_are_blended():
    best, trials, said = blended([1.0, 1.0, 1.0], [1, 2, 3])
    assert best.parameters["template"] == "blend"
    members = json.loads(best.parameters["members"])
    assert {member["parameters"]["template"] for member in members} == {"t0", "t1", "t2"}
    assert sum(member["weight"] for member in members) == pytest.approx(1)
    assert {member["epochs"] for member in members} == {3}
    assert best.value < min(trial.value for trial in trials)
    assert said[0].startswith("blend of")


def test_models_that_err_alike_or_much_worse_are_not():
    same, trials, said = blended([1.0, 1.0], [1, 1])
    assert same is trials[0]
    assert said[0].startswith("no blend")
    worse, trials, _ = blended([0.1, 5.0], [1, 2])
    assert worse is trials[0]
