"""The routes of a model server, in process: what a caller gets for good and for wrong requests."""

from __future__ import annotations

import gzip
import hashlib
import math

import numpy as np
import orjson
import pytest
from one_server import CONTEXT, NOW, Server
from tiny_models import tensor_body, tiny_version

from perennial.serving import desired_state as desired
from perennial.serving import headers
from perennial.serving.feedback_inbox import FeedbackInbox


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path / "serving")


@pytest.fixture
def champion(tmp_path):
    return tiny_version(tmp_path, "tiny", "1.0.0", bias=0.0, service="tiny_service")


@pytest.fixture
def candidate(tmp_path):
    return tiny_version(tmp_path, "tiny", "1.1.0", bias=1.0, service="tiny_service")


def test_scores_by_entity_are_logged_with_the_values_used(server, champion):
    server.hold(champion)
    answer = server.predict(entities=[{"test_id": "t1", "suite": "s"}, {"test_id": "t2", "suite": "s"}])
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    assert first["score"] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6)
    assert (first["decision"], second["decision"]) == (1, 0)
    assert first["entity"] == {"test_id": "t1", "suite": "s"}
    assert server.values.asked[0]["requested_at"] == 1448964000.0
    rows = server.log()
    assert list(rows["prediction_id"]) == [first["prediction_id"], second["prediction_id"]]
    assert list(rows["feature:f3"]) == [0.25, -2.0]
    assert rows["at"].iloc[0].to_pydatetime() == NOW
    assert orjson.loads(rows["entity"].iloc[1]) == {"test_id": "t2", "suite": "s"}


def test_an_unknown_entity_is_named_unless_allowed(server, champion):
    server.hold(champion)
    stranger = [{"test_id": "t9", "suite": "s"}]
    refused = server.predict(entities=stranger)
    assert refused.status_code == 404
    assert "t9" in refused.json()["error"]
    allowed = server.predict(entities=stranger, allow_unknown=True)
    # This model cannot score missing values; it says so instead of answering with something else.
    assert allowed.status_code == 500
    assert "not finite" in allowed.json()["error"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"entities": []}, "entities"),
        ({"entities": [{"test_id": "t1"}]}, "suite"),
        ({"entities": [{"test_id": None, "suite": "s"}]}, "entity 0"),
        ({"context": {"cycle_size": 50}}, "context"),
        ({"context": {**CONTEXT, "requested_at": "2015-12-01T10:00:00"}}, "requested_at"),
        ({"context": {**CONTEXT, "cycle_size": 1.5}}, "cycle_size"),
        ({"context": {**CONTEXT, "extra": 1}}, "extra"),
        ({"allow_unknown": "yes"}, "allow_unknown"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_a_wrong_body_is_400_and_says_what(server, champion, changes, named):
    server.hold(champion)
    answer = server.predict(**changes)
    assert answer.status_code == 400, answer.text
    assert named in answer.text
    assert len(server.log()) == 0


def test_a_body_that_is_not_json_is_400(server, champion):
    server.hold(champion)
    for path in ("/v1/models/tiny/predict", "/v2/models/tiny/infer", "/v1/feedback"):
        assert server.client.post(path, content=b"{").status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"}, {"datatype": "BYTES"}, {"shape": [1, 3]}, {"shape": [0, 4]}, {"shape": "4"},
        {"data": [1, 2, 3]}, {"data": ["a", "b", "c", "d"]}, {"data": None}, {"shape": [True, 4]},
    ],
)  # fmt: skip
def test_a_tensor_that_does_not_fit_is_400(server, champion, change):
    server.hold(champion)
    body = tensor_body()
    body["inputs"][0].update(change)
    answer = server.client.post("/v2/models/tiny/infer", json=body)
    assert answer.status_code == 400, answer.text
    assert "features" in answer.text


def test_the_open_inference_protocol(server, champion):
    server.hold(champion)
    client = server.client
    assert client.get("/v2").json()["name"] == "perennial"
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    metadata = client.get("/v2/models/tiny").json()
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]
    assert client.get("/v2/models/tiny/versions/1.0.0/ready").status_code == 200
    assert client.get("/v2/models/tiny/versions/2.0.0").status_code == 404
    assert client.get("/v2/models/nobody").status_code == 404
    answer = client.post("/v2/models/tiny/versions/1.0.0/infer", json={**tensor_body(3), "id": "mine"}).json()
    assert answer["id"] == "mine"
    assert answer["outputs"][0]["shape"] == [3]
    assert len(answer["parameters"]["prediction_ids"].split(",")) == 3 == len(server.log())


