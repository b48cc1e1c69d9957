"""Tensors of the REST form: nested data, typed inputs by name, missing values, parameters, and what is refused."""

from __future__ import annotations

import gzip
import json
import math
import zlib

import numpy as np
import pytest
from clients.protocol_server import TYPED, hold_models
from one_server import Server
from tiny_models import tensor_body, tiny_version

from perennial import limits
from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Regression
from perennial.errors import ShapeError
from perennial.serving.protocol import raw_data
from perennial.serving.protocol.messages import DATATYPES, Tensor
from perennial.serving.protocol.rest.json_data import values_of

FLOWERS, ORDERS = "/v2/models/flowers/infer", "/v2/models/orders/infer"
ORDER = {
    "amount": ("FP64", [2.5, 0.5]),
    "count": ("INT64", [3, 4]),
    "gift": ("BOOL", [True, False]),
    "colour": ("BYTES", ["grün", "red"]),
    "ordered": ("BYTES", ["1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"]),
}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "serving")
    hold_models(server, tmp_path)
    return server


def by_name(**changes):
    columns = {**ORDER, **changes}
    inputs = [
        {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
        for name, (datatype, data) in columns.items()
    ]
    return {"inputs": inputs}


def sigmoid(value):
    return pytest.approx(1 / (1 + math.exp(-value)), abs=1e-6)


def test_typed_inputs_come_by_name_in_any_order_and_are_logged_as_the_model_got_them(server):
    body = by_name()
    body["inputs"].reverse()
    answer = server.client.post(ORDERS, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [sigmoid(2.5 + 3 + 1 + 1), sigmoid(0.5 + 4 + 1)]
    log = server.log("orders")
    assert log[[f"feature:{name}" for name in TYPED]].to_numpy().tolist() == [
        [2.5, 3, 1, 1, 0],
        [0.5, 4, 0, 0, 1],
    ]


def test_a_column_may_have_a_size_of_one_behind_its_rows(server):
    body = by_name()
    for tensor in body["inputs"]:
        tensor["shape"], tensor["data"] = [2, 1], [[value] for value in tensor["data"]]
    assert server.client.post(ORDERS, json=body).status_code == 200


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"count": ("INT64", [3, 4.5])}, "count"),
        ({"count": ("FP64", [3, 4.5])}, "row 1, count is 4.5"),
        ({"count": ("INT64", [3, None])}, "row 1, count"),
        ({"gift": ("INT64", [1, 0])}, "gift"),
        ({"gift": ("BOOL", [1, 0])}, "gift"),
        ({"colour": ("BYTES", ["grün", "blue"])}, "row 1, colour is 'blue'"),
        ({"colour": ("BYTES", ["grün", 1])}, "colour"),
        ({"colour": ("BYTES", ["grün", "x" * 600])}, "row 1, colour has 600"),
        ({"colour": ("BYTES", ["red"])}, "shape of 'colour'"),
        ({"ordered": ("BYTES", ["1970-01-01T00:00:00Z", "soon"])}, "row 1, ordered"),
        ({"amount": ("FP64", [2.5, 1e39])}, "row 1, amount"),
        ({"amount": ("BYTES", ["2.5", "1"])}, "datatype of 'amount'"),
        ({"more": ("FP64", [1, 2])}, "the model takes"),
    ],
)
def test_a_value_that_a_typed_input_does_not_know_is_named(server, changes, named):
    answer = server.client.post(ORDERS, json=by_name(**changes))
    assert (answer.status_code, named in answer.json()["error"]) == (400, True), answer.text
    assert len(server.log("orders")) == 0


def test_inputs_that_are_plain_numbers_come_by_name_or_as_the_matrix(tmp_path):
    inputs = {name: InputSpec(type="float", missing="allow") for name in ("a", "b")}
    server = Server(tmp_path / "serving")
    server.hold(
        tiny_version(tmp_path, "sum", "1.0.0", 0.0, task=Regression(unit="m", tolerance=1), inputs=inputs)
    )
    described = server.client.get("/v2/models/sum").json()["inputs"]
    assert described == [{"name": "features", "datatype": "FP32", "shape": [-1, 2]}]
    matrix = {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [[1, 2]]}
    columns = [
        {"name": name, "datatype": "INT8", "shape": [1], "data": [size]}
        for name, size in (("b", 2), ("a", 1))
    ]
    for sent in ([matrix], columns):
        answer = server.client.post("/v2/models/sum/infer", json={"inputs": sent})
        assert answer.json()["outputs"][0]["data"] == [3.0]


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_data_are_flat_or_nested_at_any_rank(rank):
    shape = tuple(range(2, 2 + rank))
    expected = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    for data in (expected.tolist(), expected.reshape(-1).tolist()):
        np.testing.assert_array_equal(values_of("x", "FP32", shape, data), expected)
    if rank > 1:
        with pytest.raises(ShapeError, match="nested"):
            values_of("x", "FP32", shape, expected.reshape(shape[::-1]).tolist())


