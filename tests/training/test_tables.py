"""Tables of other people become registered versions that beat an answer without learning, and are served."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from perennial import catalog
from perennial.core.training.examples import first_later_group
from perennial.errors import MalformedInput, ValidationFailed
from perennial.flows.training.workdir import read_table

RANDOM = np.random.default_rng(0)


def mixed(rows: int = 400) -> pd.DataFrame:
    """Sales with every type of column: a key, times, categories, missing values, a constant, and a number."""
    size = RANDOM.normal(10, 3, rows)
    colour = RANDOM.choice(["red", "green", "blue"], rows)
    express = RANDOM.random(rows) < 0.4
    at = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(rows), unit="h")
    chance = 1 / (1 + np.exp(-(size - 10 + 4 * (colour == "red") - 2 * express)))
    returned = np.where(RANDOM.random(rows) < chance, "yes", "no")
    return pd.DataFrame(
        {
            "order id": [f"o{number:05}" for number in range(rows)],
            "sold at": at,
            "size": np.where(RANDOM.random(rows) < 0.1, np.nan, size),
            "colour": colour,
            "express": express,
            "pieces": RANDOM.integers(1, 9, rows),
            "shop": "main",
            "returned": returned,
        }
    )


@pytest.mark.slow
def test_a_binary_table_with_odd_column_names(table_world):
    frame = datasets.load_breast_cancer(as_frame=True).frame
    world = table_world("breast", frame)
    assert world.init("target") == 0
    evaluation, ref = world.whole_way()
    model, baseline = evaluation.scores["model"], evaluation.scores["class_frequency"]
    assert model["roc_auc"].value > 0.97
    assert model["log_loss"].high < baseline["log_loss"].low
    assert ref.version == "1.0.0"
    row = frame.drop(columns="target").iloc[0].to_dict()
    answer = world.ask(world.server(ref), row)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["decision"] == frame["target"].iloc[0]


@pytest.mark.slow
def test_three_classes_by_name(table_world):
    frame = datasets.load_wine(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "barolo", 1: "grignolino", 2: "barbera"})
    world = table_world("wine", frame)
    assert world.init("target") == 0
    evaluation, ref = world.whole_way()
    model, baseline = evaluation.scores["model"], evaluation.scores["class_frequency"]
    assert model["accuracy"].value > 0.9
    assert model["log_loss"].high < baseline["log_loss"].low
    row = frame.drop(columns="target").iloc[0].to_dict()
    answer = world.ask(world.server(ref), row).json()["predictions"][0]
    assert answer["class"] == "barolo"
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_value_in_its_unit(table_world):
    frame = datasets.load_diabetes(as_frame=True).frame
    world = table_world("progression", frame)
    assert world.init("target", "--unit", "points") == 0
    evaluation, ref = world.whole_way()
    model, baseline = evaluation.scores["model"], evaluation.scores["mean"]
    assert model["rmse"].value < 0.85 * baseline["rmse"].value
    assert model["coverage"].value > 0.8
    assert model["r2"].value > 0.25
    row = frame.drop(columns="target").iloc[0].to_dict()
    answer = world.ask(world.server(ref), row).json()["predictions"][0]
    assert 25 < answer["value"] < 346


@pytest.mark.slow
def test_every_type_of_column_from_the_file_to_an_answer(table_world):
    frame = mixed()
    world = table_world("returns", frame)
    assert world.init("returned") == 0
    spec = catalog.spec("returns", world.settings)
    types = {name: given.type.value for name, given in spec.features.inputs.items()}
    assert types == {"size": "float", "colour": "category", "express": "bool", "pieces": "int"}
    assert (spec.data.source.key, spec.data.source.time, spec.data.source.split) == (
        "order id", "sold at", "time",
    )  # fmt: skip
    assert (spec.task.positive, spec.task.negative) == ("yes", "no")
    evaluation, ref = world.whole_way()
    assert evaluation.scores["model"]["roc_auc"].value > 0.75
    rows = read_table(world.work.features, "train")
    assert rows["sold at"].is_monotonic_increasing
    server = world.server(ref)
    given = {"size": None, "colour": "red", "express": True, "pieces": 3}
    red, green = (
        world.ask(server, given | {"colour": colour}).json()["predictions"][0]["score"]
        for colour in ("red", "green")
    )
    assert red > green
    served = world.ask(server, given | {"size": 12.5}).json()["predictions"][0]["score"]
    tensor = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [12.5, 2.0, 1.0, 3.0]}
    datatypes = {"size": "FP64", "colour": "BYTES", "express": "BOOL", "pieces": "INT64"}
    described = server.client.get("/v2/models/returns").json()["inputs"]
    assert {each["name"]: each["datatype"] for each in described} == datatypes
    by_name = [
        {"name": name, "shape": [1], "datatype": datatype, "data": [(given | {"size": 12.5})[name]]}
        for name, datatype in datatypes.items()
    ]
    for inputs in ([tensor], by_name):
        raw = server.client.post("/v2/models/returns/infer", json={"inputs": inputs})
        assert raw.json()["outputs"][0]["data"][0] == pytest.approx(served, abs=1e-6)
    for wrong, named in (
        (given | {"pieces": 1.5}, "pieces is 1.5"),
        (given | {"express": 1}, "express is 1"),
        (given | {"pieces": None}, "a value is needed"),
        (given | {"colour": "gren"}, "colour is 'gren'"),
        (given | {"colour": "gren"}, "nearest of the 3 known: 'green'"),
        (given | {"other": 1}, "other"),
        ({"size": 1.0}, "lacks"),
    ):
        refused = world.ask(server, wrong)
        assert refused.status_code == 400
        assert named in refused.text


def test_an_unknown_category_is_a_missing_one_only_where_the_table_has_missing_ones(table_world):
    frame = mixed()
    frame["shade"] = frame["colour"].mask(frame["pieces"] == 1)
    world = table_world("returns", frame)
    assert world.init("returned") == 0
    inputs = world.spec.features.inputs
    assert (inputs["colour"].missing, inputs["colour"].unknown) == ("refuse", "refuse")
    assert (inputs["shade"].missing, inputs["shade"].unknown) == ("allow", "missing")
    frame.loc[7, "colour"] = "violet"
    frame.to_csv(world.path, index=False)
    world.prepare()
    with pytest.raises(MalformedInput, match="row 7, colour is 'violet'"):
        world.validate()
    world.change(lambda content: content["features"]["inputs"]["colour"].update(unknown="missing"))
    world.prepare()
    assert world.validate().reports[0].ok


def test_equal_rows_stay_on_one_side_and_keep_their_bucket(table_world):
    frame = pd.DataFrame({"a": RANDOM.normal(size=200), "b": RANDOM.normal(size=200)})
    frame["y"] = (frame["a"] + RANDOM.normal(size=200) > 0).astype(int)
    world = table_world("t", pd.concat([frame, frame.iloc[:50]]))
    # A single letter is no name of a model.
    world.name = "twice"
    assert world.init("y") == 0
    world.prepare()
    before = read_table(world.work.examples, "prepare")
    assert (before.groupby(["a", "b"])["bucket"].nunique() == 1).all()
    assert 0 < first_later_group(before["bucket"].to_numpy(), 0.7) < 1000
    more = pd.DataFrame({"a": [9.0], "b": [9.0], "y": [1]})
    pd.concat([more, frame]).to_csv(world.path, index=False)
    world.prepare()
    after = read_table(world.work.examples, "prepare").drop_duplicates().set_index(["a", "b"])["bucket"]
    kept = before.drop_duplicates().set_index(["a", "b"])["bucket"]
    assert after.drop((9.0, 9.0)).sort_index().equals(kept.sort_index())


def test_an_input_that_tells_the_target_is_left_out_and_stops_a_training(table_world):
    frame = mixed()
    frame["refunded"] = frame["returned"].map({"yes": "full", "no": "none"})
    frame["paid back at"] = frame["sold at"] + pd.Timedelta(days=3)
    world = table_world("returns", frame)
    assert world.init("returned") == 0
    assert set(world.spec.features.inputs) == {"size", "colour", "express", "pieces"}
    told = {"type": "category", "missing": "allow", "categories": ["full", "none"], "unknown": "missing"}
    world.change(lambda content: content["features"]["inputs"].update(refunded=told))
    world.prepare()
    with pytest.raises(ValidationFailed, match="refunded: a copy of the target"):
        world.validate()
    world.change(lambda content: content["data"]["source"].update(leakage_accepted=["refunded"]))
    world.prepare()
    assert world.validate().reports[0].ok


def test_init_overwrites_nothing(table_world, capsys):
    world = table_world("returns", mixed())
    assert world.init("returned") == 0
    before = world.spec_path.read_text()
    capsys.readouterr()
    assert world.init("returned") == 2
    assert "is there already" in capsys.readouterr().err
    assert world.spec_path.read_text() == before


def test_data_that_left_its_range_does_not_train(table_world):
    frame = mixed()
    world = table_world("returns", frame)
    assert world.init("returned") == 0
    world.prepare()
    assert world.validate().reports[0].ok
    frame.loc[3, "pieces"] = 9000
    frame.to_csv(world.path, index=False)
    world.prepare()
    with pytest.raises(ValidationFailed, match=r"table\.pieces: expect_column_values_to_be_between"):
        world.validate()
    frame["pieces"] = frame["pieces"].astype(object)
    frame.loc[3, "pieces"] = "many"
    frame.to_csv(world.path, index=False)
    with pytest.raises(MalformedInput, match=r"Line: 5.*many"):
        world.prepare()
