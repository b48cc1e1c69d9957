"""Bodies of any content: answered or refused with 4xx, never with 5xx."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from clients.protocol_server import hold_models
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_server import Server
from tiny_models import tensor_body

from perennial.serving.protocol.messages import DATATYPES

FLOWERS, ORDERS = "/v2/models/flowers/infer", "/v2/models/orders/infer"
LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    server = Server(folder / "serving")
    hold_models(server, folder)
    for model in ("flowers", "orders"):
        version = server.host.only(model)
        object.__setattr__(version, "session", Tolerant(version.manifest.task.width()))
    return server


class Tolerant:
    """Stands where the ONNX session is: a version that answers any row, so that every failure is the server's."""

    def __init__(self, width: int | None) -> None:
        self._width = width

    def run(self, outputs, inputs):
        (features,) = inputs.values()
        assert features.dtype == np.float32
        rows = len(features)
        shape = (rows,) if self._width is None else (rows, self._width)
        return [np.full(shape, 0.5, dtype=np.float32)]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=12,
)
SIZES = st.integers(-2, 6) | st.sampled_from([2**31, 2**62, 2**63 - 1])
NAMES = st.sampled_from(["features", "amount", "count", "gift", "colour", "ordered", "x"])
PARAMETERS = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "binary_data_output", "sequence_id", "anything"]),
    SCALARS | st.integers(0, 64),
    max_size=2,
)


def or_any(strategy):
    return st.one_of(strategy, strategy, strategy, VALUES)


TENSORS = st.fixed_dictionaries(
    {
        "name": or_any(NAMES),
        "datatype": or_any(st.sampled_from(list(DATATYPES))),
        "shape": or_any(st.lists(SIZES, max_size=3) | st.just([1, 4]) | st.just([2])),
        "data": or_any(st.lists(SCALARS, max_size=8) | st.just([1, 2, 3, 4])),
    },
    optional={"parameters": or_any(PARAMETERS)},
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": or_any(st.lists(or_any(TENSORS), max_size=5))},
    optional={
        "id": VALUES,
        "parameters": or_any(PARAMETERS),
        "outputs": or_any(
            st.lists(
                st.fixed_dictionaries({"name": or_any(st.just("class"))}, optional={"parameters": PARAMETERS})
            )
        ),
    },
)


def refused_or_answered(server, path, body, sent=None):
    answer = server.client.post(path, content=body, headers=sent or {})
    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code != 200:
        assert set(answer.json()) == {"error", "hint"}


@given(body=REQUESTS, path=st.sampled_from([FLOWERS, ORDERS]))
@settings(max_examples=examples(400), suppress_health_check=list(HealthCheck))
def test_structures_that_are_nearly_requests(server, body, path):
    refused_or_answered(server, path, json.dumps(body).encode())


@given(body=VALUES, path=st.sampled_from([FLOWERS, "/v2/repository/index"]))
@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
def test_any_json(server, body, path):
    refused_or_answered(server, path, json.dumps(body).encode())


@given(place=st.integers(0, 200), bytes_there=st.binary(max_size=6), cut=st.booleans())
@settings(max_examples=examples(400), suppress_health_check=list(HealthCheck))
def test_a_request_with_other_bytes_in_it(server, place, bytes_there, cut):
    sound = json.dumps(tensor_body()).encode()
    rest = b"" if cut else sound[place + len(bytes_there) :]
    refused_or_answered(server, FLOWERS, sound[:place] + bytes_there + rest)


@given(
    tensor=TENSORS,
    size=SCALARS | st.integers(0, 40),
    raw=st.binary(max_size=40),
    length=st.none()
    | st.integers(-1, 400).map(str)
    | st.sampled_from(["x", "1e3", "٣", "", " 5", "9" * 5000]),
)
@settings(max_examples=examples(400), suppress_health_check=list(HealthCheck))
def test_bytes_of_tensors(server, tensor, size, raw, length):
    del tensor["data"]
    tensor["parameters"] = {"binary_data_size": size}
    head = json.dumps({"inputs": [tensor]}).encode()
    sent = {LENGTH: (str(len(head)) if length is None else length).encode()}
    refused_or_answered(server, FLOWERS, head + raw, sent)


@given(datatype=st.sampled_from(list(DATATYPES)), raw=st.binary(min_size=1, max_size=64))
@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
def test_any_bytes_of_each_datatype(server, datatype, raw):
    """NaN and infinity of any pattern, BOOL above 1, lengths of texts beyond the end."""
    width = DATATYPES[datatype].itemsize
    raw = (raw * (4 * width))[: 4 * width] if datatype != "BYTES" else raw
    for name, shape, path in (("features", [1, 4], FLOWERS), ("colour", [4], ORDERS)):
        tensor = {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": len(raw)},
        }
        head = json.dumps({"inputs": [tensor]}).encode()
        refused_or_answered(server, path, head + raw, {LENGTH: str(len(head))})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"\xff\xfe", b'{"inputs": [{"name": "\xc3\x28"}]}', b'{"id": "\\ud800", "inputs": []}',
        b'{"inputs": [], "inputs": []}', b'{"inputs": [{"name": "features", "name": "features"}]}',
        b'{"inputs": [], "a\\"b": 1, "a\\"b": 2}', b'{"inputs": NaN}', b'{"inputs": [1e999]}',
        b"[" * 100_000, b'{"a":' * 100_000, b'{"inputs": ' + b"9" * 100_000 + b"}",
        json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [1] * 100_000}]}).encode(),
        json.dumps({"inputs": [{}] * 5000}).encode(), json.dumps({"inputs": [], "outputs": [{}] * 5000}).encode(),
        b"{" + b",".join(b'"%d":1' % key for key in [*range(50_000), 49_999]) + b"}",
    ],
)  # fmt: skip
def test_known_traps(server, body):
    refused_or_answered(server, FLOWERS, body)
    assert server.client.post(FLOWERS, content=body).status_code == 400


def test_a_key_that_is_twice_in_an_object_is_named(server):
    body = json.dumps(tensor_body()).replace('"datatype"', '"shape": [1, 4], "datatype"')
    answer = server.client.post(FLOWERS, content=body)
    assert (answer.status_code, "'shape' twice" in answer.json()["error"]) == (400, True)
    escaped = json.dumps({**tensor_body(), "id": 'a "quoted" id\\'})
    assert server.client.post(FLOWERS, content=escaped).json()["id"] == 'a "quoted" id\\'


@pytest.mark.parametrize("length", ["9" * 5000, "0", "-1", "1.0", "٣", ""])
def test_a_length_of_the_json_that_is_none_is_refused(server, length):
    answer = server.client.post(FLOWERS, json=tensor_body(), headers={LENGTH: length.encode()})
    assert (answer.status_code, LENGTH in answer.json()["error"]) == (400, True)


def test_texts_end_where_their_length_says(server):
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"red", b"", "grün".encode()))
    tensor = {
        "name": "colour",
        "datatype": "BYTES",
        "shape": [3],
        "parameters": {"binary_data_size": len(texts)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    for raw, named in (
        (texts, "the model takes"),
        (texts[:-1] + b"", "bytes"),
        (b"\xff" * len(texts), "texts"),
    ):
        answer = server.client.post(ORDERS, content=head + raw, headers={LENGTH: str(len(head))})
        assert (answer.status_code, named in answer.json()["error"]) == (400, True), answer.text
