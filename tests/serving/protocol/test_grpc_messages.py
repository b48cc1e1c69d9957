"""Messages of gRPC: the generated code is current, and every datatype goes in and out."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.errors import MalformedInput, ShapeError
from perennial.serving.protocol import grpc, raw_data
from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.grpc.translation import CONTENTS, request_of, response_message
from perennial.serving.protocol.messages import DATATYPES, InferenceResponse, Tensor

FOLDER = Path(grpc.__file__).parent
VALUES = {
    "BOOL": [True, False], "FP16": [0.5, -2.0], "FP32": [0.25, float("nan")], "FP64": [1e300, -1.0],
    "BYTES": [b"caf\xc3\xa9", b""],
}  # fmt: skip


def values(datatype: str) -> np.ndarray:
    dtype = DATATYPES[datatype]
    if dtype.kind in "iu":
        return np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype=dtype)
    return np.array(VALUES[datatype], dtype=dtype)


def request(datatype: str, raw: bool) -> wire.ModelInferRequest:
    sent = Tensor("x", datatype, (2, 1), values(datatype).reshape(2, 1))
    message = wire.ModelInferRequest(model_name="m", model_version="1.0.0", id="7")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[2, 1])
    if raw:
        message.raw_input_contents.append(raw_data.bytes_of(sent))
    else:
        getattr(tensor.contents, CONTENTS[datatype]).extend(sent.values.reshape(-1).tolist())
    return message


def test_the_generated_messages_are_those_of_the_definition(tmp_path):
    command = ["grpc_tools.protoc", f"-I{FOLDER}", f"--python_out={tmp_path}", "open_inference.proto"]
    subprocess.run([sys.executable, "-m", *command], check=True)
    generated = (tmp_path / "open_inference_pb2.py").read_text()
    assert (FOLDER / "open_inference_pb2.py").read_text() == generated


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [(name, raw) for name in DATATYPES for raw in (True, False) if raw or name in CONTENTS],
)
def test_each_datatype_comes_in_as_it_was_sent_and_goes_out_alike(datatype, raw):
    message = request(datatype, raw)
    message.outputs.add(name="score")
    message.parameters["priority"].int64_param = 3
    asked = request_of(wire.ModelInferRequest.FromString(message.SerializeToString()))
    (tensor,) = asked.inputs
    assert (asked.model, asked.version, asked.id, asked.parameters) == ("m", "1.0.0", "7", {"priority": 3})
    assert (tensor.datatype, tensor.shape, asked.outputs[0].name) == (datatype, (2, 1), "score")
    np.testing.assert_array_equal(tensor.values.reshape(-1), values(datatype))
    parameters = {"digest": "d", "share": 0.5, "shadow": True}
    answer = response_message(InferenceResponse("m", "1.0.0", "7", (tensor,), parameters), raw)
    assert {name: value.WhichOneof("parameter_choice") for name, value in answer.parameters.items()} == {
        "digest": "string_param", "share": "double_param", "shadow": "bool_param"
    }  # fmt: skip
    if raw:
        assert list(answer.raw_output_contents) == list(message.raw_input_contents)
    else:
        field = CONTENTS[datatype]
        sent, back = message.inputs[0].contents, answer.outputs[0].contents
        np.testing.assert_array_equal(getattr(back, field), getattr(sent, field))


def wrong(change) -> wire.ModelInferRequest:
    message = request("INT8", raw=False)
    change(message, message.inputs[0])
    return message


WRONG = {
    "of another field": lambda message, tensor: tensor.contents.fp32_contents.append(1.0),
    "larger than its datatype": lambda message, tensor: tensor.contents.int_contents.__setitem__(0, 128),
    "fewer than the shape": lambda message, tensor: tensor.contents.int_contents.pop(),
    "no contents": lambda message, tensor: tensor.ClearField("contents"),
    "an unknown datatype": lambda message, tensor: setattr(tensor, "datatype", "INT9"),
    "FP16 as values": lambda message, tensor: setattr(tensor, "datatype", "FP16"),
    "a size of zero": lambda message, tensor: tensor.shape.append(0),
    "a negative size": lambda message, tensor: tensor.shape.append(-1),
    "many sizes": lambda message, tensor: tensor.shape.extend([1] * 20),
    "a huge shape": lambda message, tensor: tensor.shape.extend([2**62, 2**62]),
    "both kinds of contents": lambda message, tensor: message.raw_input_contents.append(b"12"),
    "thousands of inputs": lambda message, tensor: message.inputs.extend([tensor] * 4096),
    "shared memory": lambda message, tensor: setattr(
        tensor.parameters["shared_memory_region"], "string_param", "mine"
    ),
    "raw contents of two inputs": lambda message, tensor: message.raw_input_contents.extend([b"12", b"12"]),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_tensor_that_is_not_what_it_says_is_an_error_of_the_request(change):
    with pytest.raises((ShapeError, MalformedInput)) as refused:
        request_of(wrong(change))
    assert refused.value.http_status == 400
    assert refused.value.hint


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", b"123"),
        ("BOOL", b"\x00\x02"),
        ("BYTES", b"\x01\x00\x00\x00"),
        ("BYTES", b"\xff" * 9),
        ("BYTES", b""),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(datatype, data):
    with pytest.raises(ShapeError):
        raw_data.values_of("x", datatype, (2,), data)


@settings(max_examples=examples(500))
@given(content=st.binary(max_size=200))
def test_no_message_makes_another_error_than_that_of_the_request(content):
    with contextlib.suppress(ShapeError, MalformedInput, DecodeError):
        request_of(wire.ModelInferRequest.FromString(content))
