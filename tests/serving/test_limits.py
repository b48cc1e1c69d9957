"""Requests beyond the limits, and tensors whose data are not of their datatype: refused with 4xx, never logged."""

from __future__ import annotations

import json

import pytest
from one_server import Server
from tiny_models import tensor_body, tiny_version

from perennial import limits
from perennial.errors import MalformedInput
from perennial.serving import strict_json

PATH = "/v2/models/tiny/infer"


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "serving")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", bias=0.0, service="tiny_service"))
    return server


def tensor(datatype, data, shape=(1, 4)):
    return {"inputs": [{"name": "features", "datatype": datatype, "shape": list(shape), "data": data}]}


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT64", [1.5, 1, 1, 1]),
        ("INT64", [None, 1, 1, 1]),
        ("INT64", [1e19, 1, 1, 1]),
        ("INT32", [2**31, 1, 1, 1]),
        ("FP32", ["nan", "0.5", "1", "1"]),
        ("FP32", [1e39, 1, 1, 1]),
        ("FP64", [1e39, 1, 1, 1]),
        ("FP32", [True, 1, 1, 1]),
        ("INT64", [True, False, True, False]),
        ("FP32", [[1, 2], [3, 4]]),
        ("FP32", [[[1], [2], [3], [4]]]),
        ("FP32", [[1, 2, 3, 4], 5]),
        ("FP32", {"0": 1}),
        (["FP32"], [1, 1, 1, 1]),
        ({}, [1, 1, 1, 1]),
    ],
)
def test_data_of_another_type_than_the_tensor_says_are_400(server, datatype, data):
    answer = server.client.post(PATH, json=tensor(datatype, data))
    assert answer.status_code == 400, answer.text
    assert "features" in answer.text
    assert len(server.log()) == 0


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT64", [1, 2, 3, 1.0]),
        ("INT32", [[1, 2, 3, 4]]),
        ("FP64", [1, 2.5, 3, 4]),
        ("FP32", [[1, 2, 3, 4.5]]),
    ],
)
def test_data_of_the_type_are_answered(server, datatype, data):
    assert server.client.post(PATH, json=tensor(datatype, data)).status_code == 200


def test_more_rows_than_the_limit_are_400_and_name_it(server):
    most = limits.ROWS
    assert server.client.post(PATH, json=tensor_body(most)).status_code == 200
    for path, body in (
        (PATH, tensor_body(most + 1)),
        ("/v1/models/tiny/predict", {"entities": [{"test_id": "t1", "suite": "s"}] * (most + 1)}),
    ):
        answer = server.client.post(path, json=body)
        assert (answer.status_code, str(most) in answer.text) == (400, True)


def test_a_long_entity_key_is_400_and_never_logged(server):
    entity = {"test_id": "x" * (limits.TEXT + 1), "suite": "s"}
    answer = server.client.post("/v1/models/tiny/predict", json={"entities": [entity]})
    assert (answer.status_code, str(limits.TEXT) in answer.text, "test_id" in answer.text) == (
        400,
        True,
        True,
    )
    assert len(server.log()) == 0


def test_a_long_request_id_is_cut_in_the_log(server):
    sent = {"x-request-id": "r" * 10_000}
    assert server.client.post(PATH, json=tensor_body(), headers=sent).status_code == 200
    assert server.log().iloc[-1]["request_id"] == "r" * limits.HEADER_TEXT


@pytest.mark.parametrize("path", [PATH, "/v1/models/tiny/predict", "/v1/feedback"])
def test_a_body_beyond_the_limit_is_413_before_it_is_read(server, path):
    sent = 0

    def parts():
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b" " * (1024 * 1024)

    answer = server.client.post(path, content=parts())
    assert (answer.status_code, str(limits.BODY_BYTES) in answer.text) == (413, True)
    declared = server.client.post(path, content=b"{}", headers={"content-length": str(limits.BODY_BYTES + 1)})
    assert declared.status_code == 413


@pytest.mark.parametrize("path", [PATH, "/v1/models/tiny/predict", "/v1/feedback"])
@pytest.mark.parametrize("depth", [limits.JSON_DEPTH + 1, 900, 100_000])
def test_a_deep_body_is_400(server, path, depth):
    for body in (b"[" * depth + b"]" * depth, b'{"entities":' + b"[" * depth + b"]" * depth + b"}"):
        assert server.client.post(path, content=body).status_code == 400


@pytest.mark.parametrize("part", [b"[]", b"{}"])
def test_a_body_of_many_small_parts_is_400_and_brackets_in_texts_are_none(part):
    with pytest.raises(MalformedInput, match=f"more than {limits.JSON_PARTS} lists"):
        strict_json.parse(b"[" + b",".join([part] * limits.JSON_PARTS) + b"]")
    text = '\\"[{' * limits.JSON_PARTS
    assert strict_json.parse(json.dumps([text, 1]).encode()) == [text, 1]
    with pytest.raises(MalformedInput):
        strict_json.parse(b'"' + b'\\"[' * limits.JSON_PARTS)  # never ends


def test_a_refusal_does_not_repeat_a_large_value(server):
    for body in (
        {"entities": [{"test_id": "x" * 100_000}]},
        {"entities": [{"test_id": "t1", "suite": "s"}], "x" * 100_000: 1},
        {"inputs": [{"name": "y" * 10_000}] * 100},
    ):
        answer = server.client.post(PATH if "inputs" in body else "/v1/models/tiny/predict", json=body)
        assert answer.status_code == 400
        assert len(json.dumps(answer.text)) < 2000
