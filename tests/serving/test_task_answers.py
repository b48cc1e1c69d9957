"""Each kind of task behind a model server: answer, tensor, log, labels and live accuracy."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from doubles.feedback import Labels
from one_server import NOW, Server
from tiny_models import tensor_body, tiny_version

from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks import Binary, Multiclass, Regression
from perennial.flows.feedback.ingest import ingest
from perennial.flows.monitoring.accuracy import accuracy
from perennial.serving.evidence.answered import AnsweredPredictions
from perennial.serving.feedback_inbox import FeedbackInbox
from perennial.serving.prediction_log_reader import PredictionLogReader

SURE = 1 / (1 + math.exp(-1))
"""Probability of a sum of 1: four features of 0.25."""
FLOWERS = Multiclass(classes=("setosa", "virginica"))
DOSE = Regression(unit="mg", tolerance=0.5)
TUMOUR = Binary(threshold=0.5, positive="malignant", negative="benign")
CALIBRATED = Regression(unit="mg", interval=0.9, half_width=0.5)
DECISION = {"name": "decision", "datatype": "INT64", "shape": [-1]}
CLASS = {"name": "class", "datatype": "BYTES", "shape": [-1]}
FURTHER = {
    TUMOUR: [DECISION, CLASS],
    FLOWERS: [CLASS, DECISION, {"name": "confidence", "datatype": "FP32", "shape": [-1]}],
    DOSE: [],
    CALIBRATED: [{"name": "interval", "datatype": "FP32", "shape": [-1, 2]}],
}
"""Outputs besides that of the model file."""


@pytest.mark.parametrize(
    ("task", "fields", "shape", "data", "right", "wrong", "refused"),
    [
        (TUMOUR, {"score": SURE, "decision": 1}, [1], [SURE], "malignant", "benign", "bad"),
        (
            FLOWERS,
            {"class": "setosa", "probabilities": {"setosa": SURE, "virginica": 1 - SURE}},
            [1, 2],
            [SURE, 1 - SURE],
            "setosa",
            "virginica",
            0,
        ),
        (DOSE, {"value": 1.0}, [1], [1.0], 1.5, 1.6, "much"),
        (
            CALIBRATED,
            {"value": 1.0, "interval": {"low": 0.5, "high": 1.5, "level": 0.9}},
            [1],
            [1.0],
            1.5,
            1.6,
            "much",
        ),
    ],
    ids=["binary", "multiclass", "regression", "interval"],
)
def test_a_kind_answers_logs_and_is_judged(tmp_path, task, fields, shape, data, right, wrong, refused):
    server = Server(tmp_path / "serving")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", bias=0.0, service="tiny_service", task=task))
    answers = [server.predict().json()["predictions"][0] for _ in range(2)]
    told = {name: answers[0][name] for name in fields}
    near = {name: pytest.approx(value, abs=1e-6) for name, value in fields.items() if name != "class"}
    assert told == fields | near
    tensor = server.client.post("/v2/models/tiny/infer", json=tensor_body()).json()["outputs"][0]
    assert (tensor["name"], tensor["shape"]) == (task.output, shape)
    assert tensor["data"] == pytest.approx(data, abs=1e-6)
    metadata = server.client.get("/v2/models/tiny").json()
    own = {"name": task.output, "datatype": "FP32", "shape": [-1, *shape[1:]]}
    assert metadata["outputs"] == [own, *FURTHER[task]]

    ids = [answer["prediction_id"] for answer in answers]
    labels = [
        {"prediction_id": name, "label": label} for name, label in zip(ids, (right, wrong), strict=True)
    ]
    assert server.client.post("/v1/feedback", json={"labels": labels}).status_code == 200
    strange = {"labels": [{"prediction_id": ids[0], "label": refused}]}
    answer = server.client.post("/v1/feedback", json=strange)
    assert (answer.status_code, task.valid_vote() in answer.json()["hint"]) == (400, True)

    store = Labels()
    inbox = FeedbackInbox(server.folder / "feedback", lambda: NOW)
    assert ingest(inbox, store, AnsweredPredictions(server.folder / "log")).received == 2
    log, policy = PredictionLogReader(server.folder / "log"), FeedbackSpec(sole_source="ci")
    (counts,) = accuracy("tiny", NOW - timedelta(hours=1), store, log, policy).values()
    assert (counts.requests, counts.right) == (1, 0.5)  # both have the empty request id of a direct call


def test_a_model_with_another_number_of_classes_than_its_manifest_is_not_loaded(tmp_path):
    server = Server(tmp_path / "serving")
    ref, files = tiny_version(tmp_path, "tiny", "1.0.0", 0.0, task=FLOWERS)
    manifest = files / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"virginica"', '"virginica", "other"'))
    from signing import signed

    server.hold((ref.model_copy(update={"digest": signed(files, "tiny")}), files))
    (error,) = server.host.versions.errors.values()
    assert "float32 [batch, 3]" in error


def test_a_task_that_this_release_does_not_know_is_named(tmp_path):
    server = Server(tmp_path / "serving")
    ref, files = tiny_version(tmp_path, "tiny", "1.0.0", 0.0, task=DOSE)
    manifest = files / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"regression"', '"policy"'))
    from signing import signed

    server.hold((ref.model_copy(update={"digest": signed(files, "tiny")}), files))
    (error,) = server.host.versions.errors.values()
    assert "task of its manifest cannot be read" in error