def test_the_header_names_the_version_that_answers(server, champion, candidate):
    server.hold(champion, candidate)

    def ask(**sent):
        named = {name.replace("_", "-"): value for name, value in sent.items()}
        return server.client.post("/v2/models/tiny/infer", json=tensor_body(), headers=named)

    assert ask().status_code == 400
    for ref, _ in (champion, candidate):
        assert ask(x_perennial_digest=ref.digest).json()["model_version"] == ref.version
    assert ask(x_perennial_digest="0" * 64).status_code == 503
    fallen = ask(
        x_perennial_digest="0" * 64,
        x_perennial_release="r-gone",
        x_perennial_fallback=champion[0].digest,
        x_perennial_fallback_release="r-champion",
    ).json()
    assert (fallen["model_version"], fallen["parameters"]["release_id"]) == ("1.0.0", "r-champion")
    before = len(server.log())
    assert ask(x_perennial_digest=champion[0].digest, x_perennial_synthetic="true").status_code == 200
    assert len(server.log()) == before
    ask(x_perennial_digest=champion[0].digest, x_perennial_shadow="true")
    assert server.log()["shadow"].iloc[-1]


def test_one_broken_version_does_not_stop_the_others(server, champion, candidate):
    server.hold(champion)
    ref, files = candidate
    (files / "model.onnx").write_bytes(b"torn")
    server.hold((ref, files))
    assert server.client.get("/readyz").status_code == 503
    assert server.client.get("/livez").status_code == 200
    bad = next(
        version for version in server.client.get("/v1/pool").json()["models"] if version["version"] == "1.1.0"
    )
    assert not bad["loaded"]
    assert hashlib.sha256(b"torn").hexdigest() in bad["error"]
    assert server.predict().status_code == 200
    page = server.client.get("/metrics").text
    assert 'version="1.1.0"} 0.0' in page
    assert 'version="1.0.0"} 1.0' in page


def test_an_unreadable_desired_state_keeps_what_is_loaded(server, champion):
    server.hold(champion)
    desired.state_file(server.folder, "stable").write_text("{")
    server.host.converge()
    assert server.predict().status_code == 200
    assert "not a desired state" in server.client.get("/v1/pool").json()["error"]
    assert server.client.get("/readyz").status_code == 503


def test_a_server_takes_traffic_once_it_has_looked_at_the_desired_state(server):
    assert server.client.get("/livez").status_code == 503
    server.host.converge()
    assert server.client.get("/livez").status_code == 200


def test_a_feature_store_that_is_away_is_503(server, champion):
    server.hold(champion)
    server.values.down = True
    assert server.predict().status_code == 503


@pytest.mark.parametrize(
    ("encoding", "encode", "status"),
    [
        ("gzip", gzip.compress, 200),
        ("GZip", gzip.compress, 200),
        ("gzip", bytes, 400),
        ("br", bytes, 400),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body)), 400),
    ],
    ids=["gzip", "in other letters", "not gzip", "unknown", "twice"],
)
def test_a_compressed_request_by_entity_is_read_as_one_by_tensor(server, champion, encoding, encode, status):
    server.hold(champion)
    body = orjson.dumps({"entities": [{"test_id": "t1", "suite": "s"}], "context": CONTEXT})
    answer = server.client.post(
        "/v1/models/tiny/predict", content=encode(body), headers={"content-encoding": encoding}
    )
    assert answer.status_code == status, answer.text
    assert status == 200 or encoding in answer.json()["error"]


def test_feedback_is_on_disk_when_it_is_confirmed(server, champion):
    server.hold(champion)
    name = server.predict().json()["predictions"][0]["prediction_id"]
    body = {"labels": [{"prediction_id": name, "label": 1}]}
    assert server.client.post("/v1/feedback", json=body).json() == {"accepted": 1}
    pending, _ = FeedbackInbox(server.folder / "feedback").pending()
    assert [(feedback.at, feedback.labels) for feedback in pending] == [(NOW, {name: 1.0})]


@pytest.mark.parametrize(
    "labels",
    [[], [{"prediction_id": "a"}], [{"prediction_id": "a", "label": 2}], [{"prediction_id": "", "label": 1}]],
)
def test_wrong_feedback_is_400(server, champion, labels):
    server.hold(champion)
    assert server.client.post("/v1/feedback", json={"labels": labels}).status_code == 400


def test_a_log_that_cannot_be_written_is_no_answer(server, champion, monkeypatch):
    server.hold(champion)

    def full(answered) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(server.writer, "append", full)
    assert server.predict().status_code == 503


def test_a_number_that_is_missing_reaches_the_model_as_nan(server, champion):
    server.hold(champion)
    server.values.known = {"t1": None}
    seen = []
    version = server.host.only("tiny")
    object.__setattr__(version, "session", Spy(seen))
    server.predict(allow_unknown=True)
    assert np.isnan(seen[0]).all()
    assert headers.DIGEST.startswith("x-perennial-")


class Spy:
    """Stands where the ONNX session is and keeps what it is given."""

    def __init__(self, seen: list) -> None:
        self.seen = seen

    def run(self, outputs, inputs):
        self.seen.append(inputs["features"])
        return [np.full(len(inputs["features"]), 0.5, dtype=np.float32)]
