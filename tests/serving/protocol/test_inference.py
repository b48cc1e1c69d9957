"""Inference without HTTP: values in, values out, as a gRPC server asks it."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from one_server import Server
from tiny_models import tiny_version

from perennial.core.tasks import Multiclass
from perennial.errors import NotLoaded, ShapeError, UnknownModel, UnknownVersion
from perennial.serving import headers
from perennial.serving.protocol.messages import InferenceRequest, RequestedOutput, Tensor

FLOWERS = Multiclass(classes=("setosa", "virginica"))


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "serving")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", bias=0.0, task=FLOWERS))
    return server


def ask(values, datatype="FP32", version="", outputs=(), id=""):
    tensor = Tensor("features", datatype, values.shape, values)
    return InferenceRequest("tiny", version, id, (tensor,), tuple(map(RequestedOutput, outputs)))


def answer(server, *given, sent=None, **more):
    return asyncio.run(server.inference.answer(ask(*given, **more), sent or {}, time.perf_counter()))


def test_an_answer_has_the_output_of_the_model_file_its_version_and_its_ids(server):
    rows = np.full((3, 4), 0.25, dtype=np.float32)
    response = answer(server, rows, id="mine", sent={headers.REQUEST_ID: "r-1"})
    assert (response.model, response.version, response.id) == ("tiny", "1.0.0", "mine")
    (output,) = response.outputs
    assert (output.name, output.datatype, output.shape) == ("probabilities", "FP32", (3, 2))
    log = server.log()
    assert response.parameters["prediction_ids"].split(",") == list(log["prediction_id"])
    assert set(log["request_id"]) == {"r-1"}


def test_requested_outputs_come_in_their_order(server):
    rows = np.array([[1, 1, 1, 1], [-1, -1, -1, -1]], dtype=np.float64)
    response = answer(server, rows, "FP64", outputs=("class", "probabilities", "decision"))
    names = [output.name for output in response.outputs]
    assert names == ["class", "probabilities", "decision"]
    assert response.outputs[0].values.tolist() == [b"setosa", b"virginica"]
    assert response.outputs[2].values.tolist() == [0, 1]


@pytest.mark.parametrize("outputs", [("nothing",), ("class", "class"), ("probabilities", "nothing")])
def test_an_output_that_is_unknown_or_twice_is_refused_before_the_model_runs(server, outputs):
    with pytest.raises(ShapeError, match="requested outputs") as refused:
        answer(server, np.zeros((1, 4), dtype=np.float32), outputs=outputs)
    assert "probabilities" in refused.value.hint
    assert len(server.log()) == 0


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_an_infinite_value_is_named_by_row_and_column(server, value):
    rows = np.zeros((2, 4))
    rows[1, 2] = value
    with pytest.raises(ShapeError, match=r"row 1, column 2 \(f2\)"):
        answer(server, rows, "FP64")


def test_a_model_is_ready_where_a_version_of_it_would_answer(server):
    inference = server.inference
    assert inference.live()
    assert inference.server_ready()
    assert inference.model_ready("tiny")
    assert inference.model_ready("tiny", "1.0.0")
    for model, version, sent, error in (
        ("nobody", "", {}, UnknownModel),
        ("tiny", "9.0.0", {}, UnknownVersion),
        ("tiny", "", {headers.DIGEST: "0" * 64}, NotLoaded),
    ):
        with pytest.raises(error):
            inference.model_ready(model, version, sent)


def test_metadata_lists_the_outputs_that_a_request_may_ask_for(server):
    metadata = server.inference.metadata("tiny")
    assert metadata.versions == ("1.0.0",)
    assert [(each.name, each.datatype, each.shape) for each in metadata.inputs] == [
        ("features", "FP32", (-1, 4))
    ]
    assert [each.name for each in metadata.outputs] == ["probabilities", "class", "decision", "confidence"]
