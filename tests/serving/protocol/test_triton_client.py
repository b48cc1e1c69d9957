"""NVIDIA's `tritonclient`, unchanged, against the REST form: sync and asyncio, JSON and binary tensors."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import tritonclient.http as http
import tritonclient.http.aio as aio
from clients.protocol_server import protocol_server
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

NUMBERS = (
    "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64",
)  # fmt: skip
ROWS = np.array([[1, 1, 1, 1], [-1, -1, -1, -1]], dtype=np.float32)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with protocol_server(tmp_path_factory.mktemp("protocol")) as address:
        yield address


@pytest.fixture
def client(address):
    with http.InferenceServerClient(address, connection_timeout=60, network_timeout=60) as client:
        yield client


def tensor(name, values, datatype, binary=True):
    return http.InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary_data=binary)


def matrix(values, datatype="FP32", binary=True):
    return [tensor("features", values, datatype, binary)]


def order(text):
    """Return two rows of the typed inputs; those named in `text` as JSON, the others as bytes."""
    columns = {
        "amount": (np.array([-20487.5, 2.5]), "FP64"),
        "count": (np.array([3, 4]), "INT64"),
        "gift": (np.array([True, False]), "BOOL"),
        "colour": (np.array(["grün", "red"], dtype=object), "BYTES"),
        "ordered": (np.array(["2026-01-31T10:00:00Z", "1970-01-01T00:00:00Z"], dtype=object), "BYTES"),
    }
    return [tensor(name, *given, binary=name not in text) for name, given in columns.items()]


def test_health_metadata_and_repository(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flowers")
    assert client.is_model_ready("flowers", "1.0.0")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    described = client.get_model_metadata("orders", "2.0.0")
    assert {each["name"]: each["datatype"] for each in described["inputs"]} == {
        "amount": "FP64", "count": "INT64", "gift": "BOOL", "colour": "BYTES", "ordered": "BYTES",
    }  # fmt: skip
    assert [each["name"] for each in described["outputs"]] == ["score", "decision", "class"]
    index = client.get_model_repository_index()
    assert [(each["name"], each["state"]) for each in index] == [("flowers", "READY"), ("orders", "READY")]
    client.load_model("flowers")
    with pytest.raises(InferenceServerException, match="releases own"):
        client.unload_model("flowers")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("version", ["", "1.0.0"])
def test_a_matrix_in_and_named_outputs_out(client, binary, version):
    wanted = [http.InferRequestedOutput(name, binary) for name in ("probabilities", "class", "decision")]
    result = client.infer("flowers", matrix(ROWS, binary=binary), version, outputs=wanted, request_id="mine")
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1]
    assert result.as_numpy("class").astype(str).tolist() == ["setosa", "virginica"]
    assert (result.as_numpy("decision").dtype, result.as_numpy("decision").tolist()) == (np.int64, [0, 1])
    assert result.get_response()["id"] == "mine"
    assert len(result.get_response()["parameters"]["prediction_ids"].split(",")) == 2


def test_without_requested_outputs_the_one_of_the_model_file_comes(client):
    result = client.infer("flowers", matrix(ROWS))
    assert [output["name"] for output in result.get_response()["outputs"]] == ["probabilities"]
    np.testing.assert_allclose(result.as_numpy("probabilities").sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("binary", [False, True])
def test_every_type_of_number_gives_the_same_answer(client, datatype, binary):
    values = np.array([[1, 2, 3, 4]], dtype=triton_to_np_dtype(datatype))
    exact = client.infer("flowers", matrix(values.astype(np.float32))).as_numpy("probabilities")
    if (datatype, binary) == ("FP16", False):
        with pytest.raises(InferenceServerException, match="FP16"):
            client.infer("flowers", matrix(values, datatype, binary))
        return
    other = client.infer("flowers", matrix(values, datatype, binary)).as_numpy("probabilities")
    np.testing.assert_array_equal(exact, other)


@pytest.mark.parametrize("text", [(), ("colour", "count"), ("amount", "gift", "ordered", "colour", "count")])
def test_typed_inputs_by_name_as_bytes_and_as_json(client, text):
    wanted = [http.InferRequestedOutput(name) for name in ("class", "score")]
    by_name = client.infer("orders", order(text)[::-1], outputs=wanted)
    days = [20484 + 10 / 24, 0]
    rows = np.stack([[-20487.5, 2.5], [3, 4], [1, 0], [1, 0], days], axis=1).astype(np.float32)
    by_matrix = client.infer("orders", matrix(rows)).as_numpy("score")
    np.testing.assert_array_equal(by_name.as_numpy("score"), by_matrix)
    assert 0.5 < by_matrix[0] < by_matrix[1]
    assert by_name.as_numpy("class").astype(str).tolist() == ["returned", "returned"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request(client, algorithm):
    result = client.infer(
        "flowers",
        matrix(ROWS),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("binary", [False, True])
def test_the_asynchronous_client(address, binary):
    async def ask():
        async with aio.InferenceServerClient(address) as client:
            assert await client.is_model_ready("orders")
            answers = (client.infer("flowers", matrix(ROWS + place, binary=binary)) for place in range(8))
            return await asyncio.gather(*answers)

    firsts = [result.as_numpy("probabilities")[0, 0] for result in asyncio.run(ask())]
    assert firsts == sorted(firsts)
    assert len(set(firsts)) > 1


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        (lambda: matrix(np.array([[1.0, np.inf, 0, 0]], dtype=np.float32)), "row 0, column 1"),
        (lambda: matrix(np.array([[True, False, True, False]]), "BOOL"), "datatype"),
        (lambda: matrix(ROWS[:, :3]), "shape"),
        (lambda: [tensor("other", ROWS, "FP32")], "features"),
    ],
)
def test_what_the_model_cannot_take_is_refused_in_words(client, inputs, named):
    with pytest.raises(InferenceServerException, match=named) as refused:
        client.infer("flowers", inputs())
    assert refused.value.status() == "400"
