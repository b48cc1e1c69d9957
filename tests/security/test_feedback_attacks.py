"""Attacks with labels: by nobody, by a source for what it may not label, for what was never answered, twice."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from one_server import NOW, Server
from some_source import KEY, source
from tiny_models import tiny_version

from perennial.adapters.sql.store import SqlStore
from perennial.cli import main
from perennial.errors import NotSignedIn, SettingsError
from perennial.flows.feedback.ingest import ingest
from perennial.serving import headers
from perennial.serving.evidence.answered import AnsweredPredictions
from perennial.serving.evidence.sources import FeedbackSources
from perennial.serving.feedback_inbox import FeedbackInbox


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "state")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", bias=0.0, service="tiny_service"))
    return server


@pytest.fixture
def store(tmp_path):
    return SqlStore(f"sqlite:///{tmp_path / 'one.db'}")


def answered(server) -> str:
    return server.predict().json()["predictions"][0]["prediction_id"]


def send(server, labels, key=KEY):
    sent = {headers.FEEDBACK_KEY: key} if key is not None else {headers.FEEDBACK_KEY: ""}
    return server.client.post("/v1/feedback", json={"labels": labels}, headers=sent)


def take_in(server, store):
    return ingest(
        FeedbackInbox(server.folder / "feedback"), store.feedback, AnsweredPredictions(server.folder / "log")
    )


@pytest.mark.parametrize("key", ["", "pf_ci_" + "1" * 64, "pf_nobody_" + "0" * 64, "ci", "pf_ci_", "é"])
def test_labels_of_nobody_are_refused_before_anything_is_written(server, key):
    name = answered(server)
    answer = send(server, [{"prediction_id": name, "label": 0}], key.encode() if key == "é" else key)
    assert answer.status_code == 401
    assert not list((server.folder / "feedback").glob("*.jsonl"))


def test_labels_and_rewards_of_predictions_that_never_were_decide_nothing(server, store):
    name = answered(server)
    made_up = [name[:-1] + ("0" if name[-1] != "0" else "1"), "f" * 32, "../../x", "x" * 64]
    labels = [{"prediction_id": one, "label": 0, "reward": 1e9} for one in [name, *made_up]]
    assert send(server, labels).status_code == 200
    counts = take_in(server, store)
    assert store.feedback.labels() == {"ci": {name: 0.0}}
    assert store.feedback.rewards() == {"ci": {name: 1e9}}
    assert counts.unknown == {"ci": len(made_up)}
    assert "never answered" in counts.alarms[0]


def test_copies_of_requests_were_answered_to_nobody(server, store):
    digest = server.host.versions.state.models[0].digest
    mirrored = server.client.post(
        "/v2/models/tiny/infer",
        json={"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [0.1] * 4}]},
        headers={headers.SHADOW: "true", headers.DIGEST: digest},
    )
    assert mirrored.status_code == 200, mirrored.text
    send(server, [{"prediction_id": mirrored.json()["parameters"]["prediction_ids"], "label": 0}])
    assert take_in(server, store).unknown == {"ci": 1}


def test_a_source_labels_only_its_models(server, store):
    key = "pf_other_" + "2" * 64
    FeedbackSources(server.folder / "sources.json").put(source("other", "another-model", key=key))
    name = answered(server)
    assert send(server, [{"prediction_id": name, "label": 0}], key).status_code == 200
    counts = take_in(server, store)
    assert (counts.foreign, store.feedback.labels()) == ({"other": 1}, {})


def test_a_label_sent_again_is_one_label(server, store):
    name = answered(server)
    for label in (0, 1, 0, 1):
        send(server, [{"prediction_id": name, "label": label}] * 3)
    take_in(server, store)
    send(server, [{"prediction_id": name, "label": 1}])
    assert take_in(server, store).changed == 0
    assert store.feedback.labels() == {"ci": {name: 1.0}}
    assert store.feedback.labels(since=NOW - timedelta(days=1)) == {"ci": {name: 1.0}}


def test_keys_are_kept_as_hashes_in_a_private_file_and_revoked_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert main(["feedback", "source", "add", "nightly", "--model", "test_failure_predictor"]) == 0
    key = capsys.readouterr().out.strip()
    path = tmp_path / "feedback-sources.json"
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    server_side = FeedbackSources(path)
    assert server_side.holder(key).models == ("test_failure_predictor",)
    assert main(["feedback", "source", "list"]) == 0
    assert "nightly" in capsys.readouterr().out
    assert main(["ledger", "show", "--json"]) == 0
    assert "feedback.source_added" in capsys.readouterr().out
    assert main(["feedback", "source", "revoke", "nightly"]) == 0
    with pytest.raises(NotSignedIn):
        server_side.holder(key)
    assert main(["feedback", "source", "revoke", "nightly"]) == 2
    assert main(["feedback", "source", "add", "No_Name"]) == 2


def test_a_file_of_keys_that_others_may_change_counts_for_nothing(tmp_path):
    sources = FeedbackSources(tmp_path / "sources.json")
    sources.put(source())
    os.chmod(tmp_path / "sources.json", 0o666)  # noqa: S103 the attack
    with pytest.raises(SettingsError, match="accessible to others"):
        FeedbackSources(tmp_path / "sources.json").holder(KEY)
