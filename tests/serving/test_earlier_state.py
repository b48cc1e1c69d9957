"""A model store, routes and a log that earlier code wrote open in this one, and give what they gave then."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.answers import START
from one_server import Server

from perennial.adapters.envoy import state as envoy_state
from perennial.serving.evidence.answered import AnsweredPredictions
from perennial.serving.prediction_archive import PredictionArchive
from perennial.serving.prediction_log_reader import PredictionLogReader

EARLIER = Path(__file__).parents[1] / "support" / "earlier_state"
ROWS = [0.1, 0.2, 0.3, 0.4, -1, 2, -3, 0.5]


@pytest.fixture
def serving(tmp_path) -> Path:
    return Path(shutil.copytree(EARLIER / "serving", tmp_path / "serving"))


def test_versions_of_both_forms_of_manifest_answer_as_they_did(serving):
    server = Server(serving)
    server.host.converge()
    assert server.host.error == ""
    body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 4], "data": ROWS}]}
    for model, outputs in json.loads((EARLIER / "answers.json").read_text()).items():
        answer = server.client.post(f"/v2/models/{model}/infer", json=body)
        assert answer.status_code == 200, answer.text
        answered = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        assert {name: answered[name] for name in outputs} == {
            name: pytest.approx(values, rel=1e-6) for name, values in outputs.items()
        }


def predictions(log: Path) -> list[dict]:
    frame = PredictionLogReader(log).read("m")
    return json.loads(frame.to_json(orient="records", date_unit="us", double_precision=15))


def test_a_log_of_segments_and_a_journal_is_read_sealed_and_merged_with_every_prediction(serving):
    log = serving / "log"
    written = json.loads((EARLIER / "predictions.json").read_text())
    assert predictions(log) == written
    done = PredictionArchive(log).tidy("m", START + timedelta(days=3), None)
    assert (done.journals, done.merged, done.broken) == (1, 2, 0)
    assert predictions(log) == written
    names = [row["prediction_id"] for row in written if not row["shadow"]]
    assert set(AnsweredPredictions(log).models(names)) == set(names)


def test_confirmed_routes_are_read(serving):
    answered = json.loads((EARLIER / "answers.json").read_text())
    state = envoy_state.read(EARLIER / "envoy" / "routes.json")
    assert set(state.routes) == set(answered)
    assert all((serving / "store" / route.stable.digest).is_dir() for route in state.routes.values())
