"""A batch of a model with a feature service: which values it joins, and which rows it sets apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from batching.world import BatchWorld
from one_server import Server, Values

from perennial import model_probe
from perennial.errors import FeaturesUnavailable, UsageError
from perennial.serving import online_features
from perennial.wiring import batch, training, versions

COLUMNS = tuple(f"history:f{number}" for number in range(4))
ROWS = pd.DataFrame(
    {
        "test_id": ["t1", "t2", "t9", "", "t1", "t2"],
        "suite": ["s"] * 6,
        "cycle_size": [50, 50, 50, 50, None, 60],
        "requested_at": ["2015-12-01T10:00:00Z"] * 5 + ["2015-12-02T10:00:00Z"],
        "note": list("abcdef"),
    }
)


@pytest.fixture
def world(tmp_path, monkeypatch):
    for name in ("PERENNIAL_PROJECT", "PERENNIAL_HOME", "PERENNIAL_TRUSTED_KEYS", "PERENNIAL_ACTOR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(versions, "registry", None)
    monkeypatch.setattr(model_probe, "model_problem", None)
    world = BatchWorld(tmp_path, inputs=None, task=None, service="svc", columns=COLUMNS)
    world.enter()
    world.values = Values()
    monkeypatch.setattr(online_features, "OnlineFeatures", lambda folder, online_store=None: world.values)
    ROWS.to_csv(tmp_path / "in.csv", index=False)
    return world


def test_the_newest_values_give_the_answers_of_the_endpoint(world, capsys):
    out = world.folder / "out.csv"
    assert world.batch(world.folder / "in.csv", out, "--newest", "--keep", "note", "--json") == 0
    assert '"features": "newest"' in capsys.readouterr().out
    scored = pd.read_csv(out)
    assert scored["note"].tolist() == ["a", "b", "f"]
    server = Server(world.folder / "server")
    server.hold(world.version)
    served = [
        server.predict(entities=[{"test_id": test, "suite": "s"}]).json()["predictions"][0]["score"]
        for test in ("t1", "t2", "t2")
    ]
    assert scored["score"].tolist() == pytest.approx(served, rel=1e-6)
    assert [asked["cycle_size"] for asked in world.values.asked[:3]] == [50, 50, 50]
    assert world.values.asked[-1]["requested_at"] > world.values.asked[0]["requested_at"]
    rejected = pd.read_csv(world.folder / "out.rejected.csv", keep_default_na=False)
    assert rejected[["row", "column", "value", "reason"]].values.tolist() == [
        [3, "test_id", "t9", "no features are known for it"],
        [4, "test_id", "", "a value is needed"],
        [5, "cycle_size", "", "a value is needed: the training data had no missing one"],
    ]


def test_a_time_or_number_that_no_request_may_have_is_a_bad_row(world):
    times = ["2015-12-01T10:00:00Z", "1600-01-01T00:00:00Z", "2400-01-01T00:00:00Z", "2015-12-01T10:00:00Z"]
    rows = pd.DataFrame(
        {"test_id": "t1", "suite": "s", "cycle_size": [50, 50, 50, 1e18], "requested_at": times}
    )
    rows.to_csv(world.folder / "in.csv", index=False)
    assert world.batch(world.folder / "in.csv", world.folder / "out.csv", "--newest") == 0
    rejected = pd.read_csv(world.folder / "out.rejected.csv")
    assert rejected[["row", "column", "reason"]].values.tolist() == [
        [2, "requested_at", "a time must be from 1970 to 2099"],
        [3, "requested_at", "a time must be from 1970 to 2099"],
        [4, "cycle_size", "it must be at most 1e+15"],
    ]


def test_the_column_of_as_of_is_a_time(world, capsys):
    line = world.folder / "in.csv", world.folder / "out.csv"
    assert world.batch(*line, "--as-of", "cycle_size") == UsageError.exit_code
    assert "cycle_size" in capsys.readouterr().err
    assert not list(world.folder.glob("out*"))


def test_a_store_without_a_feature_of_the_model_is_an_error_and_no_missing_value(world, monkeypatch, capsys):
    columns = world.values.columns

    def without(service, given):
        read = columns(service, given)
        del read.columns["f3"]
        return read

    monkeypatch.setattr(world.values, "columns", without)
    line = world.folder / "in.csv", world.folder / "out.csv", "--newest"
    assert world.batch(*line) == FeaturesUnavailable.exit_code
    assert "lacks f3" in capsys.readouterr().err


def test_it_must_be_said_which_values_count(world, capsys):
    line = world.folder / "in.csv", world.folder / "out.csv"
    assert world.batch(*line) == UsageError.exit_code
    assert "--newest" in capsys.readouterr().err
    assert world.batch(*line, "--newest", "--as-of", "requested_at") == UsageError.exit_code
    assert not list(world.folder.glob("out*"))


def test_values_as_of_a_time_are_those_of_training(world, monkeypatch):
    days = pd.to_datetime(["2015-12-01T00:00:00Z", "2015-12-02T00:00:00Z"])
    history = pd.DataFrame({"test_id": ["t1", "t2", "t2"], "at": days[[0, 0, 1]], "value": [1.0, 0.5, 0.75]})

    class Store:
        def join(self, features, rows, views):
            table = views["history"]
            known = [
                table[(table["test_id"] == test) & (table["at"] <= at)]["value"].max()
                for test, at in zip(rows["test_id"], rows["event_timestamp"], strict=True)
            ]
            return rows.assign(**dict.fromkeys(features.stored, np.array(known, dtype=float)))

    source = dataclasses.make_dataclass("Source", ["read"])(lambda: None)
    prepared = dataclasses.make_dataclass("Prepared", ["views"])({"history": history})
    monkeypatch.setattr(training, "source", lambda spec, settings: source)
    monkeypatch.setattr(training, "preparation", lambda spec: lambda table: prepared)
    monkeypatch.setattr(training, "features", lambda settings: Store())
    assert batch.training is training
    out = world.folder / "out.csv"
    assert world.batch(world.folder / "in.csv", out, "--as-of", "requested_at", "--keep", "note") == 0
    scored = pd.read_csv(out).set_index("note")["score"]
    sums = {"a": 4.0, "b": 2.0, "f": 3.0}
    assert scored.to_dict() == pytest.approx({note: 1 / (1 + np.exp(-total)) for note, total in sums.items()})
    rejected = pd.read_csv(world.folder / "out.rejected.csv", keep_default_na=False)
    assert rejected["row"].tolist() == [3, 4, 5]
    assert rejected["reason"][0] == "nothing is known of it at any time"
