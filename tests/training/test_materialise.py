"""History -> feature store, over the in-memory fake, and the commands over Feast."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from doubles.features import MemoryFeatures
from training_world import HISTORY as LONG
from training_world import TrainingWorld

from perennial import catalog, cli
from perennial.errors import DatasetMissing, ValidationFailed
from perennial.flows.training import materialise
from perennial.history.prepare import SUITE_VIEW, TEST_VIEW, prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.history.store import HistorySource, HistoryStore

SPEC = catalog.spec("test_failure_predictor")
COUNT = SPEC.features.model_copy(update={"columns": (f"{TEST_VIEW}:run_count",)})
HISTORY = simulate(SimulationScenario(cycles=12, tests=10))


class Recorded(MemoryFeatures):
    """The fake, remembering what was pushed."""

    def __init__(self):
        super().__init__({TEST_VIEW: ["test_id"], SUITE_VIEW: ["suite"]})
        self.pushed = []

    def push(self, views):
        self.pushed.append(views)
        super().push(views)


def until(cycle):
    return HISTORY[HISTORY["cycle"] <= cycle]


def runs(features, test):
    return features.online(COUNT, [{"test_id": test}])[0]["run_count"]


def test_publish_brings_the_whole_history_online():
    features = Recorded()
    done = materialise.publish(SPEC, lambda: HISTORY, prepare, features)
    assert done.last == HISTORY["cycle"].max()
    assert done.rows[TEST_VIEW] == len(prepare(HISTORY).views[TEST_VIEW])
    test = HISTORY["test_id"].iloc[-1]
    assert runs(features, test) == HISTORY[HISTORY["test_id"] == test]["cycle"].nunique()
    assert features.pushed == []


def test_cycles_that_come_in_during_a_publication_are_not_lost():
    features, loads = Recorded(), iter([until(8), HISTORY])
    done = materialise.publish(SPEC, lambda: next(loads), prepare, features)
    assert done.last == HISTORY["cycle"].max()
    for test in HISTORY["test_id"].unique():
        assert runs(features, test) == HISTORY[HISTORY["test_id"] == test]["cycle"].nunique()


def test_checked_tables_are_published_and_others_not(tmp_path):
    world = TrainingWorld(tmp_path)
    world.prepare()
    features = Recorded()
    assert set(materialise.publish_checked(SPEC, world.work, features)) == {TEST_VIEW, SUITE_VIEW}
    test = LONG["test_id"].iloc[-1]
    assert runs(features, test) == LONG[LONG["test_id"] == test]["cycle"].nunique()
    before = json.loads(world.work.validation.read_text())
    world.work.validation.write_text(json.dumps(before | {"revision": "0" * 40}))
    with pytest.raises(ValidationFailed, match="was not checked"):
        materialise.publish_checked(SPEC, world.work, features)
    view = world.work.views / f"{SUITE_VIEW}.parquet"
    view.write_bytes(view.read_bytes() + b"x")
    with pytest.raises(ValidationFailed, match="not the files"):
        materialise.publish_checked(SPEC, world.work, features)


def test_push_takes_the_last_cycle_or_those_since_one():
    features = Recorded()
    features.publish(prepare(until(8)).views)
    materialise.push(SPEC, HISTORY, prepare, features)
    last = HISTORY[HISTORY["cycle"] == HISTORY["cycle"].max()]["test_id"]
    assert set(last) <= set(features.pushed[0][TEST_VIEW]["test_id"])
    assert len(features.pushed[0][SUITE_VIEW]) < 4
    materialise.push(SPEC, HISTORY, prepare, features, since=9)
    for test in HISTORY["test_id"].unique():
        assert runs(features, test) == HISTORY[HISTORY["test_id"] == test]["cycle"].nunique()
    with pytest.raises(DatasetMissing, match="999"):
        materialise.push(SPEC, HISTORY, prepare, features, since=999)


def test_the_commands_publish_push_and_show(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    store = HistoryStore(tmp_path / "history")
    store.append(
        SPEC.data.history, until(11), HistorySource(source="simulator", why="test", at=datetime.now(UTC))
    )
    test = HISTORY["test_id"].iloc[-1]
    show = ["features", "show", SPEC.name, "--entity", f"test_id={test}", "--entity", "suite=ci", "--json"]
    show += ["--request", "cycle_size=3"]

    assert cli.main(show) == 57
    assert cli.main(["features", "publish", SPEC.name]) == 0
    assert "known up to cycle 11" in capsys.readouterr().out
    assert cli.main(show) == 0
    before = json.loads(capsys.readouterr().out)
    assert list(before) == list(SPEC.features.names)

    store.append(
        SPEC.data.history, HISTORY, HistorySource(source="simulator", why="test", at=datetime.now(UTC))
    )
    assert cli.main(["features", "push", SPEC.name]) == 0
    capsys.readouterr()
    assert cli.main(show) == 0
    assert json.loads(capsys.readouterr().out)["run_count"] == before["run_count"] + 1

    nobody = [part.replace(f"test_id={test}", "test_id=nobody") for part in show]
    assert cli.main(nobody) == 33
    assert "nobody" in capsys.readouterr().err
    assert cli.main(show[:5]) == 2
    assert cli.main(["features", "push", SPEC.name, "--since-cycle", "999"]) == 21
    assert cli.main(["features", "publish", "no_such_model"]) == 31