@pytest.mark.parametrize("datatype", [name for name, dtype in DATATYPES.items() if dtype.kind in "iu"])
def test_the_bounds_of_a_whole_number_are_exact(datatype):
    bounds = np.iinfo(DATATYPES[datatype])
    values = values_of("x", datatype, (2,), [bounds.min, bounds.max])
    assert (values.dtype, values.tolist()) == (DATATYPES[datatype], [bounds.min, bounds.max])
    for beyond in (bounds.min - 1, bounds.max + 1):
        with pytest.raises(ShapeError, match=f"no {datatype}"):
            values_of("x", datatype, (1,), [beyond])


@pytest.mark.parametrize("datatype", DATATYPES)
def test_bytes_there_and_back(datatype):
    values = np.array([0, 1, 1], dtype=np.int8).astype(DATATYPES[datatype])
    if datatype == "BYTES":
        values = np.array([b"", b"\x00\xff", "grün".encode()], dtype=object)
    raw = raw_data.bytes_of(Tensor("x", datatype, (3,), values))
    # An odd place in a body: the numbers must come out aligned.
    read = raw_data.values_of("x", datatype, (3,), memoryview(b"." + raw)[1:])
    assert read.flags.aligned
    np.testing.assert_array_equal(read, values)


def test_null_is_a_missing_number_and_bytes_may_be_nan(server):
    seen = []

    class Spy:
        def run(self, outputs, inputs):
            seen.append(inputs["features"].copy())
            return [np.full((1, 2), 0.5, dtype=np.float32)]

    object.__setattr__(server.host.only("flowers"), "session", Spy())
    body = tensor_body()
    body["inputs"][0]["data"] = [None, 1, 2, 3]
    assert server.client.post(FLOWERS, json=body).status_code == 200
    assert np.isnan(seen[0]).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize(
    "change",
    [
        {"id": 5}, {"parameters": 5}, {"outputs": {}}, {"outputs": [{}]}, {"outputs": [{"name": "nothing"}]},
        {"outputs": [{"name": "class", "parameters": {"classification": 2}}]},
        {"outputs": [{"name": "class", "parameters": {"binary_data": "yes"}}]},
        {"parameters": {"sequence_id": 7}}, {"parameters": {"binary_data_output": 1}},
    ],
)  # fmt: skip
def test_what_the_request_asks_for_and_is_not_served_is_400(server, change):
    answer = server.client.post(FLOWERS, json={**tensor_body(), **change})
    assert answer.status_code == 400, answer.text
    assert len(server.log("flowers")) == 0


def test_null_stands_for_nothing_and_other_parameters_are_hints(server):
    body = {**tensor_body(), "id": None, "outputs": None, "parameters": {"priority": 1, "note": "x"}}
    body["inputs"][0]["parameters"] = None
    answer = server.client.post(FLOWERS, json=body).json()
    assert "id" not in answer
    assert set(answer["parameters"]) == {"digest", "prediction_ids"}


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(json.dumps(tensor_body()).encode()), 200),
        ("deflate", zlib.compress(json.dumps(tensor_body()).encode()), 200),
        ("identity", json.dumps(tensor_body()).encode(), 200),
        ("gzip", json.dumps(tensor_body()).encode(), 400),
        ("gzip", gzip.compress(json.dumps(tensor_body()).encode())[:-9], 400),
        ("gzip", gzip.compress(b"{}") + b"more", 400),
        ("br", b"x", 400),
        ("gzip", gzip.compress(b" " * (limits.BODY_BYTES + 1)), 413),
    ],
    # Every test process must name them alike, and the bytes of gzip have the time in them.
    ids=["gzip", "deflate", "identity", "not gzip", "cut off", "with more behind", "unknown", "too large"],
)
def test_a_compressed_body_is_read_up_to_the_limit_of_a_body(server, encoding, body, status):
    answer = server.client.post(FLOWERS, content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status, answer.text
