"""Each reference model of the project goes up to registration with a small budget, from its own spec and data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perennial.adapters.evidently_drift import EvidentlyDrift
from perennial.errors import ValidationFailed
from perennial.flows.training.training_data import load_training_data
from perennial.flows.training.workdir import read_table

MIRROR = "PERENNIAL_DATA_MIRROR"
needs_mirror = pytest.mark.skipif(MIRROR not in os.environ, reason="the real files are in the mirror only")


@pytest.fixture
def reference(table_world):
    """Return the world of a reference model by name."""

    def world(name: str):
        made = table_world(name, pd.DataFrame({"not": ["read"]}))
        mirror = Path(os.environ[MIRROR]) if MIRROR in os.environ else None
        made.budget = {"trials": 1, "epochs": 6}
        made.settings = made.settings.model_copy(update={"data_mirror": mirror})
        return made

    return world


@needs_mirror
@pytest.mark.slow
def test_defects_of_modules(reference):
    world = reference("defect_predictor")
    evaluation, ref = world.whole_way()
    model, baseline = evaluation.scores["model"], evaluation.scores["class_frequency"]
    assert model["roc_auc"].low > 0.65
    assert model["log_loss"].high < baseline["log_loss"].low
    rows = read_table(world.work.examples, "prepare")
    assert rows["project"].value_counts().to_dict() == {
        "JM1": 7720,
        "KC1": 1162,
        "PC3": 1053,
        "PC2": 722,
        "PC1": 679,
    }
    metrics = list(world.spec.features.names)
    # Rows that differ only in metrics that not all projects have are repeated here; none is on both sides.
    assert rows.duplicated(metrics).sum() == 338
    assert (rows.groupby(metrics)["bucket"].nunique() == 1).all()
    answer = world.ask(world.server(ref), dict.fromkeys(metrics, 1.0)).json()["predictions"][0]
    assert answer["decision"] == 0


@needs_mirror
@pytest.mark.slow
@pytest.mark.deep  # half a minute of a core; the tables beside it go the same way
def test_warnings_of_the_later_revision(reference):
    world = reference("warning_acceptance")
    evaluation, ref = world.whole_way()
    model = evaluation.scores["model"]
    assert model["roc_auc"].low > 0.6
    data = load_training_data(world.spec, world.work, None, retrain=False)
    assert data.split.holdout_from == 100  # no file of the later revision trains
    assert not [name for name in data.rows if name.startswith("F71") or "@" in name]
    assert ref.version == "1.0.0"


@needs_mirror
def test_columns_that_hold_the_label_are_named(reference):
    world = reference("warning_acceptance")
    by_the_authors = ["F110", "F115", "F116", "F117", "F120"]
    leaking = [*by_the_authors, "F114", "F119", "F123"]
    assert set(world.spec.data.source.leaking) == set(leaking)
    assert not set(leaking) & set(world.spec.features.names)
    number = {"type": "float", "missing": "refuse"}
    world.change(lambda content: content["features"]["inputs"].update(dict.fromkeys(leaking, number)))
    world.prepare()
    with pytest.raises(ValidationFailed) as caught:
        world.validate()
    assert all(f"{name}: a share of acted-on warnings" in caught.value.message for name in by_the_authors)
    assert all(f"{name}: a" in caught.value.message for name in leaking)
    assert "F146" not in caught.value.message  # the strongest honest input


@needs_mirror
def test_shares_of_warnings_are_named_where_nobody_says_that_they_leak(reference):
    world = reference("warning_acceptance")
    number = {"type": "float", "missing": "refuse"}
    added = dict.fromkeys(world.spec.data.source.leaking, number)

    def left_in(content):
        content["data"]["source"]["leaking"] = {}
        content["features"]["inputs"].update(added)

    world.change(left_in)
    world.prepare()
    world.validate()
    [line] = [line for line in world.lines if line.startswith("leakage: look at")]
    named = {name for name in world.spec.features.names if f" {name} (" in line}
    # F122 has a value per category as F119 has; docs/models/warning_acceptance.md says why it stays.
    assert named == {*added, "F122"}
    assert "F120 (one value for each of F119)" in line
    rows = read_table(world.work.examples, "prepare")
    assert (rows["F120"] == rows["F123"]).all()


@pytest.mark.slow
def test_cultivars_of_wines(reference):
    import shap  # noqa: F401 loaded here, so that its seconds do not count for the server's time limit

    world = reference("wine_cultivar")
    world.budget = {"trials": 3, "epochs": 10}
    evaluation, ref = world.whole_way()
    model, baseline = evaluation.scores["model"], evaluation.scores["class_frequency"]
    assert model["accuracy"].low > 0.8
    assert model["log_loss"].high < baseline["log_loss"].low
    assert evaluation.rows == 51
    assert "leaderboard.json" in world.tracker.runs["run-1"].artifacts
    rows = read_table(world.work.history, "prepare")
    row = rows[list(world.spec.features.names)].iloc[0].astype(float).to_dict()
    answer = world.ask(world.server(ref), row, explain=True)
    assert answer.status_code == 200, answer.text
    prediction = answer.json()["predictions"][0]
    likeliest = max(prediction["probabilities"], key=prediction["probabilities"].get)
    assert prediction["explained"]["class"] == prediction["class"] == likeliest
    whole = prediction["explained"]["base"] + sum(prediction["attributions"].values())
    assert whole == pytest.approx(prediction["probabilities"][likeliest], abs=1e-4)


@pytest.mark.slow
def test_progression_of_diabetes(reference):
    world = reference("diabetes_progression")
    world.budget = {"trials": 3, "epochs": 10}
    evaluation, ref = world.whole_way()
    model, baseline = evaluation.scores["model"], evaluation.scores["mean"]
    assert model["rmse"].high < baseline["rmse"].low
    assert 0.4 < model["r2"].value < 0.6
    assert evaluation.rows == 133
    row = dict.fromkeys(world.spec.features.names, 20.0)
    assert world.ask(world.server(ref), row).status_code == 200


@pytest.mark.slow
def test_digits_in_images(reference):
    world = reference("digits")
    world.budget = {"trials": 1, "epochs": 6}
    evaluation, ref = world.whole_way()
    model = evaluation.scores["model"]
    assert model["accuracy"].low > 0.9
    assert model["log_loss"].high < evaluation.scores["class_frequency"]["log_loss"].low
    row = read_table(world.work.history, "prepare").iloc[0]
    answer = world.ask(world.server(ref), row[list(world.spec.features.names)].astype(float).to_dict())
    assert answer.json()["predictions"][0]["class"] == row["digit"] == 0


@pytest.mark.slow
def test_kinds_of_requirements_from_their_text(reference):
    world = reference("requirement_triage")
    evaluation, ref = world.whole_way()
    model = evaluation.scores["model"]
    assert model["accuracy"].low > 0.75
    assert model["log_loss"].high < evaluation.scores["class_frequency"]["log_loss"].low
    trained = read_table(world.work.features, "train")
    examples = read_table(world.work.examples, "prepare")
    names = list(world.spec.features.names)
    server = world.server(ref)
    texts = examples["text"].tolist()[:20]
    answers = world.ask(server, *[{"text": text} for text in texts]).json()["predictions"]
    # The same text gives the same numbers in training and at a server: by text and by tensor the answers agree.
    rows = trained[names].to_numpy()[:20]
    tensor = {
        "name": "features",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "data": rows.ravel().tolist(),
    }
    raw = server.client.post("/v2/models/requirement_triage/infer", json={"inputs": [tensor]}).json()[
        "outputs"
    ][0]
    served = [list(answer["probabilities"].values()) for answer in answers]
    assert np.array(served).ravel() == pytest.approx(raw["data"], abs=1e-6)
    typed = world.ask(server, {"text": "The app must SHOW invoices within 3 seconds"}).json()["predictions"][
        0
    ]
    assert typed["class"] == "quality"
    watched = read_table(world.work.model / "reference.parquet", "train")
    longer = watched.assign(**{"text#length": watched["text#length"] * 1.5})
    drifts = {drift.column: drift for drift in EvidentlyDrift().compare(world.spec, watched, longer, None)}
    assert drifts["text#length"].excess > world.spec.monitoring.psi.retrain
    assert not drifts["text#vocabulary"].is_proven
    refused = world.ask(server, {"text": "x" * 600})
    assert refused.status_code == 400
    assert "text of row 0" in refused.text
