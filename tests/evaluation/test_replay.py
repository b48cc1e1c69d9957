"""Logged requests through a candidate, and the features that it would have been trained with."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import count

import numpy as np
import pandas as pd
import pytest
from training_world import HISTORY, SPEC, TrainingWorld

from perennial import catalog
from perennial.cli import main
from perennial.errors import DataError, DatasetMissing, UnknownVersion
from perennial.flows.evaluation.offline_features import OfflineSource, request_rows
from perennial.flows.evaluation.replay import ReplayPorts, replay_requests
from perennial.history.prepare import prepare as make

pytestmark = pytest.mark.slow

ROWS = 400


class Log:
    """A PredictionLog of what the champion answered to the last examples of the history."""

    def __init__(self, trained_world: TrainingWorld) -> None:
        examples = make(HISTORY).examples.tail(ROWS).reset_index(drop=True)
        joined = trained_world.features.join(SPEC.features, examples, make(HISTORY).views)
        values = joined[list(SPEC.features.names)].astype("float32").astype(float)
        scores = trained_world.scorer.score(
            trained_world.work.model, values.to_numpy(dtype=np.float32)
        ).astype(float)
        entities = zip(examples["test_id"], examples["suite"], strict=True)
        seconds = [one.timestamp() for one in examples["requested_at"]]
        contexts = zip(examples["cycle_size"], seconds, strict=True)
        self.frame = pd.DataFrame(
            {
                "prediction_id": [f"p{place}" for place in range(ROWS)],
                "request_id": [f"q{cycle}" for cycle in examples["cycle"]],
                "at": examples["event_timestamp"] + timedelta(days=400),
                "version": "1.0.0",
                "digest": "champion",
                "shadow": False,
                "entity": [json.dumps({"test_id": test, "suite": suite}) for test, suite in entities],
                "context": [
                    json.dumps({"cycle_size": int(size), "requested_at": at}) for size, at in contexts
                ],
                "score": scores,
                "decision": (scores >= 0.5).astype(int),
                "latency_ms": 1.0,
                "names": json.dumps(SPEC.features.names),
                **{f"feature:{name}": values[name] for name in SPEC.features.names},
            }
        )

    def forget(self, feature: str) -> None:
        """As if the versions that answered took no such feature."""
        self.frame = self.frame.drop(columns=f"feature:{feature}")
        self.frame["names"] = json.dumps([name for name in SPEC.features.names if name != feature])

    def read(self, model, since=None):
        return self.frame if since is None else self.frame[self.frame["at"] >= since]


@pytest.fixture(scope="module")
def trained_world(tmp_path_factory):
    made = TrainingWorld(tmp_path_factory.mktemp("training"))
    made.release()
    return made


@pytest.fixture
def log(trained_world):
    return Log(trained_world)


def offline(trained_world, history=lambda: HISTORY) -> OfflineSource:
    return OfflineSource(trained_world.features, history, make)


def run(trained_world, log, folder, source=None, since=None, last=None, version="champion"):
    ticks = count()
    ports = ReplayPorts(
        log,
        trained_world.registry,
        trained_world.scorer,
        source or offline(trained_world),
        lambda: float(next(ticks)),
    )
    return replay_requests(SPEC, version, since, last, ports, folder / "fetched")


def test_the_same_version_agrees_with_itself_and_has_no_skew(trained_world, log, tmp_path):
    found = run(trained_world, log, tmp_path)
    assert (found.answers.changed.value, found.answers.changed.rows) == (0.0, ROWS)
    assert found.answers.shift.largest < 1e-6
    assert found.skew_rows == ROWS
    assert {one.feature: one.differ for one in found.skew} == dict.fromkeys(SPEC.features.names, 0.0)
    assert (found.breaks, found.skew_note) == ((), "")


def test_changed_decisions_by_segment(trained_world, log, tmp_path):
    suites = log.frame["entity"].map(lambda text: json.loads(text)["suite"])
    bad = suites.iloc[0]
    log.frame.loc[suites == bad, "decision"] = 1 - log.frame.loc[suites == bad, "decision"]
    spec_entities = SPEC.features.model_copy(update={"entities": ("test_id", "suite")})
    spec = SPEC.model_copy(update={"features": spec_entities})
    ports = ReplayPorts(
        log, trained_world.registry, trained_world.scorer, offline(trained_world), iter(range(9)).__next__
    )
    found = replay_requests(spec, "champion", None, None, ports, tmp_path / "fetched")
    assert (found.segments[0].column, found.segments[0].value) == ("suite", bad)
    assert found.segments[0].changed.value == 1.0
    assert 0 < found.answers.changed.value <= 1.0


def test_stale_features_are_skew(trained_world, log, tmp_path):
    log.frame["feature:run_count"] -= 1
    log.frame.loc[: ROWS // 4 - 1, "feature:failure_rate"] = np.nan
    found = {one.feature: one for one in run(trained_world, log, tmp_path).skew}
    assert (found["run_count"].differ, found["run_count"].largest) == (1.0, 1.0)
    assert (found["failure_rate"].differ, found["failure_rate"].missing_served) == (0.25, 0.25)
    assert found["last_execution_status"].differ == 0.0


def test_feature_that_was_missing_in_every_row_is_skew_and_no_break(trained_world, log, tmp_path):
    log.frame["feature:failure_rate"] = np.nan
    found = run(trained_world, log, tmp_path)
    assert found.breaks == ()
    worst = found.skew[0]
    assert (worst.feature, worst.rows, worst.missing_served) == ("failure_rate", ROWS, 1.0)
    assert found.answers.shift.largest > 1e-3, "scored as it was asked: with the value missing"


def test_feature_that_one_of_two_answering_versions_has_is_a_break_of_the_others_rows(
    trained_world, log, tmp_path
):
    without = json.dumps([name for name in SPEC.features.names if name != "failure_rate"])
    log.frame.loc[: ROWS // 2 - 1, "names"] = without
    log.frame.loc[: ROWS // 2 - 1, "feature:failure_rate"] = np.nan
    found = run(trained_world, log, tmp_path)
    assert [(one.feature, one.recomputed) for one in found.breaks] == [("failure_rate", True)]
    assert {one.feature: one.rows for one in found.skew}["failure_rate"] == ROWS // 2


def test_feature_that_the_log_lacks_is_a_break_and_recomputed(trained_world, log, tmp_path):
    log.forget("failure_rate")
    found = run(trained_world, log, tmp_path)
    assert [(one.feature, one.recomputed) for one in found.breaks] == [("failure_rate", True)]
    assert found.answers.changed.value == 0.0
    assert {one.feature: one.rows for one in found.skew}["failure_rate"] == 0


def test_without_a_history_a_break_keeps_it_from_being_scored(trained_world, log, tmp_path):
    def nothing():
        raise DatasetMissing("no history", hint="")

    found = run(trained_world, log, tmp_path, offline(trained_world, nothing))
    assert found.answers.changed.rows == ROWS
    assert (found.skew, found.skew_note) == ((), "nothing could be recomputed: no history")
    log.forget("failure_rate")
    found = run(trained_world, log, tmp_path / "again", offline(trained_world, nothing))
    assert (found.answers, found.breaks[0].recomputed) == (None, False)


def test_requests_by_tensor_are_scored_and_not_joined(trained_world, log, tmp_path):
    log.frame.loc[:9, ["entity", "context"]] = "{}"
    found = run(trained_world, log, tmp_path)
    assert (found.answers.changed.rows, found.skew_rows) == (ROWS, ROWS - 10)
    assert found.skew_note.startswith("10 rows")


def test_what_is_taken_from_the_log(trained_world, log, tmp_path):
    log.frame.loc[ROWS - 1, "shadow"] = True
    found = run(trained_world, log, tmp_path, last=50)
    assert found.answers.changed.rows == 50
    assert found.last == log.frame["at"].iloc[ROWS - 2]
    assert found.answered_by == {"1.0.0": 50}
    assert found.scoring.load_ms == 1000.0
    with pytest.raises(DataError, match="nothing was asked"):
        run(trained_world, log, tmp_path / "later", since=log.frame["at"].max() + timedelta(seconds=1))
    with pytest.raises(UnknownVersion):
        run(trained_world, log, tmp_path / "other", version="9.9.9")


def test_without_a_timestamp_among_the_request_values_the_logged_time_counts(log):
    plain = SPEC.features.model_copy(update={"request": {"cycle_size": "int"}})
    assert (request_rows(plain, log.frame)["event_timestamp"] == log.frame["at"]).all()


def test_command(trained_world, log, tmp_path, monkeypatch, capsys):
    class Histories:
        def load(self, name):
            return HISTORY

    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog, "spec", lambda name, settings: SPEC)
    for name, made in (
        ("releasing.prediction_log", log),
        ("versions.registry", trained_world.registry),
        ("training.features", trained_world.features),
        ("training.history_store", Histories()),
    ):
        monkeypatch.setattr(f"perennial.wiring.{name}", lambda settings, made=made: made)
    assert main(["release", "replay", SPEC.name, "champion", "--last", "100"]) == 0
    told = capsys.readouterr().out
    assert "decided otherwise" in told
    assert "training-serving skew over 100 rows" in told
    assert main(["release", "replay", SPEC.name, "champion", "--last", "100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"]["changed"]["value"] == 0.0
    assert main(["release", "replay", SPEC.name, "champion", "--last", "1", "--hours", "2"]) == 2
